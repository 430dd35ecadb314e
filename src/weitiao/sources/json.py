"""JSON arrays and JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from weitiao.core import textfile
from weitiao.core.contracts import Source, Split
from weitiao.core.rows import Record
from weitiao.errors import BadRow

_HINT = "Expected one object per line (JSON lines), or one array of objects."


class Json(Source):
    """Read JSON arrays of objects, or JSON lines (one object per line)."""

    encoding: str = "utf-8"
    """Encoding of the file."""

    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield one record per object. Whether the file is an array or lines is seen from its first character."""
        path = Path(getattr(self, split))
        lines = textfile.lines(path, self.encoding)
        lead: list[str] = []
        for number, line in lines:
            if not line.strip():
                lead.append(line)
                continue
            if line.lstrip().startswith("["):
                text = "".join(lead) + line + "".join(rest for _, rest in lines)
                yield from _array(text, path, bad)
                return
            record = _object(line, path, number, bad)
            if record is not None:
                yield record


def _object(line: str, path: Path, number: int, bad: Callable[[str], None]) -> Record | None:
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        where = f"column {error.colno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)
        hint = _HINT
        if line.strip() == "{":
            hint = "The file looks like one object over several lines: " + _HINT[0].lower() + _HINT[1:]
        raise BadRow(f"{path}:{number}: this line is not JSON: {where}.", hint=hint) from None
    return _record(value, path, number, bad)


def _array(text: str, path: Path, bad: Callable[[str], None]) -> Iterator[Record]:
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    at, line = _skip(text, 0), 1
    counted = 0

    def line_at(position: int) -> int:
        nonlocal line, counted
        line += text.count("\n", counted, position)
        counted = position
        return line

    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        return
    while True:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            place = line_at(error.pos) if isinstance(error, json.JSONDecodeError) else line_at(at)
            what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise BadRow(f"{path}:{place}: broken JSON: {what}.", hint="Check commas, quotes and brackets on that line and the one before.") from None
        record = _record(value, path, line_at(at), bad)
        if record is not None:
            yield record
        at = _skip(text, end)
        following = text[at : at + 1]
        if following == "]":
            rest = _skip(text, at + 1)
            if rest < len(text):
                raise BadRow(f"{path}:{line_at(rest)}: broken JSON: text after the closing bracket of the array.", hint=_HINT)
            return
        if following != ",":
            got = "the end of the file" if not following else textfile.shown(text[at : at + 10])
            raise BadRow(
                f"{path}:{line_at(min(at, len(text)))}: broken JSON: expected a comma or ], got {got}.",
                hint="Check commas, quotes and brackets on that line and the one before.",
            )
        at = _skip(text, at + 1)


def _record(value: Any, path: Path, line: int, bad: Callable[[str], None]) -> Record | None:
    if not isinstance(value, dict):
        bad(f"{path}:{line}: expected an object with keys, got {textfile.shown(value)}")
        return None
    return Record(value, str(path), line)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON value")
