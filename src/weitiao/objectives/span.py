"""Cross-entropy over the first and the last token of a span."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import Batch, Loss, Term


@dataclass(frozen=True)
class SpanCrossEntropy:
    """Negative log-likelihood of where a span starts and where it ends, the mean of the two (Devlin et al., 2019, arXiv:1810.04805).

    forward: returns logits (n, longest, 2) for a batch whose targets are the positions of first and last token (n, 2).
    Padding is no position: the loss of a row does not depend on the rows beside it.
    """

    forward: Callable[[Module, Batch], Tensor]
    coupled: bool = False

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of windows."""
        assert batch.targets is not None
        return {"span": float(len(batch.targets))}

    def __call__(self, model: Module, batch: Batch) -> Loss:
        """Return the loss of a batch."""
        return self.loss(self.forward(model, batch), batch)

    def loss(self, logits: Tensor, batch: Batch) -> Loss:
        """Return the loss of logits (n, longest, 2)."""
        assert batch.targets is not None
        real = batch.inputs["attention_mask"].bool()
        total = F.cross_entropy(logits.masked_fill(~real[..., None], float("-inf")), batch.targets, reduction="sum") / 2
        return Loss({"span": Term(total, self.counts(batch)["span"])})
