"""Rows beyond a few thousand lie in a temporary file: what uses them asks for them as of a list."""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import threading
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, overload

from weitiao.core import environment
from weitiao.core.rows import Row, Turn
from weitiao.errors import MachineError

IN_MEMORY = 20_000
"""Rows that stay in a list, at most: a row of short text takes about 400 bytes there, and 4 where it is in the file."""

_BLOCK = 128
"""Rows that are found together. One position a block is held in memory, and reading one row reads its block."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class SpooledRows(Sequence[Row]):
    """Rows of a temporary file, read when they are asked for; parts and choices of them share the file."""

    def __init__(self, spool: _Spool, numbers: Sequence[int]) -> None:
        """numbers: which rows of the file, in their order."""
        self._spool, self._numbers = spool, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> SpooledRows: ...
    def __getitem__(self, at: int | slice) -> Row | SpooledRows:
        """Return one row, or a part of the rows."""
        if isinstance(at, slice):
            return SpooledRows(self._spool, self._numbers[at])
        return next(self._spool.rows([self._numbers[at]]))

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows in their order, a block at a time."""
        return self._spool.rows(self._numbers)

    def chosen(self, numbers: Iterable[int]) -> SpooledRows:
        """Return the rows at these positions."""
        return SpooledRows(self._spool, array("I", (self._numbers[n] for n in numbers)))


class _Spool:
    """A file without a name, one JSON array a row: the system removes it with the process, however that ends."""

    def __init__(self) -> None:
        self._file = _unnamed()
        weakref.finalize(self, self._file.close)
        self._starts = array("Q", [0])
        self._lock = threading.Lock()
        self._held: tuple[int, list[bytes]] = (-1, [])
        self._waiting: list[bytes] = []
        self.count = 0

    def append(self, row: Row) -> None:
        """Write a row. Raises TypeError for a target that JSON does not give back as it was."""
        line = [row.id, row.text, row.place, _packed(row.target), [_turn(turn) for turn in row.turns], row.parts]
        self._waiting.append(_encode(line).encode("utf-8", "surrogatepass"))
        self.count += 1
        if len(self._waiting) == _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write the block that is begun; only the last one may be smaller than the others."""
        if self._waiting:
            block = b"\n".join(self._waiting)
            with disk_told("the rows"):
                self._file.write(block)
            self._starts.append(self._starts[-1] + len(block))
            self._waiting = []

    def end(self) -> None:
        """Write what is left: from now on rows are only read."""
        self.flush()
        with disk_told("the rows"):
            self._file.flush()

    def rows(self, numbers: Iterable[int]) -> Iterator[Row]:
        """Yield rows by their numbers."""
        for block, members in itertools.groupby(numbers, key=lambda n: n // _BLOCK):
            lines = self._lines(block)
            wanted = b",".join([lines[n % _BLOCK] for n in members])
            for id, text, place, target, turns, parts in json.loads(b"[" + wanted + b"]"):
                yield Row(id, text, _unpacked(target), place, tuple([Turn(*turn) for turn in turns]) if turns else (), tuple(parts))

    def _lines(self, block: int) -> list[bytes]:
        with self._lock:
            if self._held[0] != block:
                start, stop = self._starts[block], self._starts[block + 1]
                self._file.seek(start)
                self._held = (block, self._file.read(stop - start).split(b"\n"))
            return self._held[1]


def gathered(rows: Iterable[Row], *, most: int | None = None) -> Sequence[Row]:
    """Return rows as a sequence: a list up to `most` (None: IN_MEMORY) of them, else in a temporary file.

    Equal rows come out either way. Rows whose target is neither text, number nor a list or tuple of such stay in memory.
    Raises MachineError where the file cannot be written.
    """
    most = IN_MEMORY if most is None else most
    coming = iter(rows)
    held = list(itertools.islice(coming, most + 1))
    if len(held) <= most:
        return held
    spool = _Spool()
    for row in itertools.chain(_emptied(held), coming):
        try:
            spool.append(row)
        except TypeError:
            spool.end()
            return [*spool.rows(range(spool.count)), row, *coming]
    spool.end()
    return SpooledRows(spool, range(spool.count))


def _emptied(rows: list[Row]) -> Iterator[Row]:
    """Yield rows and let go of each."""
    rows.reverse()
    while rows:
        yield rows.pop()


def chosen(rows: Sequence[Row], numbers: Iterable[int]) -> Sequence[Row]:
    """Return the rows at these positions: of a list a list, of rows in a file others in that file."""
    return rows.chosen(numbers) if isinstance(rows, SpooledRows) else [rows[n] for n in numbers]


class Texts(Sequence[str]):
    """The texts of rows, read when they are asked for."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """rows: whose texts."""
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Texts: ...
    def __getitem__(self, at: int | slice) -> str | Texts:
        """Return one text, or a part of the texts."""
        return Texts(self._rows[at]) if isinstance(at, slice) else self._rows[at].text

    def __iter__(self) -> Iterator[str]:
        """Yield the texts in their order."""
        return (row.text for row in self._rows)


def _turn(turn: Turn) -> list[str]:
    return [turn.role, turn.content, turn.tools, turn.calls] if turn.tools or turn.calls else [turn.role, turn.content]


def _packed(value: Any) -> Any:
    """Return a target as JSON that `_unpacked` turns back into an equal value of the same type. Raises TypeError."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if type(value) in (tuple, list):
        return {type(value).__name__: [_packed(inner) for inner in value]}
    raise TypeError(type(value))


def _unpacked(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    found = [_unpacked(item) for item in inner]
    return tuple(found) if kind == "tuple" else found


def _unnamed() -> IO[bytes]:
    """Return a temporary file beside the caches, or, where nothing can be written there, wherever the system keeps them."""
    folder = environment.cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError:
        with disk_told("the rows"):
            return tempfile.TemporaryFile()


@contextlib.contextmanager
def disk_told(what: str) -> Iterator[None]:
    """Turn a full disk and the like into one sentence. what: what is being written."""
    try:
        yield
    except OSError as error:
        raise MachineError(
            f"{what} cannot be written to a temporary file: {error.strerror or error}.",
            hint=f"Make room in {environment.cache_folder()}, or set HF_HOME to a folder with room that you may write to.",
        ) from None
