"""Token ids of rows are kept in the cache: a run on equal rows, task, tokenizer and code does not tokenize again."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path

from weitiao.core import entries, environment, files, fingerprint, tagging, words
from weitiao.core.contracts import Task
from weitiao.core.version import __version__
from weitiao.models import dialogue, subwords, templates, tokens
from weitiao.training import features
from weitiao.training.features import Builder, FeatureTable

FORMAT = 2
"""Raised when the files of an entry change: entries of another format have other names and are never opened."""
MOST_BYTES = 8_000_000_000
"""What all entries take on the disk, at most; the newest one is never removed."""

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
            entries.make_room(entry.parent, keep=entry, most_bytes=MOST_BYTES)
        except OSError:  # a full disk or a read-only cache only means tokenizing again
            return made.table()
        return _found(entry, check=False) or made.table()


def _found(entry: Path, *, check: bool = True) -> FeatureTable | None:
    """Return the features of an entry, and mark it as used; None where there is none, or it is not what was written."""
    if not files.is_complete(entry):
        return None
    try:
        facts = files.read_json(entry / _FACTS)
        if facts.pop("check") != fingerprint.of_json(facts):
            return None
        found = features.opened(entry / _COLUMNS, facts, check=check)
        entries.use(entry)
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _code(kind: type) -> list[str] | None:
    """Return hashes of the files that say how rows become features; None where a class of the task comes from no file."""
    paths = {Path(module.__file__ or "") for module in (dialogue, templates, tokens, subwords, words, tagging, features)}
    for part in kind.__mro__:
        module = sys.modules.get(part.__module__)
        if part.__module__ == "builtins" or part.__module__.partition(".")[0] in ("pydantic", "abc"):
            continue
        if module is None or not getattr(module, "__file__", None):
            return None
        paths.add(Path(str(module.__file__)))
    return [fingerprint.of_file(path) for path in sorted(paths)]
