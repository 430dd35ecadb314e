"""Entities in a text: where they stand, read from a record."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from weitiao.core import words
from weitiao.core.contracts import Source
from weitiao.core.rows import Record
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, BadValue
from weitiao.labels.reading import MEND, cell, text_in

_TAGGED = re.compile(r"(.*?)<e([12])>(.*?)</e\2>(.*?)<e([12])>(.*?)</e\5>(.*)", re.DOTALL)
_EXCLUSIVE = "Counts begin at 0 and ends are exclusive: the first four letters are [0, 4]."


@dataclass(frozen=True, order=True, slots=True)
class Entity:
    """Characters of a text, the end exclusive, and what kind of thing they name; empty where that is not known."""

    start: int
    end: int
    type: str = ""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text, and the characters of each of its words where it came in words: then spans count words."""

    text: str
    words: tuple[tuple[int, int], ...] | None = None

    def entity(self, value: Any, where: str) -> Entity:
        """Return an entity from [start, end], {start, end} with or without type and text, or either written as JSON.

        where: the place, with which an error begins. Raises BadRow.
        """
        given = _as_json(value)
        about = given if isinstance(given, dict) else {}
        span = [about.get("start"), about.get("end")] if about else given
        if not (isinstance(span, list | tuple) and len(span) == 2 and all(isinstance(at, int) and not isinstance(at, bool) for at in span)):
            raise BadRow(f"{where} expected [start, end] or {{start, end}}, got {shown(value)}.", hint=_EXCLUSIVE)
        start, end = span
        size, unit = (len(self.text), "characters") if self.words is None else (len(self.words), "words")
        if not 0 <= start <= size or end > size:
            raise BadRow(f"{where} {start} to {end} is outside of the text, which has {size} {unit}.", hint=_EXCLUSIVE)
        if start >= end:
            raise BadRow(f"{where} {start} to {end} is an empty span.", hint=_EXCLUSIVE)
        if self.words is not None:
            start, end = self.words[start][0], self.words[end - 1][1]
        text = self.text[start:end]
        if not text.strip():
            raise BadRow(f"{where} {start} to {end} holds nothing but blanks.", hint=MEND)
        if isinstance(about.get("text"), str) and about["text"] != text:
            raise BadRow(f"{where} the span holds {shown(text)}, but its text says {shown(about['text'])}.", hint=_EXCLUSIVE)
        return Entity(start, end, str(about.get("type") or ""))


def sentence_of(record: Record, data: Source) -> Sentence:
    """Return the text of a record, or of its words. Raises BadValue, MissingColumn, BadRow."""
    if isinstance(data.text, list):
        raise BadValue(f"data.text: expected one column, got {data.text}.", hint="Entities stand in one text.")
    column = data.text or ("tokens" if "text" not in record.values and "tokens" in record.values else "text")
    value = cell(record, column, "text")
    if not isinstance(value, list):
        return Sentence(text_in(record, column))
    if not all(isinstance(word, str) and word for word in value):
        raise BadRow(f"{record.place}: {column}: expected words, got {shown(value)}.", hint=MEND)
    text = words.joined(value)
    return Sentence(text, tuple(words.places(text, value)))


def tagged(text: str) -> tuple[str, list[Entity]] | None:
    """Return the text without tags, and what stands between <e1> and </e1>, and <e2> and </e2>; None where it is not tagged so."""
    found = _TAGGED.fullmatch(text)
    if found is None or {found[2], found[5]} != {"1", "2"}:
        return None
    before, first, between, second, after = found.group(1, 3, 4, 6, 7)
    plain = f"{before}{first}{between}{second}{after}"
    at = len(before), len(before) + len(first) + len(between)
    spans = [(at[0], at[0] + len(first)), (at[1], at[1] + len(second))]
    return plain, [Entity(*span) for span in (spans if found[2] == "1" else spans[::-1])]


def _as_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
