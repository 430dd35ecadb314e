"""Decoded lines of a text file, with errors that name the line."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from weitiao.errors import BadRow, BadValue, EmptySplit, MissingFile

_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line with its end). A byte-order mark is dropped, and a file whose name ends with .gz is unpacked.

    Raises MissingFile, EmptySplit for a file without content, and BadRow for a NUL, a byte that is not text in
    this encoding, or a damaged archive, naming the line.
    """
    check(path)
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise BadValue(f"data.encoding: there is no encoding '{encoding}'.", hint="Usual: utf-8, utf-16, gb18030, latin-1.") from None
    number = 0
    if encoding.replace("_", "-").lower().startswith(("utf-16", "utf-32")):
        # These put NUL bytes between the line ends, so the decoder has to find the lines.
        try:
            with _opened(path) as raw, io.TextIOWrapper(raw, encoding=encoding, newline="") as file:
                for text in file:
                    number += 1
                    yield number, text
        except UnicodeError as error:
            raise BadRow(f"{path}:{number + 1}: not {encoding}: {error}.", hint="Set data.encoding to the file's encoding.") from None
        except (OSError, EOFError, zlib.error) as error:
            raise _damaged(path, number + 1, error) from None
        return
    with _opened(path) as raw:
        while True:
            try:
                line = raw.readline()
            except (OSError, EOFError, zlib.error) as error:
                raise _damaged(path, number + 1, error) from None
            if not line:
                return
            number += 1
            if number == 1:
                for mark, name in _MARKS.items():
                    if line.startswith(mark):
                        raise BadRow(f"{path}:1: the file is {name}, not {encoding}.", hint=f"Set data.encoding={name}, or save the file as UTF-8.")
                line = line.removeprefix(codecs.BOM_UTF8)
            if b"\0" in line:
                raise BadRow(
                    f"{path}:{number}: a NUL byte at column {line.index(0) + 1}: this is not a text file, or it is damaged.",
                    hint="Export the data again, or remove the byte: tr -d '\\000' < FILE > CLEAN.",
                )
            try:
                yield number, line.decode(encoding)
            except UnicodeDecodeError as error:
                raise BadRow(
                    f"{path}:{number}: byte 0x{line[error.start]:02x} at column {error.start + 1} is not {encoding} text.",
                    hint="Set data.encoding to the file's encoding (latin-1, gb18030 ...), or save the file as UTF-8.",
                ) from None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
        yield cast(BinaryIO, file)


def _damaged(path: Path, line: int, error: Exception) -> BadRow:
    if path.suffix.lower() != ".gz":
        return BadRow(f"{path}:{line}: cannot be read: {error}.", hint="Check the disk and the file's permissions.")
    what = "the file is not what gzip writes" if isinstance(error, gzip.BadGzipFile) and line == 1 else "the gzip archive is damaged or cut short here"
    return BadRow(f"{path}:{line}: {what}.", hint="Fetch the file again, and compare its size; a plain text file has no ending .gz.")


def check(path: Path) -> None:
    """Raise MissingFile or EmptySplit where `path` is not a file with content."""
    if path.is_dir():
        raise MissingFile(f"{path} is a folder, expected a file.", hint="Name the file; for one folder of texts per label use data.name=folder.")
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*") if p.is_file())[:5] if path.parent.is_dir() else []
        hint = f"That folder holds: {', '.join(near)}." if near else "Check the path; paths in a recipe are relative to the recipe's folder."
        raise MissingFile(f"there is no file {path}.", hint=hint)
    if path.stat().st_size == 0:
        raise EmptySplit(f"{path} is empty.", hint="Name a file with rows in it.")


def shown(value: object, limit: int = 60) -> str:
    """Return a value as it is quoted in messages: on one line, shortened."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 4] + " ..." + text[0]
