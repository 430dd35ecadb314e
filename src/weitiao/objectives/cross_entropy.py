"""Cross-entropy over exclusive classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import IGNORED, Batch, Loss, Term


@dataclass(frozen=True)
class CrossEntropy:
    """Negative log-likelihood of the target class, one for each row, or for each position at which something is asked.

    forward: returns logits (n, classes) for a batch whose targets are class indices (n,), or (n, longest, classes) for
    targets (n, longest), IGNORED where nothing is asked.
    weights: one per class; the mean is then the weighted mean, as in torch. smoothing: label smoothing
    (Szegedy et al., 2016, arXiv:1512.00567): that share of the target is spread evenly over all classes.
    """

    forward: Callable[[Module, Batch], Tensor]
    weights: tuple[float, ...] | None = None
    smoothing: float = 0.0
    coupled: bool = False

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of rows or positions that are asked, or the sum of their weights."""
        assert batch.targets is not None
        if self.weights is None:
            rows = batch.targets.ndim == 1  # each is asked: nothing to count, which on a GPU would wait for it
            return {"cross_entropy": float(len(batch.targets) if rows else (batch.targets != IGNORED).sum())}
        return {"cross_entropy": float(sum(self.weights[target] for target in batch.targets.flatten().tolist() if target != IGNORED))}

    def __call__(self, model: Module, batch: Batch) -> Loss:
        """Return the loss of a batch."""
        return self.loss(self.forward(model, batch), batch)

    def loss(self, logits: Tensor, batch: Batch) -> Loss:
        """Return the loss of logits (n, classes) or (n, longest, classes)."""
        assert batch.targets is not None
        weight = None if self.weights is None else logits.new_tensor(self.weights)
        each, targets = logits.reshape(-1, logits.shape[-1]), batch.targets.reshape(-1)
        total = F.cross_entropy(each, targets, weight=weight, label_smoothing=self.smoothing, reduction="sum", ignore_index=IGNORED)
        return Loss({"cross_entropy": Term(total, self.counts(batch)["cross_entropy"])})
