"""A score, and what it takes to put an interval around it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from weitiao.core.contracts.batch import Prediction

if TYPE_CHECKING:
    import numpy


class Metric(ABC):
    """A score that is a function of sums over rows, so that it can be resampled a thousand times in one product."""

    name: str
    """What the score is called in recipes and reports."""
    higher_is_better: bool | None
    """Which way is up; None where neither is."""
    binary: bool = False
    """Whether each row's statistic is a plain right (1) or wrong (0): then the paired test is McNemar's, exact."""

    needs_answer: bool = False
    """Whether it scores generated texts: dev rows get none, so it cannot choose the best weights."""

    def applies(self, prediction: Prediction) -> bool:
        """Tell whether this prediction can be scored: a row without a generated text has no ROUGE, for example."""
        return True

    def concerns(self, target: Any) -> bool:
        """Tell whether rows with this target are scored: some scores are of a part of the rows."""
        return True

    def signature(self, targets: Sequence[Any]) -> str | None:
        """Return what a published score has to say of how it was counted, in the words of the field's own tool; None where the name says it all."""
        return None

    @abstractmethod
    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> Any:
        """Return one row of sufficient statistics per example, (n, k): an array or a sparse matrix."""

    @abstractmethod
    def value(self, totals: numpy.ndarray) -> numpy.ndarray:
        """Return the score for summed statistics: shape (..., k) -> (...)."""


class TextMetric(Metric):
    """A score of generated texts: rows without one do not count."""

    needs_answer = True

    def applies(self, prediction: Prediction) -> bool:
        """Rows with a generated text."""
        return isinstance(prediction.value, str)


def references(target: Any) -> tuple[str, ...]:
    """Return the texts that a generated one is compared with: one, or several of which the best counts."""
    return tuple(map(str, target)) if isinstance(target, list | tuple) else (str(target),)
