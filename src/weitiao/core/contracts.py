"""What a source, task, method, objective, regularizer and strategy promise each other.

Torch appears in annotations only: this file, like all of `core`, imports without it.
"""

from __future__ import annotations

import enum
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from pydantic import Field

from weitiao.core.component import Component
from weitiao.core.rows import Record, Row

if TYPE_CHECKING:
    import numpy
    from torch import Tensor
    from torch.nn import Module, Parameter

Split = Literal["train", "dev", "test"]


# ---------------------------------------------------------------- data


class Source(Component):
    """Yields records; knows no tokenizer, no model, no task."""

    train: str | None = None
    """Where the training rows are. Paths in a recipe file are relative to that file."""
    dev: str | None = None
    """Where the rows for model selection and early stopping are; split off `train` when absent."""
    test: str | None = None
    """Where the proof rows are; split off `train`, or held back from `dev`, when absent."""
    text: str | list[str] | None = None
    """Column or key that holds the text; several are joined by a space. Default: the one named `text`."""
    label: str | list[str] | None = None
    """Column or key that holds the label; for multi-label rows several columns of 0 and 1 may be named. Default: the one named `label`."""
    id: str | None = None
    """Column or key that holds a stable id. Default: a hash of the record's content."""
    dev_share: float | None = Field(default=None, gt=0, lt=1)
    """Share of `train` split off as dev when `dev` is absent. Default: 0.1."""
    test_share: float | None = Field(default=None, gt=0, lt=1)
    """Share of `train` split off as test when `test` is absent. Default: 0.1, or none where dev is given: then half of dev is held back."""
    bad_rows: Literal["error", "skip"] = "error"
    """What to do with a row that cannot be used: stop and name it, or leave it out and count it in the report."""

    paths: ClassVar[tuple[str, ...]] = ("train", "dev", "test")
    """Fields that are paths, to be read relative to the recipe file."""

    @abstractmethod
    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield the records of a split, columns under their own names.

        A record that cannot be read goes to `bad` as one sentence naming its place; what makes the rest of the
        file unreadable is raised as DataError.
        """

    def given(self, split: Split) -> bool:
        """Tell whether the recipe names where this split is."""
        return getattr(self, split) is not None

    def for_file(self, path: str) -> Self:
        """Return the same reading settings for another file, as its `test` split."""
        return self.revised(train=None, dev=None, test=path)


# ---------------------------------------------------------------- features, batches, outputs


@dataclass(frozen=True, slots=True)
class Features:
    """One row, or one window of a long row, as token ids."""

    row: str
    """Id of the row it came from."""
    input_ids: Sequence[int]
    target: Any = None
    cut: int = 0
    """Tokens past the limit that did not fit."""

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(slots=True)
class Batch:
    """Tensors for one forward. `inputs` are keyword arguments of the model; labels are never among them."""

    inputs: dict[str, Tensor]
    targets: Tensor | None
    rows: tuple[str, ...]
    tokens: int
    """Real tokens: padding is not counted."""

    def to(self, device: Any) -> Batch:
        """Return the batch on a device."""
        return Batch(
            {name: tensor.to(device) for name, tensor in self.inputs.items()},
            None if self.targets is None else self.targets.to(device),
            self.rows,
            self.tokens,
        )


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


@dataclass(slots=True)
class Outputs:
    """What a model said about a batch, on the CPU in fp32, one entry per row of the batch."""

    values: Tensor
    loss: Loss | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the task reads from the outputs for one row."""

    id: str
    value: Any
    """The label, the list of labels, or the number."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Label -> probability, where there is such a thing."""


class Metric(Protocol):
    """A score that is a function of sums over rows, so that it can be resampled a thousand times in one product."""

    @property
    def name(self) -> str:
        """What the score is called in recipes and reports."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """Which way is up."""
        ...

    @property
    def binary(self) -> bool:
        """Whether each row's statistic is a plain right (1) or wrong (0): then the paired test is McNemar's, exact."""
        ...

    def statistics(self, predicted: Sequence[Any], targets: Sequence[Any]) -> Any:
        """Return one row of sufficient statistics per example, (n, k): an array or a sparse matrix."""
        ...

    def value(self, totals: numpy.ndarray) -> numpy.ndarray:
        """Return the score for summed statistics: shape (..., k) -> (...)."""
        ...


# ---------------------------------------------------------------- task


class Objective(Protocol):
    """(model, batch) -> Loss. Counts are known without a forward; the model is called without labels."""

    @property
    def coupled(self) -> bool:
        """Whether rows of a batch see each other (in-batch negatives): then it may not be split into micro-batches."""
        ...

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the count of each term for a batch."""
        ...

    def __call__(self, model: Module, batch: Batch) -> Loss:
        """Return the loss, differentiable, as sums and counts."""
        ...


