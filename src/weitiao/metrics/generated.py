"""What can be said of generated texts by counting."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weitiao.core.contracts import Metric, Prediction

_WORDS = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]|\\w+", re.UNICODE)
"""Words; in scripts without spaces every character is one, or a Chinese answer would be a single word."""


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, characters for scripts without spaces; punctuation is left out."""
    return _WORDS.findall(text.lower())


class _Generated(Metric):
    """Applies to rows with a generated text; a mean of one number per row unless `value` says otherwise."""

    needs_answer = True

    def applies(self, prediction: Prediction) -> bool:
        """Rows with a generated text."""
        return isinstance(prediction.value, str)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return the first sum over the second."""
        return np.asarray(np.divide(totals[..., 0], totals[..., 1], out=np.zeros_like(totals[..., 0]), where=totals[..., 1] > 0))


@dataclass(frozen=True)
class RougeL(_Generated):
    """ROUGE-L: F1 of the longest common subsequence of words with the reference (Lin, 2004).

    Like rouge-score without stemming for languages with spaces; in others characters are the words, where rouge-score
    finds none.
    """

    name: str = "rouge_l"
    higher_is_better: bool = True

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): F1, and one."""
        return np.array([[rouge_l(p.value, str(t)), 1.0] for p, t in zip(predictions, targets, strict=True)]).reshape(-1, 2)


@dataclass(frozen=True)
class StopRate(_Generated):
    """Share of generated texts that the model ended by itself."""

    name: str = "stop_rate"
    higher_is_better: bool = True
    binary: bool = True

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): ended or not, and one."""
        return np.array([[p.measures.get("stopped", 0.0), 1.0] for p in predictions]).reshape(-1, 2)


@dataclass(frozen=True)
class AnswerLength(_Generated):
    """Mean length of the generated texts, in tokens."""

    name: str = "answer_length"
    higher_is_better: None = None

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): tokens, and one."""
        return np.array([[p.measures.get("answer_tokens", 0.0), 1.0] for p in predictions]).reshape(-1, 2)


@dataclass(frozen=True)
class Distinct(_Generated):
    """Distinct pairs of words over all pairs of words in a text (Li et al., 2016, arXiv:1510.03055): low where it repeats itself."""

    name: str = "distinct_2"
    higher_is_better: bool = True

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): distinct pairs, and pairs."""
        found = []
        for prediction in predictions:
            said = words(prediction.value)
            pairs = list(itertools.pairwise(said))
            found.append([len(set(pairs)), len(pairs)])
        return np.array(found, dtype=float).reshape(-1, 2)


def rouge_l(said: str, reference: str) -> float:
    """Return the F1 of the longest common subsequence of words."""
    a, b = words(said), words(reference)
    if not a or not b:
        return 0.0
    common = _common(a, b)
    return 2 * common / (len(a) + len(b))


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, 64 and more cells at a time (Hyyro, 2004: bit-parallel)."""
    where: dict[str, int] = {}
    for n, word in enumerate(a):
        where[word] = where.get(word, 0) | 1 << n
    whole = (1 << len(a)) - 1
    state = whole
    for word in b:
        matched = state & where.get(word, 0)
        state = ((state + matched) | (state - matched)) & whole
    return len(a) - state.bit_count()
