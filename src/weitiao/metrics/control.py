"""Whether generated texts have the attribute that was ordered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weitiao.core.contracts import Prediction, TextMetric


@dataclass(frozen=True)
class ControlAccuracy(TextMetric):
    """Share of generated texts of which a classifier says that they have the attribute that was ordered."""

    name: str = "control_accuracy"
    higher_is_better: bool = True
    binary: bool = True

    def applies(self, prediction: Prediction) -> bool:
        """Rows whose text was classified."""
        return "controlled" in prediction.measures

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): as ordered or not, and one."""
        return np.array([[p.measures["controlled"], 1.0] for p in predictions], dtype=float).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return the share."""
        return np.asarray(totals[..., 0] / totals[..., 1])
