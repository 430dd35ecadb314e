"""What a run tells its recorders, in order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run."""

    kind: ClassVar[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the event as one JSON object, its kind first."""
        return {"event": self.kind, **dataclasses.asdict(self)}


@dataclass(frozen=True, slots=True)
class Phase(Event):
    """A part of the run begins that takes a while: reading, loading, measuring before, sealing."""

    kind: ClassVar[str] = "phase"
    said: str


@dataclass(frozen=True, slots=True)
class Counted(Event):
    """Rows of the present phase that are done, of how many."""

    kind: ClassVar[str] = "counted"
    done: int
    of: int


@dataclass(frozen=True, slots=True)
class Begun(Event):
    """The steps begin, or go on at `step` after an interruption."""

    kind: ClassVar[str] = "begun"
    step: int
    steps: int
    run: str


@dataclass(frozen=True, slots=True)
class Stepped(Event):
    """Optimizer steps were taken; `loss` and `gradient_norm` are means over those since the last such event."""

    kind: ClassVar[str] = "step"
    step: int
    epoch: float
    loss: float
    gradient_norm: float
    learning_rate: float
    tokens_seen: int
    examples_seen: int
    train_seconds: float


@dataclass(frozen=True, slots=True)
class Evaluated(Event):
    """Dev was scored."""

    kind: ClassVar[str] = "evaluated"
    step: int
    metrics: Mapping[str, float]
    best: bool
    """Whether these are the best weights so far."""


@dataclass(frozen=True, slots=True)
class Saved(Event):
    """A checkpoint is complete."""

    kind: ClassVar[str] = "saved"
    step: int
    folder: str


@dataclass(frozen=True, slots=True)
class Ended(Event):
    """The steps are over."""

    kind: ClassVar[str] = "ended"
    step: int
    stopped_early: bool
    best_step: int | None
    metrics: Mapping[str, Any] = field(default_factory=dict)


Recorder = Callable[[Event], None]
