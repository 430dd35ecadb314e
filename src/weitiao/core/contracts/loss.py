"""A loss as sums and counts, and what computes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeGuard

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from weitiao.core.contracts.batch import Batch


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a loss: a sum over examples or tokens, how many, and how much it weighs."""

    sum: Tensor
    count: float
    coefficient: float = 1.0


@dataclass(frozen=True, slots=True)
class Loss:
    """Named terms, each a sum and a count. It is divided once, where the total count of the step is known."""

    terms: Mapping[str, Term]

    def value(self, counts: Mapping[str, float] | None = None) -> Tensor:
        """Return the scalar: sum over terms of coefficient x sum / count, counts taken from `counts` if given."""
        parts = [term.coefficient * term.sum / ((counts or {}).get(name, term.count) or 1.0) for name, term in self.terms.items()]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


class Objective(Protocol):
    """(model, batch) -> Loss. Counts are known without a forward; the model is called without labels."""

    @property
    def coupled(self) -> bool:
        """Whether rows of a step see each other (in-batch negatives): then it is `Coupled`, and its micro-batches have one loss together."""
        ...

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the count of each term for a batch."""
        ...

    def __call__(self, model: Module, batch: Batch) -> Loss:
        """Return the loss, differentiable, as sums and counts."""
        ...


class Coupled(Objective, Protocol):
    """An objective whose rows see each other: a forward looks at every line by itself, and the loss is made of what it said about all lines of a step."""

    def states(self, model: Module, batch: Batch) -> Tensor:
        """Return what the loss is made of, (lines, width) in fp32, differentiable; that of a line does not depend on the others."""
        ...

    def joint(self, states: Tensor, targets: Tensor) -> Loss:
        """Return the loss of all micro-batches of a step together: their states and their targets, one behind the other."""
        ...


def is_coupled(objective: Objective) -> TypeGuard[Coupled]:
    """Tell whether the rows of a step see each other."""
    return objective.coupled
