"""Pairs of texts in the order of their scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import Batch, Loss, Term

CHUNK = 1024
"""Rows that are compared with all others at a time."""


@dataclass(frozen=True)
class CoSENT:
    """log(1 + sum of exp((cosine of b - cosine of a) / temperature)) over all pairs a and b of the step of which a has the higher score.

    (CoSENT, Su, 2022, kexue.fm/archives/8847.) Only the order of the scores counts. forward: returns a vector of length 1 for
    each line of a batch, the two texts of a row one behind the other; the targets are (lines, k), the score in the last column.
    """

    forward: Callable[[Module, Batch], Tensor]
    temperature: float = 0.05
    coupled: bool = True

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return 1: the loss is one number for a whole step."""
        return {"cosent": 1.0}

    def __call__(self, model: Module, batch: Batch) -> Loss:
        """Return the loss of a batch that is the whole step."""
        assert batch.targets is not None
        return self.joint(self.states(model, batch), batch.targets)

    def states(self, model: Module, batch: Batch) -> Tensor:
        """Return the vectors of lines, (lines, width)."""
        return self.forward(model, batch)

    def joint(self, states: Tensor, targets: Tensor) -> Loss:
        """Return the loss of vectors (lines, width) in fp32; targets: (lines, k)."""
        with torch.autocast(states.device.type, enabled=False):
            cosines = (states[::2] * states[1::2]).sum(-1) / self.temperature
        scores = targets[::2, -1]
        parts = [cosines.new_zeros(())]
        for start in range(0, len(scores), CHUNK):
            here = slice(start, start + CHUNK)
            parts.append((cosines[None, :] - cosines[here, None])[scores[here, None] > scores[None, :]].logsumexp(0))
        return Loss({"cosent": Term(torch.stack(parts).logsumexp(0), 1.0)})
