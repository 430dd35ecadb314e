"""Scoring an artifact again, on the rows it was proven on or on new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch.nn import Module

from weitiao.core import endings, fingerprint, registry
from weitiao.core.artifact import Artifact, open_artifact
from weitiao.core.contracts import Prediction, Source, Task
from weitiao.core.rows import Row, Skipped
from weitiao.errors import EmptySplit, ModelError
from weitiao.evaluation import score
from weitiao.evaluation.predictor import Predictor
from weitiao.evaluation.reader import Reader
from weitiao.inspect import rows as inspect_rows
from weitiao.models import convert, load, locate


def evaluate(artifact: str | Path, file: str | Path | None, *, device: str = "auto") -> dict[str, Any]:
    """Return metrics with intervals, tables, and how many rows were left out."""
    opened = open_artifact(artifact)
    skipped = Skipped()
    if file is None:
        rows, said = _proof(opened.recipe)
    else:
        said = str(file)
        rows, skipped = labelled_rows(opened.task, source_for(opened.recipe.data, said))
    opened.task.check(rows, "test")
    predictor = Predictor(opened, device=device)
    reader = Reader(lambda: _untuned(opened, predictor), predictor.tokenizer, predictor.strategy)
    predictions = predictor.rows(rows, answers=opened.task.generated_rows, reader=reader)
    found = scored(opened.task, rows, predictions, said=said, skipped=skipped)
    return {"artifact": str(opened.folder.resolve()), **found, "hashes": {"artifact": opened.manifest["hash"], **found["hashes"]}}


def scored(task: Task, rows: Sequence[Row], predictions: Sequence[Prediction], *, said: str, skipped: Skipped) -> dict[str, Any]:
    """Return what rows are measured on and how many, metrics with intervals, tables, and the hash of the rows. said: where the rows are from."""
    targets = [row.target for row in rows]
    scores = {metric.name: score.score(metric, predictions, targets) for metric in task.metrics()}
    return {
        "rows": said,
        "n": len(rows),
        "skipped": asdict(skipped),
        "metrics": {name: entry for name, entry in scores.items() if entry is not None},
        **task.breakdown([prediction.value for prediction in predictions], targets),
        "hashes": {"rows": fingerprint.of_texts(part for row in rows for part in (row.id, row.text, repr(row.target)))},
    }


def _untuned(opened: Artifact, predictor: Predictor) -> Module | None:
    """Return the model that an artifact was tuned from; None where it is not there any more, or was new."""
    if not isinstance(opened.recipe.model, str):
        return None
    try:
        located = convert.ready(locate.locate(opened.recipe.model))
        return predictor.strategy.wrap(load.weights(located, load.configuration(located, opened.task.head), opened.task.head, seed=0).model)
    except ModelError:
        return None


def source_for(data: Source, file: str) -> Source:
    """Return a source that reads a file as the recipe read its own, by the file's ending where that differs."""
    ending = Path(file).suffix.lower()
    reader = data.name if ending in data.endings() else endings.READERS.get(ending, data.name)
    if reader == data.name or (data.name == "text" and ending == ".txt"):
        return data.for_file(file)
    found = registry.find("source", reader)
    shared = {name: getattr(data, name) for name in ("text", "label", "id", "bad_rows")}
    source = found.model_validate({**shared, "test": file})
    assert isinstance(source, Source)
    return source


def labelled_rows(task: Any, source: Source) -> tuple[Sequence[Row], Skipped]:
    """Return the labelled rows of a source's test split and what was left out. Raises EmptySplit where there are none."""
    rows, skipped = inspect_rows.rows_of(task, source, "test", labelled=True)
    if not rows:
        raise EmptySplit(f"{source.test} holds no rows.", hint="Name a file with rows in it.")
    return rows, skipped


def _proof(recipe: Any) -> tuple[Sequence[Row], str]:
    data = inspect_rows.read(recipe)
    return data.proof, f"the proof rows of the recipe ({data.split})"
