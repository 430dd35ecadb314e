"""Harmonic mean of precision and recall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from weitiao.core.contracts import Metric, Prediction


@dataclass(frozen=True)
class F1(Metric):
    """F1 over labels: `macro` is the mean over classes, `micro` counts all decisions together.

    Predictions and targets are labels, or collections of labels. As in scikit-learn, a class that is neither
    predicted nor true scores 0, and macro averages over the classes given.
    """

    labels: tuple[str, ...]
    average: Literal["macro", "micro"] = "macro"
    higher_is_better: bool = True
    binary: bool = False

    @property
    def name(self) -> str:  # type: ignore[override]
        """macro_f1 or micro_f1."""
        return f"{self.average}_f1"

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> Any:
        """Return (n, 3 x classes), sparse: true positives, false positives, false negatives of each class."""
        from scipy import sparse

        index, width = {label: n for n, label in enumerate(self.labels)}, len(self.labels)
        rows, columns = [], []
        for row, (prediction, truth) in enumerate(zip(predictions, targets, strict=True)):
            guessed, true = _labels(prediction.value), _labels(truth)
            cells = [index[label] for label in guessed & true]
            cells += [width + index[label] for label in guessed - true]
            cells += [2 * width + index[label] for label in true - guessed]
            rows += [row] * len(cells)
            columns += cells
        return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(predictions), 3 * width))

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return F1 = 2 tp / (2 tp + fp + fn)."""
        right, wrong, missed = np.split(np.asarray(totals, dtype=float), 3, axis=-1)
        if self.average == "micro":
            right, wrong, missed = (part.sum(axis=-1, keepdims=True) for part in (right, wrong, missed))
        below = 2 * right + wrong + missed
        per_class: np.ndarray = np.divide(2 * right, below, out=np.zeros_like(below), where=below > 0)
        return np.asarray(per_class.mean(axis=-1))


def per_class(labels: Sequence[str], counts: np.ndarray) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and n of each label. counts: (3, labels), those right, wrong and missed."""
    table = []
    for label, (right, wrong, missed) in zip(labels, np.asarray(counts).T.tolist(), strict=True):
        precision, recall = (right / total if total else 0.0 for total in (right + wrong, right + missed))
        f1 = 2 * right / (2 * right + wrong + missed) if right + wrong + missed else 0.0
        table.append({"label": label, "n": int(right + missed), "precision": precision, "recall": recall, "f1": f1})
    return table


def _labels(value: Any) -> set[str]:
    return set(value) if isinstance(value, list | tuple | set | frozenset) else {value}
