"""Cross-entropy over classes that do not exclude each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import Batch, Loss, Term


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """Negative log-likelihood of each yes or no, averaged over rows and classes.

    forward: returns logits (n, classes) for a batch whose targets are 0 or 1 (n, classes).
    weights: how much more a yes of each class weighs (`pos_weight`). smoothing: moves 0 and 1 that far towards 1/2.
    """

    forward: Callable[[Module, Batch], Tensor]
    weights: tuple[float, ...] | None = None
    smoothing: float = 0.0
    coupled: bool = False

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return rows x classes."""
        assert batch.targets is not None
        return {"binary_cross_entropy": float(batch.targets.numel())}

    def __call__(self, model: Module, batch: Batch) -> Loss:
        """Return the loss of a batch."""
        return self.loss(self.forward(model, batch), batch)

    def loss(self, logits: Tensor, batch: Batch) -> Loss:
        """Return the loss of logits (n, classes)."""
        assert batch.targets is not None
        targets = batch.targets * (1 - self.smoothing) + self.smoothing / 2
        weight = None if self.weights is None else logits.new_tensor(self.weights)
        total = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight, reduction="sum")
        return Loss({"binary_cross_entropy": Term(total, self.counts(batch)["binary_cross_entropy"])})
