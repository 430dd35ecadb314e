"""How many of the words and short phrases of a translation stand in its references, counted over the whole corpus."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from weitiao.core.contracts import Prediction, TextMetric, references

Tokenize = Literal["13a", "zh", "char"]
ORDER = 4
"""Words of the longest phrase that is counted."""

_ENTITIES = (("<skipped>", ""), ("-\n", ""), ("\n", " "), ("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_RULES = (
    (re.compile(r"([!-&(-+:-@\[-`{-~/ ])"), r" \1 "),  # a sign is a word, but for the apostrophe, and for , - . as the next rules say
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
"""The rules of mteval-v13a, the script of the WMT evaluations."""
_CHINESE = re.compile(
    "(["
    "\u2001-\u2a6d\u2e80-\u2fdf\u2ff0-\u303f\u3100-\u312f\u31a0-\u31bf\u31c0-\u31ef\u3200-\u33ff"
    "\u3400-\u4db5\u4e00-\u9fbb\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\ufe10-\ufe1f\ufe30-\ufe4f\uff00-\uffef"
    "])"
)
"""What `zh` sets apart, as sacrebleu does: characters of the basic plane, and what stands from U+2001 to U+2A6D, the usual
quotation marks and dashes among it; those beyond the basic plane are not."""


def tokenized(text: str, tokenize: Tokenize) -> list[str]:
    """Return the words of a text: `13a` by the rules of mteval-v13a, `zh` with each Chinese character a word, `char` each character."""
    if tokenize == "char":
        return [character for character in text if not character.isspace()]
    if tokenize == "zh":
        line = _CHINESE.sub(r" \1 ", text.strip())
    else:
        line = text.rstrip()
        for written, meant in _ENTITIES:
            line = line.replace(written, meant)
        line = f" {line} "
    for pattern, apart in _RULES:
        line = pattern.sub(apart, line)
    return line.split()


@dataclass(frozen=True)
class Bleu(TextMetric):
    """BLEU from 0 to 100: precision of phrases of one to four words over all rows, and a penalty where they are short (Papineni et al., 2002).

    As sacrebleu counts it (Post, 2018, arXiv:1804.08771): mixed case, exponential smoothing of orders without a match.
    """

    tokenize: Tokenize = "13a"
    name: str = "bleu"
    higher_is_better: bool = True

    def signature(self, targets: Sequence[Any]) -> str:
        """Return sacrebleu's signature but for its version."""
        counts = {len(references(target)) for target in targets}
        return f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}|case:mixed|eff:no|tok:{self.tokenize}|smooth:exp"

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 10): words said, words of the reference closest in length, and for one to four words the phrases found and the phrases said."""
        return np.array([self._counts(p.value, references(t)) for p, t in zip(predictions, targets, strict=True)], dtype=float).reshape(-1, 2 + 2 * ORDER)

    def _counts(self, said: str, expected: Sequence[str]) -> list[int]:
        words = tokenized(said, self.tokenize)
        others = [tokenized(text, self.tokenize) for text in expected]
        known: Counter[tuple[str, ...]] = Counter()
        for other in others:
            known |= Counter(_phrases(other))
        closest = min((len(other) for other in others), key=lambda length: (abs(length - len(words)), length))
        found = [0] * ORDER
        for phrase, times in Counter(_phrases(words)).items():
            found[len(phrase) - 1] += min(times, known[phrase])
        return [len(words), closest, *found, *(max(0, len(words) - n) for n in range(ORDER))]

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return 100 x brevity penalty x geometric mean of the four precisions; 0 where nothing is found or no text has four words."""
        said, expected = totals[..., 0], totals[..., 1]
        found, phrases = totals[..., 2 : 2 + ORDER], totals[..., 2 + ORDER :]
        missing = np.cumsum(found == 0, axis=-1)  # each order without a match counts half as much as the one before
        smoothed = np.where(found == 0, 0.5**missing, found)
        scored = (found > 0).any(axis=-1) & (phrases > 0).all(axis=-1)
        precision = np.divide(smoothed, phrases, out=np.ones_like(smoothed), where=phrases > 0)
        short = np.minimum(0.0, 1.0 - np.divide(expected, said, out=np.ones_like(said), where=said > 0))
        return np.asarray(np.where(scored, 100.0 * np.exp(short + np.log(precision).mean(axis=-1)), 0.0))


def _phrases(words: Sequence[str]) -> Iterable[tuple[str, ...]]:
    return (tuple(words[n : n + order]) for order in range(1, ORDER + 1) for n in range(len(words) - order + 1))
