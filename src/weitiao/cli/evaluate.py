"""`weitiao evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weitiao.api import is_recipe
from weitiao.cli.output import named, print_json, stdout, table
from weitiao.core.recipe import Recipe
from weitiao.core.report import digits_of, number
from weitiao.errors import Conflict


def evaluate(artifact: Path, rest: Sequence[str], device: str, as_json: bool, entities: Path | None = None) -> int:
    """Score an artifact, or the untuned model of a recipe, and print the table; return the exit code.

    rest: a file of labelled rows, or settings laid over the recipe. entities: an artifact that finds entities; the triples
    that both give together are scored.
    """
    if is_recipe(artifact):
        if entities is not None:
            raise Conflict("evaluate: --entities goes with an artifact.", hint="Train the recipe first.")
        found = _untuned(artifact, rest, device)
    else:
        if len(rest) > 1:
            raise Conflict(f"evaluate: expected one FILE, got {', '.join(rest)}.", hint="Settings can be laid over a recipe, not over an artifact.")
        file = Path(rest[0]) if rest else None
        found = _tuned(artifact, file, device) if entities is None else _chained(artifact, entities, file, device)
    if as_json:
        print_json(found)
        return 0
    shown = table("metric", "value", "95 % interval", "n", right=("value", "n"))
    for name, entry in found["metrics"].items():
        values = [entry[key] for key in ("value", "low", "high")]
        value, low, high = (number(v, digits_of([v], beside=values, usual=4)) for v in values)
        shown.add_row(named(name), value, f"{low} to {high}", str(entry["n"]))
    stdout.print(shown)
    if "per_class" in found:
        by_class = table("label", "precision", "recall", "f1", "n", right=("precision", "recall", "f1", "n"))
        for entry in found["per_class"]:
            by_class.add_row(entry["label"], *(f"{entry[name]:.3f}" for name in ("precision", "recall", "f1")), str(entry["n"]))
        stdout.print()
        stdout.print(by_class)
    stdout.print(f"\nmeasured on {found['rows']}", markup=False)
    for note in found.get("notes", ()):
        stdout.print(f"note: {note}", markup=False)
    if left_out := found["skipped"]["count"]:
        stdout.print(f"{left_out} rows were left out: {found['skipped']['reasons'][0]}", markup=False)
    return 0


def _tuned(artifact: Path, file: Path | None, device: str) -> dict[str, Any]:
    from weitiao.evaluation.evaluate import evaluate as verb

    return verb(artifact, file, device=device)


def _chained(artifact: Path, entities: Path, file: Path | None, device: str) -> dict[str, Any]:
    from weitiao.evaluation.triples import evaluate as of_triples

    if file is None:
        raise Conflict("evaluate: --entities needs a FILE.", hint="Name one whose rows hold texts and their `triples`.")
    return of_triples(artifact, entities, file, device=device)


def _untuned(recipe: Path, overrides: Sequence[str], device: str) -> dict[str, Any]:
    asked = Recipe.load(recipe, overrides=[*overrides, *([] if device == "auto" else [f"train.device={device}"])])  # most mistakes end here

    from weitiao.record.console import Console
    from weitiao.training.untuned import measure

    console = Console()
    try:
        return measure(asked, recorders=[console])
    finally:
        console.close()
