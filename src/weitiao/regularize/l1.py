"""Penalty on the absolute size of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import PositiveFloat

from weitiao.core.contracts import Loss, Regularizer, Term

if TYPE_CHECKING:
    from torch.nn import Parameter


class L1(Regularizer):
    """Add weight x the sum of absolute values of every training matrix to the loss; drives weights towards zero."""

    weight: PositiveFloat = 1e-6
    """How much the penalty weighs."""

    def penalty(self, named: Mapping[str, Parameter]) -> Loss | None:
        """Return the penalty; biases and norms are spared."""
        parts = [p.abs().sum() for p in named.values() if p.ndim > 1]
        return Loss({"l1": Term(sum(parts[1:], parts[0]), 1.0, self.weight)}) if parts else None