@dataclass(frozen=True, slots=True)
class Head:
    """What a task needs on top of the body."""

    auto_class: str
    """Name of the transformers Auto class, such as AutoModelForSequenceClassification."""
    config: Mapping[str, Any]
    """Settings for the model's configuration: number of labels, their names, the problem type."""


class Tokens(Protocol):
    """What a task needs of a tokenizer."""

    pad_id: int
    longest: int | None
    """Positions the model has; None where it does not say."""

    def encode(self, texts: Sequence[str], max_length: int) -> list[tuple[list[int], int]]:
        """Return for each text its ids with special tokens, at most `max_length`, and the number of tokens cut."""
        ...


class Task(Component):
    """Reads records as rows, turns rows into features, features into batches, outputs into predictions.

    The same object serves training, evaluation and prediction. `fitted` returns a copy that also knows what only
    the training rows can tell (labels, class weights); that copy is written to the artifact's task.json.
    """

    max_length: int = Field(default=256, ge=4)
    """Longest input in tokens, special tokens included. What does not fit is cut at the end, counted and reported."""

    @abstractmethod
    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return the typed row of a record. Raises MissingColumn, or BadRow naming file, line and field."""

    @abstractmethod
    def fitted(self, rows: Sequence[Row]) -> Self:
        """Return a copy that knows the labels. Raises EmptySplit where the rows cannot teach anything."""

    @abstractmethod
    def check(self, rows: Sequence[Row], split: str) -> None:
        """Raise BadRow where rows of dev or test hold a target that the fitted task does not know."""

    @abstractmethod
    def stratum(self, row: Row) -> str:
        """Return the name of the group whose share should be the same in every split."""

    @property
    @abstractmethod
    def head(self) -> Head:
        """The head this task needs. Only a fitted task knows it."""

    @abstractmethod
    def encode(self, rows: Sequence[Row], tokens: Tokens) -> list[Features]:
        """Return features, in the order of the rows; several per row where a task windows long rows."""

    @abstractmethod
    def collate(self, items: Sequence[Features], pad_id: int) -> Batch:
        """Return a batch padded to its longest member, padding masked by position."""

    @abstractmethod
    def objective(self) -> Objective:
        """Return what training minimises."""

    @abstractmethod
    def predict(self, model: Module, batch: Batch) -> Outputs:
        """Return what the model says; with the plain loss too where the batch has targets."""

    @abstractmethod
    def decode(self, values: Tensor, features: Sequence[Features]) -> list[Prediction]:
        """Return one prediction per row, in order; windows of one row are merged."""

    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """Return the scores, the main one first."""

    @abstractmethod
    def majority(self, rows: Sequence[Row]) -> Any:
        """Return the one prediction that is best without looking at the input."""

    @abstractmethod
    def probe(self, features: numpy.ndarray, rows: Sequence[Row], unseen: numpy.ndarray, *, seed: int) -> list[Any]:
        """Fit a linear head on frozen features (n, width) and return its predictions for `unseen` (m, width)."""

    @abstractmethod
    def breakdown(self, predicted: Sequence[Any], targets: Sequence[Any]) -> dict[str, Any]:
        """Return the tables a report shows beside the scores: `per_class`, `confusion`."""


# ---------------------------------------------------------------- method, regularizer, strategy


class Capability(enum.Enum):
    """What a method says it can do; conformance holds it to its word."""

    IDENTITY_AT_START = "the output is unchanged before the first step"
    WHOLE_MODEL = "the artifact holds a plain transformers folder"


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a learning rate and a weight decay."""

    parameters: list[Parameter]
    names: list[str]
    learning_rate_scale: float = 1.0
    weight_decay_scale: float = 1.0


class Method(Component):
    """Given a loaded model, decides which parameters train, and writes what it trained."""

    can: ClassVar[frozenset[Capability]] = frozenset()
    learning_rate: ClassVar[float]
    """What usually works, used where the recipe names none."""
    paper: ClassVar[str] = ""
    """Where the method comes from: authors, year, arXiv id."""

    def calibrate(self, model: Module, objective: Objective, batches: Iterable[Batch]) -> None:
        """Look at data before training begins. Most methods need not."""

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
        """Act after an optimizer step: rank re-allocation, gradual unfreezing."""

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
