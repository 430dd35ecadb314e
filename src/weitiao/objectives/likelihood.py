"""Negative log-likelihood of tokens."""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn import Module

from weitiao.core.contracts import IGNORED, Batch, Loss, Term
from weitiao.models import readout


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood of the labelled tokens, read out of the hidden states of their positions only."""

    coupled: bool = False

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of labelled tokens."""
        assert batch.targets is not None
        return {"likelihood": float((batch.targets != IGNORED).sum())}

    def __call__(self, model: Module, batch: Batch) -> Loss:
        """Return the loss of a batch whose targets hold one id per position, IGNORED where nothing is asked."""
        total, _ = readout.likelihood(model, batch)
        return Loss({"likelihood": Term(total, self.counts(batch)["likelihood"])})
