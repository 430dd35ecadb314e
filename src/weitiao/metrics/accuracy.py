"""Share of rows that are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weitiao.core.contracts import Metric, Prediction


@dataclass(frozen=True)
class Accuracy(Metric):
    """Share of predictions equal to their target; for sets of labels the whole set must match."""

    name: str = "accuracy"
    higher_is_better: bool = True
    binary: bool = True

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): right or not, and one."""
        right = [_comparable(p.value) == _comparable(t) for p, t in zip(predictions, targets, strict=True)]
        return np.stack([np.asarray(right, dtype=float), np.ones(len(right))], axis=1)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return right / rows."""
        return np.asarray(totals[..., 0] / totals[..., 1])


def _comparable(value: Any) -> Any:
    return frozenset(value) if isinstance(value, list | tuple | set) else value
