"""Token ids of rows are kept in the cache: a run on equal rows, task, tokenizer and code does not tokenize again."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from weitiao.core import environment, files, fingerprint
from weitiao.core.contracts import Task
from weitiao.core.version import __version__
from weitiao.models import dialogue, templates, tokens
from weitiao.training import features
from weitiao.training.features import Builder, FeatureTable

FORMAT = 1
"""Raised when the files of an entry change: entries of another format have other names and are never opened."""
MOST_BYTES = 8_000_000_000
"""What all entries take on the disk, at most; the newest one is never removed."""
_STALE_SECONDS = 86_400.0
"""Age from which what a killed process left half written is removed."""

_COLUMNS, _FACTS = "features.bin", "facts.json"


def basis(task: Task, tokenizer: tokens.Tokenizer) -> str | None:
    """Return a hash of what features follow from besides rows; None where they must not be kept.

    That is the task's settings, the tokenizer, and the code of both; a task that does not say `keeps_features` of
    itself may depend on more.
    """
    own, code = tokenizer.identity(), _code(type(task))
    if own is None or code is None or vars(type(task)).get("keeps_features") is not True:
        return None
    versions = {name: importlib.metadata.version(name) for name in ("transformers", "tokenizers", "jinja2")}
    return fingerprint.of_json(
        {
            "format": [FORMAT, sys.byteorder],
            "weitiao": __version__,
            "versions": versions,
            "code": code,
            "task": task.settings(),
            "tokenizer": own,
        }
    )


def features_of(basis: str | None, rows: str, make: Callable[[], Builder]) -> FeatureTable:
    """Return features from the cache, or make and keep them; those without a basis are never kept.

    rows: a hash of their ids, texts, turns and targets. Two processes that ask for the same features make them once: the
    second waits. An entry that is damaged is made again; where the cache cannot be written, features stay in memory.
    """
    if basis is None:
        return make().table()
    entry = environment.features_folder() / fingerprint.of_texts((basis, rows))[:32]
    if (found := _found(entry)) is not None:
        return found
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(files.locked(entry.with_name(f"{entry.name}.lock")))
        if (found := _found(entry)) is not None:
            return found
        made = make()
        if not made.keepable:
            return made.table()
        try:
            with files.folder_being_written(entry) as new:
                facts = made.save(new / _COLUMNS)
                files.write_json(new / _FACTS, {**facts, "check": fingerprint.of_json(facts)})
            make_room(entry.parent, keep=entry)
        except OSError:  # a full disk or a read-only cache only means tokenizing again
            return made.table()
        return _found(entry, check=False) or made.table()


def make_room(top: Path, *, keep: Path, most_bytes: int | None = None) -> None:
    """Remove entries until the rest takes at most `most_bytes` (None: MOST_BYTES), those unused for longest first."""
    room = MOST_BYTES if most_bytes is None else most_bytes
    entries = []
    for path in top.iterdir():
        with contextlib.suppress(OSError):  # another process may be removing it
            used = path.stat().st_mtime
            if path.name.startswith("."):
                if time.time() - used > _STALE_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
            elif path.is_dir():
                entries.append(((path / files.COMPLETE).stat().st_mtime if files.is_complete(path) else 0.0, path, _size(path)))
            elif time.time() - used > _STALE_SECONDS:
                path.unlink()
    for _, path, size in sorted(entries, reverse=True, key=lambda entry: (entry[1] == keep, entry[0])):
        room -= size
        if room < 0 and path != keep:
            _remove(path)


def _found(entry: Path, *, check: bool = True) -> FeatureTable | None:
    """Return the features of an entry, and mark it as used; None where there is none, or it is not what was written."""
    if not files.is_complete(entry):
        return None
    try:
        facts = files.read_json(entry / _FACTS)
        if facts.pop("check") != fingerprint.of_json(facts):
            return None
        found = features.opened(entry / _COLUMNS, facts, check=check)
        with contextlib.suppress(OSError):
            os.utime(entry / files.COMPLETE)
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _code(kind: type) -> list[str] | None:
    """Return hashes of the files that say how rows become features; None where a class of the task comes from no file."""
    paths = {Path(module.__file__ or "") for module in (dialogue, templates, tokens, features)}
    for part in kind.__mro__:
        module = sys.modules.get(part.__module__)
        if part.__module__ == "builtins" or part.__module__.partition(".")[0] in ("pydantic", "abc"):
            continue
        if module is None or not getattr(module, "__file__", None):
            return None
        paths.add(Path(str(module.__file__)))
    return [fingerprint.of_file(path) for path in sorted(paths)]


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir())


def _remove(path: Path) -> None:
    """Remove an entry so that nobody ever sees half of it."""
    aside = path.with_name(f".{path.name}.removed.{os.getpid()}")
    with contextlib.suppress(OSError):
        os.replace(path, aside)
        shutil.rmtree(aside, ignore_errors=True)
