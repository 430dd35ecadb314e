"""Texts, labels and numbers in the cells of a record; what is none of them is named by file, line and field."""

from __future__ import annotations

import re
from typing import Any

from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, MissingColumn

MEND = "Mend or remove the row, or set data.bad_rows=skip."

_FLOAT = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+(\.\d*)?[eE][-+]?\d+)")


def cell(record: Record, column: str, role: str) -> Any:
    """Return what a column holds. role: the setting of `data` that names it. Raises MissingColumn."""
    if column not in record.values:
        known = list(record.values)
        raise MissingColumn(
            f"{record.place}: there is no column '{column}' for the {role}.{did_you_mean(column, known)}",
            hint=f"The columns are: {', '.join(map(str, known[:12]))}. Set data.{role} to one of them"
            + (", or data.header=false if the first line is data." if record.line is not None and record.file.endswith(("csv", "tsv", "txt")) else "."),
        )
    return record.values[column]


def text_in(record: Record, column: str) -> str:
    """Return the text of a column, which may be empty. Raises MissingColumn, BadRow."""
    value = cell(record, column, "text")
    if not isinstance(value, str):
        raise BadRow(f"{record.place}: {column}: expected text, got {shown(value)}.", hint=MEND)
    return value


def label_in(value: Any, where: str) -> str:
    """Return the name of a class as it is written. where: the place, with which an error begins. Raises BadRow."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return str(value).strip()
    raise BadRow(f"{where} expected the name of a class, got {shown(value)}.", hint=MEND)


def number_in(value: Any, where: str) -> float:
    """Return a finite number. where: the place, with which an error begins. Raises BadRow."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or number != number or abs(number) == float("inf"):
        raise BadRow(f"{where} expected a number, got {shown(value)}.", hint=MEND)
    return number


def looks_continuous(value: Any) -> bool:
    """Tell whether a value is a number with a fraction, or written as one: hardly the name of a class."""
    return isinstance(value, float) or (isinstance(value, str) and _FLOAT.fullmatch(value.strip()) is not None)
