"""`weitiao compare`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from weitiao.cli.output import print_json, stdout, table
from weitiao.core.durations import seconds_of
from weitiao.core.recipe import Recipe
from weitiao.core.report import digits_of, number, p_in_words


def methods(recipe: Path, overrides: Sequence[str], names: str, budget: str, seeds: int, out: Path | None, as_json: bool) -> int:
    """Try methods on the rows of a recipe, print what each is worth, and return the exit code."""
    chosen = () if names.strip() == "all" else tuple(name.strip() for name in names.split(",") if name.strip())
    seconds = seconds_of(budget, key="--budget")
    Recipe.load(recipe, overrides=list(overrides))  # most mistakes end here, before torch is imported

    from weitiao.comparison import bakeoff

    print("planning ...", file=sys.stderr, flush=True)
    found = bakeoff.compare(bakeoff.Asked(recipe, tuple(overrides), chosen, seconds, seeds), out=out, tell=_tell)
    if as_json:
        print_json(found)
    else:
        _show(found)
    return 0


def _tell(told: Any) -> None:
    if told.score is None:
        said = f"failed: {told.reason}"
    else:
        said = f"{number(told.score, digits_of([told.score], usual=4))} on dev, {told.seconds:.0f} s"
    print(f"[{told.done} of {told.of}] {told.method}, seed {told.seed}: {said}", file=sys.stderr, flush=True)


def _show(found: Mapping[str, Any]) -> None:
    if found.get("already_finished"):
        stdout.print("this comparison has been made already; --out with another folder makes it anew\n")
    stdout.print(f"[bold green]{escape(found['pick'])}[/]  {escape(found['sentence'])}\n")
    right = ("dev", "proof", "p", "trains", "GB", "seconds", "MB")
    shown = table("method", "dev", "proof", "95 % interval", "p", "trains", "GB", "seconds", "MB", right=right)
    for one in found["methods"]:
        proof = one["proof"]
        beside = [one["dev"], proof["value"], proof["low"], proof["high"]]
        dev, value, low, high = (number(figure, digits_of(beside, usual=4)) for figure in beside)
        shown.add_row(
            escape(one["name"]),
            f"[bold]{dev}[/]",
            value,
            f"{low} to {high}",
            "" if one["p_value"] is None else p_in_words(one["p_value"]).removeprefix("p ").removeprefix("= "),
            f"{one['trainable']:,}",
            f"{one['peak_memory_gb']:.2f}",
            f"{one['train_seconds']:.0f}",
            f"{one['artifact_bytes'] / 1e6:,.1f}",
        )
    stdout.print(shown)
    for failure in found["failures"]:
        stdout.print(f"not compared: {escape(failure['name'])}: {escape(failure['reason'])}")
    if found["steps"] < found["steps_of_recipe"]:
        stdout.print(f"\nnote: the budget let each method take {found['steps']} of the recipe's {found['steps_of_recipe']} steps")
    stdout.print(f"\npage      {escape(found['page'])}")
