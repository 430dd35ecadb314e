"""One loss for the rows of a whole step, at the memory of one micro-batch.

Where rows see each other, such as a query and the passages of all other queries, the loss of a step is no sum over
micro-batches. But it needs of each line only one vector: so vectors are computed first, without a graph; the loss of all of
them gives a gradient for each vector; and then each micro-batch is computed again, with the same dropout, and takes its
vectors' gradient on to the weights (GradCache, Gao et al., 2021, arXiv:2101.06983). The last micro-batch keeps its graph,
so a step of one micro-batch computes nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import Batch, Coupled, Strategy
from weitiao.models import precision


def backward(model: Module, objective: Coupled, batches: Sequence[Batch], *, strategy: Strategy, dtype: str) -> Tensor:
    """Add the gradient of an optimizer step to that of the weights and return the loss.

    Without dropout the gradient does not depend on how the step is cut into micro-batches. With it each micro-batch draws
    its masks from a seed of its own, which follows from torch's: other cuts, other masks.
    """
    seeds: list[int] = torch.randint(0, 2**62, (len(batches),)).tolist()

    def states(batch: Batch, seed: int) -> Tensor:
        torch.manual_seed(seed)
        with precision.autocast(dtype, strategy.device):
            return objective.states(model, batch.to(strategy.device))

    *again, last = batches
    with torch.no_grad():
        known = [states(batch, seed) for batch, seed in zip(again, seeds, strict=False)]
    for vectors in known:
        vectors.requires_grad_()
    with strategy.no_sync(model, last=not again):
        together = torch.cat([*known, states(last, seeds[-1])])
        joint = objective.joint(together, torch.cat([_targets(batch) for batch in batches]).to(strategy.device))
        value = joint.value(strategy.sum({name: term.count for name, term in joint.terms.items()}))
        torch.autograd.backward(value)
    for number, (batch, vectors, seed) in enumerate(zip(again, known, seeds, strict=False)):
        with strategy.no_sync(model, last=number == len(again) - 1):
            torch.autograd.backward(states(batch, seed), vectors.grad)
    return value.detach()


def _targets(batch: Batch) -> Tensor:
    assert batch.targets is not None
    return batch.targets
