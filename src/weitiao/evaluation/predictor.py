"""An artifact, loaded and ready: rows in, predictions out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from weitiao.core.artifact import Artifact, open_artifact
from weitiao.core.contracts import Answer, Prediction, Source, TextReader
from weitiao.core.rows import Record, Row, Turn, with_ids
from weitiao.errors import BadRow, BadValue
from weitiao.evaluation.predict import answered, outputs
from weitiao.models import generate
from weitiao.models.decode import Known
from weitiao.models.load import _quiet
from weitiao.models.locate import Located
from weitiao.models.tokens import Tokenizer, decoder_start, positions, token_types
from weitiao.parallel.single import Single, device_of


class Predictor:
    """What `weitiao.load` returns: the tuned model behind the same task object that trained and measured it."""

    def __init__(self, artifact: Artifact, *, device: str = "auto") -> None:
        """Load an artifact's model and tokenizer. Raises ArtifactError, ModelError, NoDevice."""
        self.artifact = artifact
        self.task = artifact.task
        self.strategy = Single(device_of(device))
        self.model: Any = self.strategy.wrap(artifact.method.load(artifact.folder, self.task.head)).eval()
        folder = str(artifact.folder / "tokenizer")
        config = self.model.config
        room = positions(config, taken=artifact.method.positions_taken)
        self.tokenizer = Tokenizer(
            Located(folder, folder, True, folder), room, token_types=token_types(config), decoder_start=decoder_start(config, self.task.head)
        )
        if self.task.generation is not None:  # the saved tokenizer's limit is task.max_length, and a conversation may be longer than a row
            self.tokenizer.longest = room
        self.tokenizer.suit(self.model)
        self._read = Known()  # the conversation so far: only what is new of it is computed

    def predict(self, items: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]) -> list[Prediction]:
        """Return one prediction per item, in order. An item is a text, or a mapping with the columns of the recipe; one may come without a list.

        Raises MissingColumn or BadRow naming the item.
        """
        given = [items] if isinstance(items, str | Mapping) else items
        records = with_ids((self._record(item, number) for number, item in enumerate(given, 1)), lambda record: None)
        return self.rows([self.task.read(record, self.artifact.recipe.data, labelled=False) for record in records])

    def rows(
        self,
        rows: Sequence[Row],
        *,
        batch_size: int | None = None,
        answers: int | None = None,
        on_batch: Callable[[int, int], None] | None = None,
        reader: TextReader | None = None,
    ) -> list[Prediction]:
        """Return one prediction per row, in order.

        answers: rows that get a generated answer, at most (None: all), where the task generates. reader: where they are to be scored.
        """
        found = self._said(rows, batch_size)[0]
        return answered(
            self.model,
            self.task,
            rows,
            found,
            self.tokenizer,
            most=answers,
            strategy=self.strategy,
            seed=self.artifact.recipe.train.seed,  # what was drawn for the report is drawn again
            on_batch=on_batch,
            reader=reader,
        )

    def converse(self, turns: Sequence[Turn], *, on_text: Callable[[str], None]) -> Answer:
        """Return the answer to a conversation that ends with a question; on_text gets each further piece of it as soon as it is certain.

        Where the conversation is too long for the model, the oldest exchanges are left out. Raises BadValue where the
        task generates nothing, BadRow where the template fails.
        """
        if self.task.generation is None:
            raise no_answers(self.artifact)
        (prompt,) = self.task.prompts([Row("", turns[-1].content, None, "the conversation", tuple(turns))], self.tokenizer)
        with _quiet():
            return generate.stream(self.model, prompt, self.tokenizer, self.task.generation, device=self.strategy.device, on_text=on_text, known=self._read)

    def _said(self, rows: Sequence[Row], batch_size: int | None) -> tuple[list[Prediction], float | None]:
        features = self.task.encode(rows, self.tokenizer)
        said = outputs(
            self.model,
            self.task,
            features,
            layout=self.tokenizer.layout(),
            strategy=self.strategy,
            batch_size=batch_size or self.artifact.recipe.evaluate.batch_size,
        )
        return self.task.decode(said.values, features, rows), said.loss

    def _record(self, item: str | Mapping[str, Any], number: int) -> Record:
        if isinstance(item, str):
            return Record(dict.fromkeys(text_columns(self.artifact.recipe.data)[:1], item), f"item {number}", None)
        if not isinstance(item, Mapping):
            raise BadRow(f"item {number}: expected a text or a mapping, got {type(item).__name__}.", hint="Pass a list of texts.")
        return Record(item, f"item {number}", None)


def no_answers(artifact: Artifact) -> BadValue:
    """Return the error for an artifact with which no one can talk."""
    return BadValue(
        f"{artifact.folder} was made for {artifact.task.name}, which generates no answers.",
        hint="`weitiao predict ARTIFACT FILE` predicts rows; to talk to a model, train it with task.name=chat.",
    )


def text_columns(data: Source) -> list[str]:
    """Return the columns that hold the text."""
    return [data.text] if isinstance(data.text, str) else list(data.text or ["text"])


def load(folder: str | Path, *, device: str = "auto", verify: bool = True) -> Predictor:
    """Return an artifact's predictor. `verify` compares every file with the manifest first."""
    return Predictor(open_artifact(folder, verify=verify), device=device)


def batched(items: Iterable[Row], size: int) -> Iterable[list[Row]]:
    """Yield rows in lists of at most `size`, so that any length of input fits into memory."""
    part: list[Row] = []
    for item in items:
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
