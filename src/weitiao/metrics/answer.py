"""How far an answer agrees with references, as SQuAD and CMRC 2018 count it."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from weitiao.core.contracts import Metric, Prediction

Units = Literal["words", "characters"]
"""words: as SQuAD does, for languages with spaces. characters: as CMRC 2018 does, for Chinese."""
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_MARKS = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
"""What CMRC 2018 leaves out of account."""
_PIECES = re.compile(r"[\u4e00-\u9fa5]|[^\W\u4e00-\u9fa5]+(?:[.,'’][^\W\u4e00-\u9fa5]+)*|[^\w\s]")
"""A Chinese character, a word or number of another script, or a mark."""


@dataclass(frozen=True)
class _Agreement(Metric):
    """The best agreement with any reference, between 0 and 1; a mean over rows.

    A prediction is a text, the empty one meaning that there is no answer; a target holds each reference, (text, start) or a text alone,
    none where there is no answer. As in SQuAD 2.0 (arXiv:1806.03822), a question without an answer is right where none is given. A target
    that is a text and no list is no answer to a question: such rows are not scored.
    """

    units: Units = "words"
    of: Literal["all", "answered", "unanswerable"] = "all"
    """Which rows are scored: all of them, those that have an answer, or those that have none."""
    needs_answer: bool = False
    """Whether the answers are generated, and not there for every row."""
    higher_is_better: bool = True
    measure: ClassVar[Callable[[str, str, Units], float]]
    title: ClassVar[str]

    @property
    def name(self) -> str:  # type: ignore[override]
        """The score, with which rows it is of."""
        return self.title if self.of == "all" else f"{'has' if self.of == 'answered' else 'no'}_answer_{self.title}"

    def applies(self, prediction: Prediction) -> bool:
        """Rows with an answer, or with the empty one."""
        return isinstance(prediction.value, str)

    def concerns(self, target: Any) -> bool:
        """Rows that have, or have not, an answer."""
        return not isinstance(target, str) and (self.of == "all" or bool(target) == (self.of == "answered"))

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): agreement, and one."""
        found = [[agreement(type(self).measure, p.value, _texts(t), self.units), 1.0] for p, t in zip(predictions, targets, strict=True)]
        return np.array(found, dtype=float).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return the mean."""
        return np.asarray(totals[..., 0] / totals[..., 1])


def exact(said: str, reference: str, units: Units) -> float:
    """Return 1 where two answers are the same but for case, punctuation and, in words, articles and spaces; else 0."""
    return float(normal(said, units) == normal(reference, units))


def overlap(said: str, reference: str, units: Units) -> float:
    """Return the F1 of what two answers share: words in any order (arXiv:1606.05250), or the longest run of characters and words (arXiv:1810.07366)."""
    ours, theirs = pieces(said, units), pieces(reference, units)
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values()) if units == "words" else _longest_run(ours, theirs)
    return 2 * shared / (len(ours) + len(theirs))


@dataclass(frozen=True)
class ExactMatch(_Agreement):
    """Share of answers that are the same as a reference, but for case, punctuation and, in words, articles."""

    binary: bool = True
    measure: ClassVar[Callable[[str, str, Units], float]] = exact
    title: ClassVar[str] = "exact_match"


@dataclass(frozen=True)
class AnswerF1(_Agreement):
    """F1 of the words, or of the longest run of characters, that an answer shares with the best reference."""

    measure: ClassVar[Callable[[str, str, Units], float]] = overlap
    title: ClassVar[str] = "f1"


def _texts(target: Sequence[Any]) -> list[str]:
    return [reference if isinstance(reference, str) else reference[0] for reference in target]


def agreement(measure: Callable[[str, str, Units], float], said: str, references: Sequence[str], units: Units) -> float:
    """Return the best measure over references; without any the empty answer is the reference."""
    telling = [text for text in dict.fromkeys(references) if normal(text, units)]
    return max(measure(said, text, units) for text in telling or [""])


def normal(text: str, units: Units) -> str:
    """Return an answer as exact match compares it."""
    if units == "characters":
        return text.lower().strip().translate(_MARKS)
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def pieces(text: str, units: Units) -> list[str]:
    """Return what F1 counts: words, or Chinese characters and the words between them."""
    return normal(text, units).split() if units == "words" else _PIECES.findall(normal(text, units))


def is_chinese(texts: Sequence[str]) -> bool:
    """Tell whether texts hold more Chinese characters than words of other scripts."""
    found = Counter("\u4e00" <= piece <= "\u9fa5" for text in texts for piece in _PIECES.findall(text) if piece[0].isalnum())
    return found[True] > found[False]


def _longest_run(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """Return the length of the longest run of pieces that stands in both."""
    longest, above = 0, [0] * (len(theirs) + 1)
    for piece in ours:
        row = [0] * (len(theirs) + 1)
        for n, other in enumerate(theirs, 1):
            if piece == other:
                row[n] = above[n - 1] + 1
        longest, above = max(longest, *row), row
    return longest
