"""Penalty on the squared size of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import PositiveFloat

from weitiao.core.contracts import Loss, Regularizer, Term

if TYPE_CHECKING:
    from torch.nn import Parameter


class L2(Regularizer):
    """Add weight / 2 x the sum of squares of every training matrix to the loss."""

    weight: PositiveFloat = 1e-4
    """How much the penalty weighs. Unlike AdamW's decoupled decay it goes through the optimizer's scaling."""

    def penalty(self, named: Mapping[str, Parameter]) -> Loss | None:
        """Return the penalty; biases and norms are spared."""
        parts = [p.square().sum() for p in named.values() if p.ndim > 1]
        return Loss({"l2": Term(sum(parts[1:], parts[0]) / 2, 1.0, self.weight)}) if parts else None
