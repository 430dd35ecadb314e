"""Triples found whole: precision, recall and F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from weitiao.core.contracts import Metric, Prediction


@dataclass(frozen=True)
class TripleScore(Metric):
    """Of all texts together (micro): a triple counts where both spans, the relation and its direction are right; types do not count.

    Predictions and targets are collections of triples that compare equal where they are the same.
    """

    kind: Literal["f1", "precision", "recall"] = "f1"
    higher_is_better: bool = True
    binary: bool = False

    @property
    def name(self) -> str:  # type: ignore[override]
        """triple_f1, triple_precision or triple_recall."""
        return f"triple_{self.kind}"

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 3): triples that are right, that are predicted, and that are true."""
        pairs = [(set(prediction.value), set(truth)) for prediction, truth in zip(predictions, targets, strict=True)]
        return np.array([[len(found & true), len(found), len(true)] for found, true in pairs], dtype=float).reshape(-1, 3)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return right / predicted, right / true, or 2 right / (predicted + true); 0 where there is nothing to divide by."""
        right, predicted, true = (totals[..., n] for n in range(3))
        over, below = {"precision": (right, predicted), "recall": (right, true), "f1": (2 * right, predicted + true)}[self.kind]
        return np.asarray(np.divide(over, below, out=np.zeros_like(below, dtype=float), where=below > 0))
