"""How far numbers are from their targets, and how well they follow them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weitiao.core.contracts import Metric, Prediction


def _values(predictions: Sequence[Prediction]) -> np.ndarray:
    return np.array([prediction.value for prediction in predictions], dtype=float)


def _columns(*columns: np.ndarray) -> np.ndarray:
    return np.stack([*columns, np.ones(len(columns[0]))], axis=1)


def _products(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _columns(x, y, x * x, y * y, x * y)


@dataclass(frozen=True)
class MeanSquaredError(Metric):
    """Mean of squared differences, in squared units of the target."""

    name: str = "mse"
    higher_is_better: bool = False
    binary: bool = False

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[float]) -> np.ndarray:
        """Return (n, 2): squared error, and one."""
        return _columns(np.square(_values(predictions) - np.asarray(targets, dtype=float)))

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return the mean."""
        return np.asarray(totals[..., 0] / totals[..., 1])


@dataclass(frozen=True)
class MeanAbsoluteError(Metric):
    """Mean of absolute differences, in units of the target."""

    name: str = "mae"
    higher_is_better: bool = False
    binary: bool = False

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[float]) -> np.ndarray:
        """Return (n, 2): absolute error, and one."""
        return _columns(np.abs(_values(predictions) - np.asarray(targets, dtype=float)))

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return the mean."""
        return np.asarray(totals[..., 0] / totals[..., 1])


@dataclass(frozen=True)
class Pearson(Metric):
    """Pearson's correlation; 0 where one side does not vary."""

    name: str = "pearson"
    higher_is_better: bool = True
    binary: bool = False

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[float]) -> np.ndarray:
        """Return (n, 6): x, y, xx, yy, xy, one."""
        return _products(_values(predictions), np.asarray(targets, dtype=float))

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return covariance over the product of standard deviations."""
        x, y, xx, yy, xy = (totals[..., i] / totals[..., 5] for i in range(5))
        spread = np.sqrt(np.clip(xx - x * x, 0, None) * np.clip(yy - y * y, 0, None))
        small = 1e-12 * (np.abs(xx) + 1e-300) ** 0.5 * (np.abs(yy) + 1e-300) ** 0.5
        correlation: np.ndarray = np.divide(xy - x * y, spread, out=np.zeros_like(spread), where=spread > small)
        return correlation


@dataclass(frozen=True)
class Spearman(Pearson):
    """Spearman's rank correlation: Pearson's of the ranks, equal values sharing their mean rank; 0 where one side does not vary.

    Rows are ranked once, among all that are given: a resample keeps these ranks, so that the score is a function of sums.
    """

    name: str = "spearman"

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[float]) -> np.ndarray:
        """Return (n, 6): as Pearson, of the ranks."""
        from scipy.stats import rankdata

        return _products(rankdata(_values(predictions)), rankdata(np.asarray(targets, dtype=float)))
