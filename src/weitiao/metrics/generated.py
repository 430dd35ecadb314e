"""What can be said of generated texts by counting."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weitiao.core.contracts import Prediction, TextMetric, references

_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORDS = re.compile(f"[{_UNSPACED}]|[^\\W_{_UNSPACED}]+")
"""Words; in scripts without spaces every character is one, or a Chinese answer would be a single word."""


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, characters for scripts without spaces; punctuation is left out."""
    return _WORDS.findall(text.lower())


def word_ends(text: str) -> list[int]:
    """Return for each word of a text the character behind it."""
    return [word.end() for word in _WORDS.finditer(text)]


class _Mean(TextMetric):
    """A mean over rows, or one sum over another."""

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return the first sum over the second."""
        return np.asarray(np.divide(totals[..., 0], totals[..., 1], out=np.zeros_like(totals[..., 0]), where=totals[..., 1] > 0))


class _Rouge(_Mean):
    """A mean of F1 with the reference; of several references the best counts (Lin, 2004, aclweb W04-1013).

    Like rouge-score without stemming for languages with spaces; in others characters are the words, where rouge-score
    finds none.
    """

    higher_is_better = True

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): F1, and one."""
        found = []
        for prediction, target in zip(predictions, targets, strict=True):
            said = words(prediction.value)
            found.append([max(self._f1(said, words(text)) for text in references(target)), 1.0])
        return np.array(found, dtype=float).reshape(-1, 2)

    def _f1(self, said: Sequence[str], expected: Sequence[str]) -> float:
        raise NotImplementedError


@dataclass(frozen=True)
class RougeN(_Rouge):
    """ROUGE-N: F1 of the runs of n words that text and reference have in common."""

    n: int = 1

    @property
    def name(self) -> str:  # type: ignore[override]
        """rouge1, rouge2 ..."""
        return f"rouge{self.n}"

    def _f1(self, said: Sequence[str], expected: Sequence[str]) -> float:
        a, b = (Counter(_runs(text, self.n)) for text in (said, expected))
        return 2 * (a & b).total() / max(a.total() + b.total(), 1)


@dataclass(frozen=True)
class RougeL(_Rouge):
    """ROUGE-L: F1 of the longest common subsequence of words."""

    name: str = "rougeL"

    def _f1(self, said: Sequence[str], expected: Sequence[str]) -> float:
        return 2 * _common(said, expected) / max(len(said) + len(expected), 1)


@dataclass(frozen=True)
class StopRate(_Mean):
    """Share of generated texts that the model ended by itself."""

    name: str = "stop_rate"
    higher_is_better: bool = True
    binary: bool = True

    def applies(self, prediction: Prediction) -> bool:
        """Rows with a text that the model generated: one that is only copied did not end."""
        return "stopped" in prediction.measures

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): ended or not, and one."""
        return np.array([[p.measures["stopped"], 1.0] for p in predictions]).reshape(-1, 2)


@dataclass(frozen=True)
class AnswerLength(_Mean):
    """Mean length of the generated texts, in tokens."""

    name: str = "answer_length"
    higher_is_better: None = None

    def applies(self, prediction: Prediction) -> bool:
        """Rows with a text that the model generated."""
        return "answer_tokens" in prediction.measures

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): tokens, and one."""
        return np.array([[p.measures["answer_tokens"], 1.0] for p in predictions]).reshape(-1, 2)


@dataclass(frozen=True)
class LengthRatio(_Mean):
    """Words of the generated texts over words of their references; of several references the one closest in length counts."""

    name: str = "length_ratio"
    higher_is_better: None = None

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): words said, and words of the reference."""
        found = []
        for prediction, target in zip(predictions, targets, strict=True):
            said = len(words(prediction.value))
            found.append([said, min((len(words(text)) for text in references(target)), key=lambda length: (abs(length - said), length))])
        return np.array(found, dtype=float).reshape(-1, 2)


@dataclass(frozen=True)
class LengthAccuracy(_Mean):
    """Share of generated texts that have as many words as was ordered; a target holds the name of the length last."""

    lengths: Mapping[str, tuple[int, int]]
    """Name -> words, from and to."""
    name: str = "length_accuracy"
    higher_is_better: bool = True
    binary: bool = True

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): as ordered or not, and one."""
        found = []
        for prediction, target in zip(predictions, targets, strict=True):
            low, high = self.lengths[target[-1]]
            found.append([float(low <= len(words(prediction.value)) <= high), 1.0])
        return np.array(found, dtype=float).reshape(-1, 2)


@dataclass(frozen=True)
class Distinct(_Mean):
    """Distinct runs of n words over all runs of n words in a text (Li et al., 2016, arXiv:1510.03055): low where it repeats itself."""

    n: int = 2
    higher_is_better: bool = True

    @property
    def name(self) -> str:  # type: ignore[override]
        """distinct_1, distinct_2 ..."""
        return f"distinct_{self.n}"

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): distinct runs, and runs."""
        found = []
        for prediction in predictions:
            runs = _runs(words(prediction.value), self.n)
            found.append([len(set(runs)), len(runs)])
        return np.array(found, dtype=float).reshape(-1, 2)


@dataclass(frozen=True)
class CorpusDistinct(_Mean):
    """Distinct runs of n words over all runs of n words in all texts together (Li et al., 2016, arXiv:1510.03055): low where texts say the same.

    A run that stands in the texts k times counts as 1/k each time, so that rows add up to the number of distinct runs; the interval
    takes these shares as given, since texts drawn twice would always repeat each other.
    """

    n: int = 2
    higher_is_better: bool = True

    @property
    def name(self) -> str:  # type: ignore[override]
        """corpus_distinct_1, corpus_distinct_2 ..."""
        return f"corpus_distinct_{self.n}"

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): the row's share of the distinct runs, and its runs."""
        each = [_runs(words(prediction.value), self.n) for prediction in predictions]
        counts = Counter(run for runs in each for run in runs)
        return np.array([[sum(1 / counts[run] for run in runs), len(runs)] for runs in each], dtype=float).reshape(-1, 2)


def _runs(text: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Return all runs of n words of a text."""
    return [tuple(text[start : start + n]) for start in range(len(text) - n + 1)]


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
