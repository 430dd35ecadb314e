"""Finds components by the name of the file they live in, importing only the one that is asked for."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from weitiao.core.component import Component
from weitiao.errors import UnknownComponent

KINDS = {
    "source": "weitiao.sources",
    "task": "weitiao.tasks",
    "method": "weitiao.methods",
    "regularizer": "weitiao.regularize",
}
"""Kind -> the package whose files are its members, which is also the entry-point group for third parties."""


def names(kind: str) -> list[str]:
    """Return every name that can be typed for this kind, sorted."""
    return sorted({*_files(kind), *_entry_points(kind)})


def find(kind: str, name: str) -> type[Component]:
    """Return the class behind a name. Raises UnknownComponent with the closest names."""
    files = _files(kind)
    if name in files:
        module = importlib.import_module(f"{KINDS[kind]}.{name}")
        found = [
            member
            for member in vars(module).values()
            if inspect.isclass(member) and issubclass(member, Component) and member.__module__ == module.__name__ and not member.__name__.startswith("_")
        ]
        if len(found) != 1:
            raise TypeError(f"{module.__name__} must define exactly one public component, found {[c.__name__ for c in found]}")
        return found[0]
    points = _entry_points(kind)
    if name in points:
        loaded = points[name].load()
        if not (inspect.isclass(loaded) and issubclass(loaded, Component)):
            raise UnknownComponent(
                f"the entry point {KINDS[kind]}:{name} is {loaded!r}, expected a Component class", hint="Mend or remove the package that declares it."
            )
        loaded.name = name
        return loaded
    raise UnknownComponent(f"there is no {kind} '{name}'.{did_you_mean(name, names(kind))}", hint=f"Known: {', '.join(names(kind))}.")


def summaries(kind: str) -> list[dict[str, str]]:
    """Return name and one-line summary of each member, read from the source files without importing them."""
    files, points = _files(kind), _entry_points(kind)
    rows = [{"name": name, "summary": _summary_in_source(files[name])} for name in sorted(files)]
    rows += [{"name": name, "summary": summary_of(points[name].load())} for name in sorted(set(points) - set(files))]
    return rows


def summary_of(component: type[Any]) -> str:
    """Return the first line of a component's docstring."""
    return (inspect.getdoc(component) or "").partition("\n")[0]


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest known word, or nothing."""
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def _files(kind: str) -> dict[str, Path]:
    spec = importlib.util.find_spec(KINDS[kind])
    assert spec is not None and spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations)))
    return {m.name: folder / f"{m.name}.py" for m in pkgutil.iter_modules([str(folder)]) if not m.name.startswith("_")}


def _entry_points(kind: str) -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=KINDS[kind])}


def _summary_in_source(path: Path) -> str:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and (doc := ast.get_docstring(node)):
            return doc.partition("\n")[0]
    return ""
