"""Records as a source yields them, and rows as a task reads them."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weitiao.core import fingerprint

_COPY = re.compile(r" x\d+$")


@dataclass(frozen=True, slots=True)
class Record:
    """What a source yields: a mapping, and where it stood."""

    values: Mapping[str, Any]
    """Column or key -> value. The roles the recipe maps (`text`, `label` ...) are found under the role's own name too."""
    file: str
    line: int | None
    """First line of the record in its file, counted from 1; None where a file is one record."""
    id: str = ""
    """The file's own name for the record, where its format has one; every record has an id before a task reads it."""

    @property
    def place(self) -> str:
        """`file:line`, or `file` where there are no lines: how errors name the record."""
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str
    """system, user, assistant or tool."""
    content: str
    tools: str = ""
    """Of a system turn: the functions that the assistant may call, as a JSON list of definitions."""
    calls: str = ""
    """Of an assistant turn: the functions that it calls, as a JSON list of name and arguments."""

    @property
    def text(self) -> str:
        """What a person reads of it: what is said, then the definitions or the calls, one to a line."""
        lines = [json.dumps(each, ensure_ascii=False) for functions in (self.tools, self.calls) if functions for each in json.loads(functions)]
        return "\n".join([self.content, *lines] if self.content else lines)


@dataclass(frozen=True, slots=True)
class Row:
    """What a task makes of a record: the input, typed, and the target if there is one."""

    id: str
    text: str
    target: Any = None
    place: str = ""
    turns: tuple[Turn, ...] = ()
    """The whole conversation, for tasks that have one."""
    parts: tuple[str, ...] = ()
    """The pieces of the input, for tasks whose input is more than one text: the two texts of a pair, the words of a sentence, a
    question and its options. `text` is what a person reads of them."""

    @property
    def asked(self) -> tuple[Turn, ...]:
        """The turns before the answer that is the target: all where there is none. The answer is the last one that says the target, else the last turn."""
        if self.target is None:
            return self.turns
        said = (n for n in range(len(self.turns) - 1, -1, -1) if self.turns[n].role == "assistant" and self.turns[n].text == self.target)
        return self.turns[: next(said, len(self.turns) - 1)]


@dataclass(frozen=True, slots=True)
class Skipped:
    """Rows left out on request (`bad_rows: skip`): how many, and the first few reasons."""

    count: int = 0
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Splits:
    """The rows of a run, by split, and one sentence on where each split came from."""

    train: Sequence[Row]
    dev: Sequence[Row]
    test: Sequence[Row]
    said: str
    skipped: Mapping[str, Skipped] = field(default_factory=dict)

    def sizes(self) -> dict[str, int]:
        """Return the number of rows in each split."""
        return {"train": len(self.train), "dev": len(self.dev), "test": len(self.test)}


def content_key(values: Mapping[str, Any]) -> str:
    """Return a short name for a record's content: equal content, equal name, wherever it stands."""
    return fingerprint.of_json(dict(values))[:12]


def copy_id(id: str, number: int) -> str:
    """Return the id of a copy of a row that is trained on more than once."""
    return f"{id} x{number}"


def is_copy(id: str) -> bool:
    """Tell whether an id is that of such a copy."""
    return _COPY.search(id) is not None


def with_ids(records: Iterable[Record], given: Callable[[Record], str | None]) -> Iterable[Record]:
    """Give each record a stable id: its own if it has one, else a hash of its content (repeats get -2, -3 ...)."""
    seen: dict[str, int] = defaultdict(int)
    for record in records:
        base = given(record) or content_key(record.values)
        seen[base] += 1
        yield Record(record.values, record.file, record.line, base if seen[base] == 1 else f"{base}-{seen[base]}")
