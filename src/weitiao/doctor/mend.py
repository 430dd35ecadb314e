"""A cleaned copy of a recipe's rows, and a ledger of every row that was touched. The files themselves stay as they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weitiao.core import document, files, registry
from weitiao.core.component import Component, Settings
from weitiao.core.contracts import Split
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Record, with_ids
from weitiao.errors import BadRow, BadValue
from weitiao.inspect.health.characters import mended
from weitiao.inspect.health.finding import Finding

LEDGER, RECIPE = "ledger.jsonl", "recipe.yaml"
_OF_FILES = {"name", "train", "dev", "test", "id", "bad_rows", "encoding"}
"""Settings of a source that are about its files and not about its rows."""


def write(recipe: Recipe, findings: Sequence[Finding], folder: Path) -> dict[str, Any]:
    """Write `train.jsonl` (and `dev.jsonl`, `test.jsonl` where the recipe names them), `ledger.jsonl` and `recipe.yaml` into a new folder.

    Left out are rows that findings drop and rows that cannot be read; control characters and those that nobody sees are taken out of
    texts. Return how many rows were left out, mended and kept. Raises BadValue where the folder is there already, or the rows are those of a mixture.
    """
    if recipe.data.holds:
        raise BadValue(
            f"--fix: {recipe.data.name} is several sources, and their weights would be lost.", hint="Write a recipe for each source, and clean these."
        )
    if folder.exists():
        raise BadValue(f"--fix: {folder} is there already.", hint="Name a new folder; nothing is overwritten.")
    dropped = {row: finding for finding in reversed(findings) for row in finding.drops}
    counts = {"left_out": 0, "mended": 0, "kept": 0}
    with files.folder_being_written(folder) as new:
        with (new / LEDGER).open("w", encoding="utf-8", newline="\n") as ledger:
            given = _splits(recipe)
            for split in given:
                with (new / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n") as copy:
                    for record in _records(recipe, split):
                        finding = dropped.get((record.place, record.id)) if split == "train" else None
                        if (why := finding.check if finding is not None else _unreadable(recipe, record)) is not None:
                            counts["left_out"] += 1
                            _note(ledger, record, split, "left out", why)
                            continue
                        values = _mended(dict(record.values))
                        if values != dict(record.values):
                            counts["mended"] += 1
                            _note(ledger, record, split, "mended", "characters")
                        counts["kept"] += 1
                        copy.write(json.dumps({**values, "id": record.id}, ensure_ascii=False) + "\n")
        (new / RECIPE).write_text(document.as_yaml(_of_copy(recipe, given)), encoding="utf-8")
    return {**counts, "folder": str(folder), "ledger": str(folder / LEDGER), "recipe": str(folder / RECIPE)}


def _splits(recipe: Recipe) -> list[Split]:
    every: tuple[Split, ...] = ("train", "dev", "test")
    return [split for split in every if recipe.data.given(split)]


def _records(recipe: Recipe, split: Split) -> Any:
    """Yield the records of a split under the ids that its rows have."""
    data = recipe.data

    def given(record: Record) -> str | None:
        value = record.id if data.id is None else record.values.get(data.id)
        return None if value in (None, "") else str(value)

    return with_ids(data.records(split, lambda sentence: None), given)


def _unreadable(recipe: Recipe, record: Record) -> str | None:
    """Return why a row cannot be used, None where it can."""
    try:
        recipe.task.read(record, recipe.data, labelled=True)
    except BadRow as error:
        return f"unreadable: {error.message}"
    return None


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, dict):
        return {key: _mended(inner) for key, inner in value.items()}
    return [_mended(inner) for inner in value] if isinstance(value, list | tuple) else value


def _note(ledger: Any, record: Record, split: str, what: str, why: str) -> None:
    ledger.write(json.dumps({"place": record.place, "id": record.id, "split": split, "what": what, "why": why}, ensure_ascii=False) + "\n")


def _of_copy(recipe: Recipe, given: Sequence[str]) -> dict[str, Any]:
    """Return the recipe as it was asked for, with the copy in the place of its data; its other paths lead where they led."""
    sections = {name: getattr(recipe, name) for name in ("model", "data", "task", "method", "train", "evaluate")}
    said: dict[str, Any] = {name: value if isinstance(value, str) else _asked(value) for name, value in sections.items()}
    said |= {"regularize": [_asked(one) for one in recipe.regularize]} if recipe.regularize else {}
    taken = set(registry.find("source", "json").model_fields) - _OF_FILES
    kept = {name: value for name, value in said["data"].items() if name in taken}
    said["data"] = {"name": "json", **{split: f"{split}.jsonl" for split in given}, "id": "id", **kept}
    if isinstance(said["model"], str) and Path(said["model"]).exists():
        said["model"] = str(Path(said["model"]).absolute())
    return {name: value for name, value in said.items() if value}


def _asked(section: Settings) -> dict[str, Any]:
    """Return the settings of a section that were given, under its name where it has one."""
    named = {"name": section.name} if isinstance(section, Component) else {}
    return named | section.model_dump(mode="json", exclude_unset=True)
