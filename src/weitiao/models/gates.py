"""Gates on single weights, learned: which entries a task wants changed, by differences that have to pay for being there.

Every weight becomes w + z d, where the difference d is trained and the gate z is drawn from a hard-concrete distribution whose
parameter is trained too, against a price for each gate that is open (Guo, Rush and Kim, 2021, arXiv:2012.07463; Louizos,
Welling and Kingma, 2018, arXiv:1712.01312).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.utils import parametrize

from weitiao.core.contracts import Batch, Objective

LOW, HIGH = -1.5, 1.5
"""Between which a gate is drawn before it is cut off at 0 and 1."""
OPEN = 5.0
"""Where the parameters of gates begin: all open."""
PRICE = 1.25e-7
"""What an open gate adds to the loss."""
GATE_RATE, RATE = 0.1, 1e-3
"""Learning rates of gates, as in the paper, and of differences, which have fewer steps here."""


class _Gated(Module):
    """Gives a weight with its gated difference."""

    def __init__(self, weight: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        self.difference = Parameter(torch.zeros_like(weight))
        self.gate = Parameter(torch.full_like(weight, OPEN))
        self.generator = generator

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with a gate drawn for every entry."""
        drawn = torch.rand(weight.shape, generator=self.generator).clamp_(1e-6, 1 - 1e-6).to(weight.device)
        between = torch.sigmoid(drawn.logit() + self.gate) * (HIGH - LOW) + LOW
        return weight.detach() + between.clamp(0, 1) * self.difference

    def open(self) -> Tensor:
        """Return how many gates are expected to be open."""
        return torch.sigmoid(self.gate - math.log(-LOW / HIGH)).sum()

    def expected(self) -> Tensor:
        """Return the size of every difference behind its gate, as it is without drawing."""
        between = torch.sigmoid(self.gate) * (HIGH - LOW) + LOW
        return (between.clamp(0, 1) * self.difference).detach().abs()


def of_entries(model: Module, objective: Objective, batches: Iterable[Batch], names: Sequence[str], *, steps: int, seed: int) -> dict[str, Tensor]:
    """Return for every entry of the named weights the size of the difference that its gate lets through after so many steps.

    The model is as in prediction meanwhile, and as before afterwards: its weights are unchanged. batches: taken again from the
    beginning where they are fewer than the steps.
    """
    device = next(model.parameters()).device
    was_training, learns = model.training, [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    generator = torch.Generator().manual_seed(seed)
    gated: dict[str, tuple[Module, str, _Gated]] = {}
    model.requires_grad_(False)
    model.eval()
    try:
        for name in names:
            path, _, leaf = name.rpartition(".")
            module = model.get_submodule(path)
            gate = _Gated(model.get_parameter(name), generator)
            parametrize.register_parametrization(module, leaf, gate)
            gated[name] = module, leaf, gate
        every = [gate for _, _, gate in gated.values()]
        optimizer = torch.optim.Adam(
            [{"params": [gate.difference for gate in every], "lr": RATE}, {"params": [gate.gate for gate in every], "lr": GATE_RATE}],
        )
        for batch in itertools.islice(itertools.cycle(batches), steps):
            loss = objective(model, batch.to(device)).value() + PRICE * torch.stack([gate.open() for gate in every]).sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        return {name: gate.expected() for name, (_, _, gate) in gated.items()}
    finally:
        for module, leaf, _ in gated.values():
            parametrize.remove_parametrizations(module, leaf, leave_parametrized=False)
        model.train(was_training)
        for parameter, before in learns:
            parameter.requires_grad_(before)
