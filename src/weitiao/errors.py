"""Every error weitiao raises.

WeitiaoError            each carries a hint; the CLI prints "error: ..." and "hint: ..." and exits with the branch's code
├── RecipeError   (2)   UnknownComponent, UnknownSetting, BadValue, Conflict
├── DataError     (3)   MissingFile, MissingColumn, BadRow, TooLong, EmptySplit
├── ModelError    (4)   NotFound, WrongHead, NoPadToken, NoTargets
├── MachineError  (5)   MissingExtra, NoDevice, OutOfMemory
├── TrainingError (6)   Diverged, ResumeMismatch, Interrupted, Occupied
└── ArtifactError (7)   NotAnArtifact, Damaged, TooNew

An error says what, where, what was expected and what was received; its hint says what to do.
"""

from __future__ import annotations

from collections.abc import Sequence


class WeitiaoError(Exception):
    """The root: a sentence for a person and a hint about what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[WeitiaoError], message: str, hint: str) -> WeitiaoError:
    error = kind.__new__(kind)
    WeitiaoError.__init__(error, message, hint=hint)
    return error


class RecipeError(WeitiaoError):
    """Something in the recipe cannot be; `problems` holds each finding when there are several, `key` says under which key it is."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str, problems: Sequence[RecipeError] = (), key: str = "") -> None:
        super().__init__(message, hint=hint)
        self.key = key
        self.problems = tuple(problems) or (self,)


class UnknownComponent(RecipeError):
    """No task, method, source or regularizer has this name."""


class UnknownSetting(RecipeError):
    """A component or section has no setting with this name."""


class BadValue(RecipeError):
    """A setting holds a value it cannot take."""


class Conflict(RecipeError):
    """Two settings, each fine alone, cannot go together."""


class DataError(WeitiaoError):
    """Something in the data cannot be read as the task needs it."""

    exit_code = 3


class MissingFile(DataError):
    """A data file, or the package that should carry it, is not there."""


class MissingColumn(DataError):
    """A column or field that the recipe names is not in the data."""


class BadRow(DataError):
    """One row, or several, cannot be used; the message names file, line and field."""


class TooLong(DataError):
    """A row does not fit, and the settings say to stop then."""


class EmptySplit(DataError):
    """A split has no rows, or too few kinds of rows, to be of use."""


class ModelError(WeitiaoError):
    """The model cannot be loaded or cannot do what is asked."""

    exit_code = 4


class NotFound(ModelError):
    """No model, tokenizer or weights under this name."""


class WrongHead(ModelError):
    """The model's head does not fit the task."""


class NoPadToken(ModelError):
    """The tokenizer has no token to pad with."""


class NoTargets(ModelError):
    """The method's settings choose no parameter of this model."""


class MachineError(WeitiaoError):
    """This machine lacks something."""

    exit_code = 5


class MissingExtra(MachineError):
    """An optional dependency is not installed."""


class NoDevice(MachineError):
    """The device asked for is not there."""


class OutOfMemory(MachineError):
    """The machine's memory is not enough."""


class TrainingError(WeitiaoError):
    """Training cannot start, go on or be resumed."""

    exit_code = 6


class Diverged(TrainingError):
    """A loss or gradient is not finite; `step` and `rows` say where."""

    step: int = -1
    rows: tuple[str, ...] = ()


class ResumeMismatch(TrainingError):
    """The run folder was begun with something else; the message lists the differences."""


class Interrupted(TrainingError):
    """Stopped from outside; the state is saved and the same command goes on."""


class Occupied(TrainingError):
    """The run folder is in use, or holds something that is not this run."""


class ArtifactError(WeitiaoError):
    """A folder is not an artifact that can be opened."""

    exit_code = 7


class NotAnArtifact(ArtifactError):
    """The folder has no complete manifest."""


class Damaged(ArtifactError):
    """A file differs from what the manifest recorded."""


class TooNew(ArtifactError):
    """The artifact was written by a later format than this one reads."""
