"""Which parameters train, what is added to the loss, and which devices do the work."""

from __future__ import annotations

import enum
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from weitiao.core.component import Component
from weitiao.core.contracts.batch import Batch
from weitiao.core.contracts.loss import Loss, Objective

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, Parameter

    from weitiao.core.contracts.task import Head


class Capability(enum.Enum):
    """What a method says it can do; conformance holds it to its word."""

    IDENTITY_AT_START = "the output is unchanged before the first step"
    WHOLE_MODEL = "the artifact holds a plain transformers folder"
    ADAPTER = "the artifact holds a PEFT adapter, and the model is the base and the adapter together"
    DELTA = "the artifact holds the tensors that changed, and the model is the base with these in their place"
    ENTRIES = "the artifact holds the entries of tensors that changed and their places, and the model is the base with these in their place"
    ROWS_APART = "every row begins with positions of the method's own, so rows are never packed"
    QUANTIZED = "the base is held in few bits, and only weitiao opens the artifact as it was measured"
    ADDITION = "the artifact holds layers of our own, and the model is the base with these put in by weitiao"


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a learning rate and a weight decay."""

    parameters: list[Parameter]
    names: list[str]
    learning_rate_scale: float = 1.0
    weight_decay_scale: float = 1.0


SETTLED = "_weitiao_settled"
"""Name under which a model holds what a method settled about it."""


class Method(Component):
    """Given a loaded model, decides which parameters train, and writes what it trained."""

    can: ClassVar[frozenset[Capability]] = frozenset()
    learning_rate: ClassVar[float]
    """What usually works, used where the recipe names none."""
    paper: ClassVar[str] = ""
    """Where the method comes from: authors, year, arXiv id."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can with its settings."""
        return self.can

    @property
    def title(self) -> str:
        """How it is called in reports."""
        return self.name

    @property
    def usual_rate(self) -> float:
        """The learning rate that usually works with its settings."""
        return self.learning_rate

    @property
    def folder(self) -> str:
        """The name of the folder of an artifact that holds what was trained."""
        if Capability.WHOLE_MODEL in self.capabilities:
            return "model"
        return "adapter" if Capability.ADAPTER in self.capabilities else "delta"

    @property
    def positions_taken(self) -> int:
        """Positions of the model's context that the method takes for itself: rows can be as much shorter."""
        return 0

    def calibrate(self, model: Module, objective: Objective, batches: Iterable[Batch]) -> None:
        """Look at data before training begins. Most methods need not."""

    def settled(self, model: Module) -> Mapping[str, Tensor]:
        """Return what data and steps have settled so far besides the weights: every checkpoint holds it."""
        found: Mapping[str, Tensor] = getattr(model, SETTLED, {})
        return found

    def settle(self, model: Module, settled: Mapping[str, Tensor]) -> None:
        """Take what was settled, before `apply`: a resumed run does so instead of looking at data again."""
        object.__setattr__(model, SETTLED, dict(settled))

    @abstractmethod
    def apply(self, model: Module) -> Module:
        """Mark what trains. Raises NoTargets where the settings choose nothing. Works on the meta device too."""

    def groups(self, model: Module) -> list[ParameterGroup]:
        """Return what the optimizer gets: weights with decay, and biases, norms and other vectors without."""
        decayed, plain = ParameterGroup([], []), ParameterGroup([], [], weight_decay_scale=0.0)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                group = decayed if parameter.ndim > 1 else plain
                group.parameters.append(parameter)
                group.names.append(name)
        return [group for group in (decayed, plain) if group.parameters]

    def training_mode(self, model: Module) -> None:
        """Put the model into the mode for training steps."""
        model.train()

    def penalty(self, model: Module) -> Loss | None:
        """Return a term on the weights, once per optimizer step, or None."""
        return None

    def after_step(self, model: Module, step: int, total: int) -> None:
        """Act after an optimizer step, while its gradients are still there: rank re-allocation, gradual unfreezing."""

    @abstractmethod
    def save(self, model: Module, folder: Path) -> None:
        """Write what was trained into an artifact folder."""

    @abstractmethod
    def load(self, folder: Path, head: Head) -> Module:
        """Return the trained model of an artifact folder."""


class Regularizer(Component):
    """An addition to loss, weights or gradient; the loop looks inside none of them. Override what applies."""

    def wrap(self, objective: Objective) -> Objective:
        """Return the objective with something around it (forward side)."""
        return objective

    def penalty(self, named: Mapping[str, Parameter]) -> Loss | None:
        """Return a term on the weights that train, once per optimizer step."""
        return None

    def edit_gradients(self, named: Mapping[str, Parameter]) -> None:
        """Change the gradients in place, after the last backward and before clipping."""


class Strategy(Protocol):
    """One way of using devices, in seven functions."""

    device: Any

    def wrap(self, model: Module) -> Module:
        """Return the model placed, and wrapped where processes work together."""
        ...

    def sum(self, counts: Mapping[str, float]) -> dict[str, float]:
        """Return counts summed over processes."""
        ...

    def no_sync(self, model: Module, last: bool) -> AbstractContextManager[Any]:
        """Return the context for a backward: gradients are exchanged at the last micro-batch only."""
        ...

    def clip(self, parameters: Sequence[Parameter], max_norm: float | None) -> Tensor:
        """Scale gradients to at most `max_norm` and return their norm before that."""
        ...

    def gather(self, values: Tensor) -> Tensor:
        """Return per-row values of all processes, in row order."""
        ...

    def save(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Write tensors as safetensors."""
        ...

    def load(self, path: Path) -> dict[str, Tensor]:
        """Read tensors written by `save`, on the device."""
        ...
