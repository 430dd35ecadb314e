"""What the rows mean: from records to scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from pydantic import Field

from weitiao.core.component import Component
from weitiao.core.contracts.batch import Batch, Features, Layout, Outputs, Prediction
from weitiao.core.contracts.loss import Loss, Objective
from weitiao.core.contracts.metric import Metric
from weitiao.core.contracts.source import Source
from weitiao.core.contracts.tokens import Tokens
from weitiao.core.rows import Record, Row

if TYPE_CHECKING:
    import numpy
    from torch import Tensor
    from torch.nn import Module


@dataclass(frozen=True, slots=True)
class Head:
    """What a task needs on top of the body."""

    auto_class: str
    """Name of the transformers Auto class, such as AutoModelForSequenceClassification."""
    config: Mapping[str, Any]
    """Settings for the model's configuration: number of labels, their names, the problem type."""
    instead: str | None = None
    """Name of the Auto class whose head serves where an architecture lacks the first, such as a classifier asked at every token."""

    @property
    def is_body(self) -> bool:
        """Whether nothing stands on top: the task reads the last hidden states themselves."""
        return self.auto_class == "AutoModel"


@dataclass(frozen=True, slots=True)
class Traits:
    """What a task that reads hidden states wants to know of a checkpoint."""

    causal: bool
    """Whether a token sees only what stands before it."""
    pooling: str | None = None
    """How the checkpoint itself makes one vector of a text, where it says so: mean, cls or last."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """What the checkpoint itself puts before a `query` and before a `passage`, where it says so."""
    notes: tuple[str, ...] = ()
    """What it says of itself and is not done here."""


@dataclass(frozen=True, slots=True)
class Generation:
    """How texts are generated."""

    max_new_tokens: int
    temperature: float = 0.0
    """0 takes the most probable token each time; above, tokens are drawn."""
    top_p: float = 1.0
    """Tokens are drawn from the smallest set that has this probability (arXiv:1904.09751)."""
    stop: tuple[str, ...] = ()
    """Strings at which a text ends besides its end tokens; they are not part of it."""
    keeps_blanks: bool = False
    """Whether blanks at the beginning and the end of a text belong to it, as they do in code."""
    num_beams: int = 1
    """Texts that are followed side by side, of which the most probable is taken (beam search)."""
    samples: int = 1
    """Texts that are generated for each prompt of a row, each drawn with random numbers of its own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A generated text."""

    text: str
    tokens: int
    """Tokens generated, the end token not counted."""
    stopped: bool
    """Whether the model ended it by itself."""


class TextReader(Protocol):
    """What evaluation lends a task so that others than the model that wrote them read generated texts."""

    def likelihoods(self, texts: Sequence[str]) -> list[tuple[float, float] | None] | None:
        """Return for each text its negative log-likelihood under the untuned model and the tokens asked for; None where there are none, or no model."""
        ...

    def labels(self, artifact: str, texts: Sequence[str]) -> list[Any]:
        """Return what an artifact predicts for each text. Raises ArtifactError."""
        ...


class Task(Component):
    """Reads records as rows, turns rows into features, features into batches, outputs into predictions.

    The same object serves training, evaluation and prediction. `fitted` returns a copy that also knows what only
    the training rows can tell (labels, class weights); that copy is written to the artifact's task.json.
    """

    max_length: int = Field(default=256, ge=4)
    """Longest input in tokens, special tokens included. What does not fit is cut at the end, counted and reported."""

    packs: ClassVar[bool] = False
    """Whether rows may be packed one behind the other, where the model keeps them apart."""
    reads_out: ClassVar[bool] = False
    """Whether the objective is the likelihood of tokens, read out of the hidden states of labelled positions."""

    takes: ClassVar[str] = "texts"
    """What the input of a row is, as a model card shows its use: texts, conversations, pairs (of texts), relations (two entities in a text),
    prompts (a text in the prompt of the task)."""
    joins_texts: ClassVar[bool] = False
    """Whether two texts of a row stand in one frame: then a report says how the tokenizer joins them."""
    keeps_features: ClassVar[bool] = False
    """Whether `encode` depends on nothing but rows, settings and tokenizer, so that its features may be kept on the disk for the
    next run. It is not inherited: a class that may be says so itself."""

    @property
    def redraws(self) -> bool:
        """Whether a row's tokens differ from epoch to epoch, such as masked ones: then nothing said about them can be kept."""
        return False

    # ------------------------------------------------------------ rows

    @abstractmethod
    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return the typed row of a record. Raises MissingColumn, or BadRow naming file, line and field."""

    def fitted(self, rows: Sequence[Row]) -> Self:
        """Return a copy that knows what only training rows tell. Raises EmptySplit where they cannot teach anything."""
        return self

    def settled(self, tokens: Tokens) -> Self:
        """Return a copy that knows the tokenizer, having told it what it needs, such as the chat template."""
        return self

    def suited(self, traits: Traits) -> Self:
        """Return a copy that knows the checkpoint whose hidden states it reads. Asked only where `head.is_body`."""
        return self

    def check(self, rows: Sequence[Row], split: str) -> None:
        """Raise BadRow where rows of dev or test hold a target that the fitted task does not know."""
        return None

    def remarks(self, rows: Sequence[Row], split: str) -> Iterator[str]:
        """Yield sentences for the report on what is odd about the rows of a split, though they can be used. Only a fitted task knows."""
        yield from ()

    def stratum(self, row: Row) -> str:
        """Return the name of the group whose share should be the same in every split."""
        return ""

    def group(self, row: Row) -> str:
        """Return what is never divided: rows of equal groups stand on the same side of every split."""
        return row.text

    # ------------------------------------------------------------ features and batches

    @property
    @abstractmethod
    def head(self) -> Head:
        """The head this task needs. Only a fitted task knows it."""

    @abstractmethod
    def encode(self, rows: Sequence[Row], tokens: Tokens) -> list[Features]:
        """Return features, in the order of the rows: several for a row that is windowed, none for one that is left out.

        Many rows come in parts, so the features of a row do not depend on what other rows come with it.
        Raises TooLong where a row does not fit and the settings do not say what to do with it.
        """

    @abstractmethod
    def collate(self, items: Sequence[Features], layout: Layout) -> Batch:
        """Return a batch, padded to its longest member (padding masked by position) or packed."""

    def trained_tokens(self, item: Features) -> list[bool]:
        """Return for each token of features whether the loss asks for it."""
        return [False] * len(item)

    # ------------------------------------------------------------ objective and predictions

    @abstractmethod
    def objective(self) -> Objective:
        """Return what training minimises."""

    @abstractmethod
    def predict(self, model: Module, batch: Batch) -> Outputs:
        """Return what the model says; with the plain loss too where the batch has targets."""

    def joint_loss(self, values: Any, features: Sequence[Features]) -> Loss | None:
        """Return the plain loss of all features together where rows see each other; None where `predict` says it, or nothing is asked.

        values: what `predict` said, in the order of the features.
        """
        return None

    @abstractmethod
    def decode(self, values: Any, features: Sequence[Features], rows: Sequence[Row]) -> list[Prediction]:
        """Return one prediction per row, in order; windows of one row are merged.

        values: what `predict` said, in the order of the features: a tensor (n, k), or a list of (m, k).
        """

    @property
    def tunes(self) -> bool:
        """Whether something about the predictions, such as a threshold, is left to be chosen on dev once training is over."""
        return False

    def tuned(self, values: Any, features: Sequence[Features], rows: Sequence[Row]) -> Self:
        """Return a copy that decides as is best for dev rows. values: what the trained model says about them, as `decode` takes it."""
        return self

    @property
    def generation(self) -> Generation | None:
        """How answers are generated; None for a task that generates nothing."""
        return None

    @property
    def generated_rows(self) -> int:
        """Proof rows for which answers are generated before and after, at most."""
        return 0

    def prompts(self, rows: Sequence[Row], tokens: Tokens) -> list[list[int]]:
        """Return for each row the ids that its generated answer follows."""
        raise NotImplementedError(f"{self.name} generates nothing")

    def answered(self, prediction: Prediction, answer: Answer) -> Prediction:
        """Return the prediction with a generated answer."""
        raise NotImplementedError(f"{self.name} generates nothing")

    def all_answered(self, rows: Sequence[Row], predictions: Sequence[Prediction], answers: Sequence[Sequence[Answer]]) -> list[Prediction]:
        """Return the predictions with the answers generated for their rows, as many for each as `generation` says."""
        return [self.answered(prediction, said[0]) for prediction, said in zip(predictions, answers, strict=True)]

    def weighed(self, rows: Sequence[Row], predictions: Sequence[Prediction], reader: TextReader) -> list[Prediction]:
        """Return predictions that are to be scored, with what others say of their generated answers."""
        return list(predictions)

    # ------------------------------------------------------------ scores

    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """Return the scores, the main one first."""

    trivial_is: ClassVar[str] = "majority"
    """What `trivial` says, as reports name it: `majority` is the same answer for every row."""

    def majority(self, rows: Sequence[Row]) -> Any:
        """Return the one prediction that is best without looking at the input; None where there is no such thing."""
        return None

    def trivial(self, train: Sequence[Row], rows: Sequence[Row]) -> list[Any] | None:
        """Return a prediction for each of the rows that takes no model, with nothing but the training rows known; None where there is none.

        A prediction is a value, or a whole Prediction where the scores rest on its measures.
        """
        value = self.majority(train)
        return None if value is None else [value] * len(rows)

    probes: ClassVar[bool] = False
    """Whether a linear head on frozen states is worth comparing with: `probe` fits one."""

    def probed(self, states: Tensor, batch: Batch) -> list[Tensor]:
        """Return what a linear head looks at, for each row (m, width): the mean of its last hidden states.

        states: last hidden states (lines of the batch, longest, width).
        """
        mask = batch.inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
        return list(((states * mask).sum(1) / mask.sum(1))[:, None].unbind())

    def probe(self, states: Sequence[numpy.ndarray], features: Sequence[Features], unseen: Sequence[numpy.ndarray], *, seed: int) -> Any:
        """Fit a linear head on what `probed` gave for features, and return what it says for `unseen`, as `decode` takes it."""
        raise NotImplementedError(f"{self.name} has no linear head")

    def wanted(self, row: Row) -> Any:
        """Return the target as a prediction would say it, in plain values of JSON."""
        return list(row.target) if isinstance(row.target, tuple) else row.target

    def closeness(self, prediction: Prediction, row: Row) -> float:
        """Return how good a prediction is: 1 for a right one, less for one that is further off."""
        value, target = prediction.value, row.target
        if isinstance(value, float) and isinstance(target, float | int):
            return 1.0 - abs(value - target)
        if isinstance(value, list | tuple):
            found, wanted = set(value), set(target)
            return len(found & wanted) / len(found | wanted) if found | wanted else 1.0
        return float(value == target)

    def rests_on(self, rows: Sequence[Row]) -> list[str]:
        """Return sentences for the report on what the scores of these rows rest on."""
        return []

    def accompany(self, folder: Path, config: Any) -> None:
        """Write into the folder of a whole model what other programs need to use it for this task. config: the model's."""

    def breakdown(self, predicted: Sequence[Any], targets: Sequence[Any]) -> dict[str, Any]:
        """Return the tables a report shows beside the scores: `per_class`, `confusion`."""
        return {}
