"""How often generated code passes its tests, and how it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np

from weitiao.core.contracts import Metric, Prediction

RUN = "completions_run"
"""The measure of a prediction that says how many of its completions were run; beside it stands how many of them ended in each way."""


def pass_at(k: int, run: int, passed: int) -> float:
    """Return the chance that of k completions, drawn from those that were run without putting any back, one at least passes (arXiv:2107.03374)."""
    return 1.0 - comb(run - passed, k) / comb(run, k)


class _OfRuns(Metric):
    """A mean over rows whose completions were run."""

    needs_answer = True

    def applies(self, prediction: Prediction) -> bool:
        """Rows whose completions were run."""
        return RUN in prediction.measures

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): the score of the row, and one."""
        return np.array([[self._of(p.measures), 1.0] for p in predictions], dtype=float).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return the mean."""
        return np.asarray(totals[..., 0] / totals[..., 1])

    def _of(self, measures: Any) -> float:
        raise NotImplementedError


@dataclass(frozen=True)
class PassAtK(_OfRuns):
    """pass@k: the chance that of k completions one at least passes all tests, without bias from more than k (Chen et al., 2021, arXiv:2107.03374)."""

    k: int = 1
    samples: int = 1
    """Completions of a row."""
    higher_is_better: bool = True

    @property
    def name(self) -> str:  # type: ignore[override]
        """pass@1, pass@10 ..."""
        return f"pass@{self.k}"

    @property
    def binary(self) -> bool:  # type: ignore[override]
        """A row with one completion passes or does not."""
        return self.samples == 1

    def _of(self, measures: Any) -> float:
        return pass_at(self.k, int(measures[RUN]), int(measures["passed"]))


@dataclass(frozen=True)
class EndedIn(_OfRuns):
    """Share of completions that ended in one way, such as a syntax error."""

    way: str
    higher_is_better: bool = False

    @property
    def name(self) -> str:  # type: ignore[override]
        """The way."""
        return self.way

    def _of(self, measures: Any) -> float:
        return float(measures[self.way] / measures[RUN])
