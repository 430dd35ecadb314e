"""Squared error of a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import Batch, Loss, Term


@dataclass(frozen=True)
class SquaredError:
    """Squared difference between the output and the target.

    forward: returns outputs (n, 1) for a batch whose targets are numbers (n,).
    """

    forward: Callable[[Module, Batch], Tensor]
    coupled: bool = False

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of rows."""
        assert batch.targets is not None
        return {"squared_error": float(len(batch.targets))}

    def __call__(self, model: Module, batch: Batch) -> Loss:
        """Return the loss of a batch."""
        return self.loss(self.forward(model, batch), batch)

    def loss(self, outputs: Tensor, batch: Batch) -> Loss:
        """Return the loss of outputs (n, 1)."""
        assert batch.targets is not None
        total = (outputs[:, 0] - batch.targets).square().sum()
        return Loss({"squared_error": Term(total, self.counts(batch)["squared_error"])})
