"""Scores with intervals, and the test of one set of predictions against another on the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from weitiao.core.contracts import Metric, Prediction

RESAMPLES = 1000
PERMUTATIONS = 5000
_CELLS = 8_000_000
"""Resampling is done in pieces of at most this many weights at a time: 64 MB."""


def score(metric: Metric, predictions: Sequence[Prediction], targets: Sequence[Any], *, seed: int = 0) -> dict[str, Any] | None:
    """Return value, low and high (95 % percentile bootstrap over rows; Efron, 1979) and n, and the metric's signature where it has one.

    None where the metric applies to no row.
    """
    chosen = [n for n, prediction in enumerate(predictions) if metric.applies(prediction) and metric.concerns(targets[n])]
    if not chosen:
        return None
    kept = [targets[n] for n in chosen]
    statistics = metric.statistics([predictions[n] for n in chosen], kept)
    found = _interval(metric, total(statistics), np.concatenate(list(_resampled(metric, statistics, seed=seed))), len(chosen))
    return {**found, **_signed(metric, kept)}


def value(metric: Metric, predictions: Sequence[Prediction], targets: Sequence[Any]) -> float | None:
    """Return the score alone; None where the metric applies to no row."""
    chosen = [n for n, prediction in enumerate(predictions) if metric.applies(prediction) and metric.concerns(targets[n])]
    return float(metric.value(total(metric.statistics([predictions[n] for n in chosen], [targets[n] for n in chosen])))) if chosen else None


def compare(metric: Metric, before: Sequence[Prediction], after: Sequence[Prediction], targets: Sequence[Any], *, seed: int = 0) -> dict[str, Any] | None:
    """Return before, after and their difference, each with interval, and the p-value of the paired test.

    Rows to which the metric does not apply, before or after, are left out; None where none is left.

    Where each row is right or wrong the test is McNemar's, exact (McNemar, 1947); otherwise a paired permutation
    test with 5,000 permutations (Noreen, 1989): how often a random exchange of before and after, row by row, changes
    the score by at least as much.
    """
    chosen = [n for n, pair in enumerate(zip(before, after, strict=True)) if all(map(metric.applies, pair)) and metric.concerns(targets[n])]
    if not chosen:
        return None
    n, kept = len(chosen), [targets[n] for n in chosen]
    first, second = (metric.statistics([side[n] for n in chosen], kept) for side in (before, after))
    low_high = [np.concatenate(list(_resampled(metric, s, seed=seed))) for s in (first, second)]
    found: dict[str, Any] = {
        "before": _interval(metric, total(first), low_high[0], n),
        "after": _interval(metric, total(second), low_high[1], n),
    }
    change = low_high[1] - low_high[0]
    low, high = np.percentile(change, [2.5, 97.5])
    observed = found["after"]["value"] - found["before"]["value"]
    p, test = (_mcnemar(first, second), "McNemar, exact") if metric.binary else (_permuted(metric, first, second, seed=seed), "paired permutation")
    return {
        **found,
        "difference": {"value": observed, "low": float(low), "high": float(high)},
        "p_value": p,
        "test": test,
        "higher_is_better": metric.higher_is_better,
        **_signed(metric, kept),
    }


def _signed(metric: Metric, targets: Sequence[Any]) -> dict[str, str]:
    signature = metric.signature(targets)
    return {} if signature is None else {"signature": signature}


def _interval(metric: Metric, totals: np.ndarray, resampled: np.ndarray, n: int) -> dict[str, float]:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {"value": float(metric.value(totals)), "low": float(low), "high": float(high), "n": n}


def total(statistics: Any) -> np.ndarray:
    """Return the sum of statistics over rows, (k,)."""
    return np.asarray(statistics.sum(axis=0)).reshape(-1)


def _pieces(times: int, rows: int) -> Iterator[int]:
    piece = max(1, min(times, _CELLS // max(rows, 1)))
    done = 0
    while done < times:
        yield min(piece, times - done)
        done += piece


def _resampled(metric: Metric, statistics: Any, *, seed: int) -> Iterator[np.ndarray]:
    """Yield the metric on bootstrap samples; the same seed draws the same rows, so differences are paired."""
    rows = statistics.shape[0]
    random = np.random.default_rng(seed)
    for piece in _pieces(RESAMPLES, rows):
        weights = random.multinomial(rows, np.full(rows, 1 / rows), size=piece).astype(np.float64)
        yield metric.value(np.asarray((statistics.T @ weights.T).T))


def _permuted(metric: Metric, first: Any, second: Any, *, seed: int) -> float:
    rows = first.shape[0]
    totals, change = (total(first), total(second)), second - first
    observed = abs(float(metric.value(totals[1])) - float(metric.value(totals[0])))
    random = np.random.default_rng(seed)
    extreme = 0
    for piece in _pieces(PERMUTATIONS, rows):
        swapped = random.integers(0, 2, size=(piece, rows)).astype(np.float64)
        moved = np.asarray((change.T @ swapped.T).T)
        differences = metric.value(totals[1] - moved) - metric.value(totals[0] + moved)
        extreme += int((np.abs(differences) >= observed - 1e-12).sum())
    return (extreme + 1) / (PERMUTATIONS + 1)


def _mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    from scipy.stats import binomtest

    gained = int(((second[:, 0] > 0.5) & (first[:, 0] < 0.5)).sum())
    lost = int(((second[:, 0] < 0.5) & (first[:, 0] > 0.5)).sum())
    return 1.0 if gained + lost == 0 else float(binomtest(gained, gained + lost, 0.5).pvalue)
