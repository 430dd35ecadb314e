"""`weitiao evaluate`."""

from __future__ import annotations

from pathlib import Path

from weitiao.cli.output import named, print_json, stdout, table
from weitiao.core.report import digits_of, number
from weitiao.errors import Conflict


def evaluate(artifact: Path, file: Path | None, device: str, as_json: bool, entities: Path | None = None) -> int:
    """Score an artifact and print the table; return the exit code.

    entities: an artifact that finds entities; the triples that both give together are scored.
    """
    if entities is None:
        from weitiao.evaluation.evaluate import evaluate as verb

        found = verb(artifact, file, device=device)
    else:
        from weitiao.evaluation.triples import evaluate as of_triples

        if file is None:
            raise Conflict("evaluate: --entities needs a FILE.", hint="Name one whose rows hold texts and their `triples`.")
        found = of_triples(artifact, entities, file, device=device)
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
    if left_out := found["skipped"]["count"]:
        stdout.print(f"{left_out} rows were left out: {found['skipped']['reasons'][0]}", markup=False)
    return 0
