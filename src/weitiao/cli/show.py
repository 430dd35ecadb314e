"""`weitiao show`."""

from __future__ import annotations

import inspect
import json
from typing import Any

from rich.markup import escape

from weitiao.cli.output import print_json, stdout, table
from weitiao.core import registry
from weitiao.core.component import describe
from weitiao.errors import BadValue

_PLURALS = {f"{kind}s": kind for kind in registry.KINDS}
ROWS = 5
"""Rows shown where no number is asked for."""


def show(what: str, name: str | None, limit: int | None, as_json: bool) -> int:
    """Print a list of components, one of them in full, or the rows of a recipe; return the exit code."""
    if what == "rows":
        if name is None:
            raise BadValue("show rows: of which recipe?", hint="weitiao show rows RECIPE")
        from weitiao.cli.rows import rows

        return rows(name, limit or ROWS, as_json)
    if limit is not None:
        raise BadValue("show: --limit has a meaning for rows alone.", hint="weitiao show rows RECIPE --limit 3")
    if name is None and what in _PLURALS:
        return _list(_PLURALS[what], as_json)
    kind = _PLURALS.get(what, what)
    if kind not in registry.KINDS:
        known = [*_PLURALS, *registry.KINDS, "rows"]
        raise BadValue(f"show: there is nothing called '{what}'.{registry.did_you_mean(what, known)}", hint=f"Known: {', '.join(known)}.")
    if name is None:
        raise BadValue(f"show {what}: which one?", hint=f"Known: {', '.join(registry.names(kind))}.")
    return _one(kind, name, as_json)


def _list(kind: str, as_json: bool) -> int:
    found = registry.summaries(kind)
    if as_json:
        print_json(found)
        return 0
    shown = table("name", "summary")
    for entry in found:
        shown.add_row(entry["name"], escape(entry["summary"]))
    stdout.print(shown)
    stdout.print(f"\nweitiao show {kind} NAME shows the fields of one", style="dim")
    return 0


def _one(kind: str, name: str, as_json: bool) -> int:
    component: Any = registry.find(kind, name)
    document: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "summary": registry.summary_of(component),
        "about": inspect.getdoc(component) or "",
        "paper": getattr(component, "paper", ""),
        "fields": describe(component),
    }
    if hasattr(component, "learning_rate"):
        document["learning_rate"] = component.learning_rate
    if as_json:
        print_json(document)
        return 0
    stdout.print(f"[bold]{kind} {name}[/]  {escape(document['summary'])}")
    if document["paper"]:
        stdout.print(f"paper: {escape(document['paper'])}")
    if "learning_rate" in document:
        stdout.print(f"learning rate unless the recipe names one: {document['learning_rate']:g}")
    shown = table("field", "type", "default", "meaning")
    for field in document["fields"]:
        default = "required" if field["required"] else json.dumps(field["default"], ensure_ascii=False)
        shown.add_row(field["name"], escape(field["type"]), escape(default), escape(field["meaning"]))
    stdout.print()
    stdout.print(shown)
    return 0
