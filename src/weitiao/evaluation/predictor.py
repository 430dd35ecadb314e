"""An artifact, loaded and ready: rows in, predictions out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from weitiao.core.artifact import Artifact, open_artifact
from weitiao.core.contracts import Prediction, Source
from weitiao.core.rows import Record, Row, with_ids
from weitiao.errors import BadRow
from weitiao.evaluation.predict import outputs
from weitiao.models.locate import Located
from weitiao.models.tokens import Tokenizer, positions
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
        self.tokenizer = Tokenizer(Located(folder, folder, True, folder), positions(self.model.config))

    def predict(self, items: str | Sequence[str | Mapping[str, Any]]) -> list[Prediction]:
        """Return one prediction per item, in order. An item is a text, or a mapping with the columns of the recipe.

        Raises MissingColumn or BadRow naming the item.
        """
        given = [items] if isinstance(items, str) else items
        records = with_ids((self._record(item, number) for number, item in enumerate(given, 1)), lambda record: None)
        return self.rows([self.task.read(record, self.artifact.recipe.data, labelled=False) for record in records])

    def rows(self, rows: Sequence[Row], *, batch_size: int | None = None) -> list[Prediction]:
        """Return one prediction per row, in order."""
        return self._said(rows, batch_size)[0]

    def _said(self, rows: Sequence[Row], batch_size: int | None) -> tuple[list[Prediction], float | None]:
        features = self.task.encode(rows, self.tokenizer)
        said = outputs(
            self.model,
            self.task,
            features,
            pad_id=self.tokenizer.pad_id,
            strategy=self.strategy,
            batch_size=batch_size or self.artifact.recipe.evaluate.batch_size,
        )
        return self.task.decode(said.values, features), said.loss

    def _record(self, item: str | Mapping[str, Any], number: int) -> Record:
        if isinstance(item, str):
            return Record(dict.fromkeys(text_columns(self.artifact.recipe.data)[:1], item), f"item {number}", None)
        if not isinstance(item, Mapping):
            raise BadRow(f"item {number}: expected a text or a mapping, got {type(item).__name__}.", hint="Pass a list of texts.")
        return Record(item, f"item {number}", None)


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
