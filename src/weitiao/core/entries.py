"""Entries of a cache: folders that are complete or not there, of which those unused for longest go first."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from weitiao.core import files

_STALE_SECONDS = 86_400.0
"""Age from which what a killed process left half written is removed."""


def use(entry: Path) -> None:
    """Note that an entry was used now."""
    with contextlib.suppress(OSError):
        os.utime(entry / files.COMPLETE)


def make_room(top: Path, *, keep: Path, most_bytes: int) -> None:
    """Remove entries until the rest takes at most `most_bytes`, those unused for longest first; `keep` always stays."""
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
    room = most_bytes
    for _, path, size in sorted(entries, reverse=True, key=lambda entry: (entry[1] == keep, entry[0])):
        room -= size
        if room < 0 and path != keep:
            _remove(path)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir())


def _remove(path: Path) -> None:
    """Remove an entry so that nobody ever sees half of it."""
    aside = path.with_name(f".{path.name}.removed.{os.getpid()}")
    with contextlib.suppress(OSError):
        os.replace(path, aside)
        shutil.rmtree(aside, ignore_errors=True)
