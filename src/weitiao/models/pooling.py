"""One vector for each text, from the last hidden states of its tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import Batch
from weitiao.models import readout


def vectors(model: Module, batch: Batch, pooling: str) -> Tensor:
    """Return a vector of length 1 for each line of a batch, (lines, width) in fp32."""
    states = readout.hidden_states(model, batch)
    return F.normalize(pooled(states.float(), batch.inputs["attention_mask"], pooling), dim=-1)


def pooled(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Return the mean of the states of a line's tokens, or the state of its first (cls) or last token, (lines, width).

    states: (lines, longest, width); mask: (lines, longest), padding at the end.
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)
