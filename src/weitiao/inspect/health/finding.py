"""One thing that was found about rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from weitiao.core.rows import Row

Level = Literal["problem", "warning", "note"]
LEVELS: tuple[Level, ...] = ("problem", "warning", "note")
SHOWN = 5
"""Rows that are named, at most."""


@dataclass(frozen=True)
class Place:
    """A row that a finding is about."""

    row: Row
    got: str
    """What it holds, in words: never the text itself where it is personal."""
    expected: str = ""
    do: str = ""
    beside: str = ""
    """Place of the other row, where it is about two."""

    def said(self) -> str:
        """Return `file:line: got ..., expected ..., do ...`."""
        parts = [f"got {self.got}" + (f" as in {self.beside}" if self.beside else "")]
        parts += [f"expected {self.expected}"] if self.expected else []
        parts += [self.do] if self.do else []
        return f"{self.row.place}: {', '.join(parts)}"


@dataclass(frozen=True)
class Finding:
    """What was found, how much of it, where, and what to do."""

    check: str
    """Name of the check, such as `leakage`."""
    level: Level
    split: str
    count: int
    of: int
    message: str
    do: str = ""
    places: tuple[Place, ...] = ()
    """The first few rows."""
    drops: tuple[tuple[str, str], ...] = ()
    """Place and id of the rows that a cleaned copy of train leaves out: equal rows of two files have one id."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "check": self.check,
            "level": self.level,
            "split": self.split,
            "count": self.count,
            "of": self.of,
            "message": self.message,
            "do": self.do,
            "rows": [{"place": place.row.place, "id": place.row.id, "said": place.said()} for place in self.places],
        }


def first(places: Sequence[Place]) -> tuple[Place, ...]:
    """Return the places that are named."""
    return tuple(places[:SHOWN])


def rows_that(count: int, split: str, does: str, do: str) -> str:
    """Return `1 row of train holds` or `12 rows of train hold`."""
    return f"{count:,} row{'' if count == 1 else 's'} of {split} {does if count == 1 else do}"
