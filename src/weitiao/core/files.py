"""Writing so that nothing is ever half there: temporary name, fsync, rename, and a COMPLETE mark for folders."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMPLETE = "COMPLETE"
"""A folder counts only when it holds a file of this name."""


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, readable by people."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file written by `write_json`."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextlib.contextmanager
def folder_being_written(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `target`, whole and marked COMPLETE, when the block succeeds.

    What stood at `target` before is replaced. If the block fails, nothing is left behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    os.chmod(temporary, 0o755)  # noqa: S103 (mkdtemp gives 0700; an artifact is to be read by others)
    try:
        yield temporary
        for path in sorted(temporary.rglob("*")):
            sync(path)
        (temporary / COMPLETE).touch()
        sync(temporary / COMPLETE)
        sync(temporary)
        if target.exists():
            old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
            os.replace(target, old / "was")
            os.replace(temporary, target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(temporary, target)
        sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes out of the block, waiting for one that is in. The lock ends with its process, however that ends.

    Raises OSError where the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            import fcntl
        except ImportError:  # Windows: two processes may do the same work
            pass
        else:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_complete(folder: Path) -> bool:
    """Tell whether a folder was written to its end."""
    return (folder / COMPLETE).is_file()


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders that a killed process left in `folder`; its own only, by their leading dot."""
    for path in folder.glob(".*.*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Ask the operating system to put a file's or folder's content on the disk."""
    with contextlib.suppress(PermissionError):  # Windows cannot open folders
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
