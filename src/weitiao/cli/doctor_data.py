"""`weitiao doctor data`: what is wrong with the rows of a recipe."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.text import Text

from weitiao.cli.output import print_json, stdout, table
from weitiao.core import files
from weitiao.core.recipe import Recipe
from weitiao.errors import DataError

COLOURS = {"problem": "red", "warning": "yellow", "note": "dim"}


def data(recipe: Path, overrides: Sequence[str], fix: Path | None, suspects: bool, out: Path | None, as_json: bool) -> int:
    """Print what was found, write the page and, if asked, a cleaned copy; return 0, or 3 where training or its proof would be wrong."""
    asked = Recipe.load(recipe, overrides=list(overrides))  # most mistakes end here, before torch is imported

    from weitiao.doctor import mend, page
    from weitiao.doctor.data import examine

    found = examine(asked, name=recipe.stem, suspects_too=suspects, tell=lambda said: print(f"{said} ...", file=sys.stderr, flush=True))
    report = found.report
    if fix is not None:
        report["copy"] = mend.write(asked, found.findings, fix)
    if out is not None:
        files.write_text(out, page.render(report))
        report["page"] = str(out)
    if as_json:
        print_json(report)
    else:
        _show(report)
    return 0 if report["healthy"] else DataError.exit_code


def _show(report: Mapping[str, Any]) -> None:
    from weitiao.doctor.said import scripts, sentence

    head = "[bold green]fit to train[/]" if report["healthy"] else "[bold red]not fit[/]"
    stdout.print(f"{head}  {escape(sentence(report))}\n")
    shown = table("split", "rows", "tokens", "95 %", "longest", "over the limit", "scripts", right=("rows", "tokens", "95 %", "longest", "over the limit"))
    for name, facts in report["splits"].items():
        tokens = facts.get("tokens", {})
        figures = [f"{tokens[key]:g}" for key in ("mean", "p95", "longest")] + [f"{tokens['share_past_limit']:.1%}"] if tokens else [""] * 4
        shown.add_row(name, f"{facts['rows']:,}", *figures, scripts(facts))
    stdout.print(shown)
    for finding in report["findings"]:
        stdout.print()
        stdout.print(Text.assemble((f"{finding['level']}: ", COLOURS[finding["level"]]), finding["message"]))
        for row in finding["rows"]:
            stdout.print(Text(f"  {row['said']}"))
        if finding["do"]:
            stdout.print(Text(f"  hint: {finding['do']}"))
    if (copy := report.get("copy")) is not None:
        stdout.print(f"\ncopy      {escape(copy['folder'])}: {copy['kept']:,} rows kept, {copy['mended']:,} of them mended, {copy['left_out']:,} left out")
        stdout.print(f"ledger    {escape(copy['ledger'])}")
    if "page" in report:
        stdout.print(f"\npage      {escape(report['page'])}")
