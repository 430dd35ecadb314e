"""Sentences as files hold them: words with a tag each, or a text with the places of its entities."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from weitiao.core import tagging, words
from weitiao.core.contracts import Source
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record, Row
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, BadValue, MissingColumn

WORDS = ("tokens", "words", "text")
"""Columns that hold the words, or a text with them, where data.text names none."""
TAGS = ("tags", "ner_tags", "labels", "label", "entities")
"""Columns that hold the tags or entities, where data.label names none."""
_TYPES = ("label", "type", "entity", "entity_group")
_MEND = "Mend or remove the row, or set data.bad_rows=skip."


def sentence(record: Record, data: Source, *, labelled: bool) -> Row:
    """Return a row whose parts are the words and whose target, where labelled, is a tuple with the tag of each.

    The words are a list, with a list of tags; a text of words with a blank between, with tags written so too; or any text, with
    a list of entities by characters (start, end, label), whose tags are then IOB2. Raises MissingColumn, or BadRow naming file,
    line and field.
    """
    column, value = _cell(record, data.text, WORDS, "text")
    text = value if isinstance(value, str) else None
    target, spans, given = None, (), f"{record.place}: "
    if labelled:
        label, tags = _cell(record, data.label, TAGS, "label")
        given += f"{label}: "
        target = tags.split() if isinstance(tags, str) else tags
        if not isinstance(target, list | tuple):
            raise BadRow(f"{given}expected a tag for each word, or a list of entities, got {shown(tags)}.", hint=_MEND)
        if text is not None and target is tags and all(isinstance(item, Mapping | list | tuple) for item in target):
            spans, target = target, None
    found = _words(value, text, apart=target is not None, where=f"{record.place}: {column}:")
    if labelled:
        target = _tagged(text or "", spans, given) if target is None else _tags(target, len(found), given)
    return Row(record.id, words.joined(found) if text is None else text, target, record.place, parts=tuple(found))


def _cell(record: Record, asked: str | list[str] | None, usual: Sequence[str], role: str) -> tuple[str, Any]:
    """Return the column that holds the words or the tags, and what stands there."""
    if isinstance(asked, list):
        if len(asked) != 1:
            raise BadValue(f"data.{role}: a sentence has its words and its tags in one column each, got {len(asked)}.", hint=f"Name one column in data.{role}.")
        asked = asked[0]
    found = [name for name in ((asked,) if asked else usual) if name in record.values]
    if not found:
        known = list(map(str, record.values))
        what = {"text": "words", "label": "tags"}[role]
        missing = f"'{asked}'" if asked else ", ".join(f"'{name}'" for name in usual[:-1]) + f" or '{usual[-1]}'"
        raise MissingColumn(
            f"{record.place}: there is no column {missing} for the {what}.{did_you_mean(asked or usual[0], known)}",
            hint=f"The columns are: {', '.join(known[:12])}. Set data.{role} to the one with the {what}.",
        )
    return found[0], record.values[found[0]]


def _words(value: Any, text: str | None, *, apart: bool, where: str) -> list[str]:
    """Return the words. apart: a text's words have blanks between, as its tags have."""
    found: Any = value
    if text is not None:
        found = text.split() if apart else [text[start:end] for start, end in words.found_in(text)]
    if not isinstance(found, list | tuple):
        raise BadRow(f"{where} expected a list of words, or a text, got {shown(value)}.", hint=_MEND)
    if not found:
        raise BadRow(f"{where} there is no word.", hint=_MEND)
    for n, word in enumerate(found, 1):
        if not isinstance(word, str) or not word:
            raise BadRow(f"{where} word {n}: expected a word, got {shown(word)}.", hint=_MEND)
    return list(found)


def _tags(tags: Sequence[Any], count: int, given: str) -> tuple[str, ...]:
    for n, tag in enumerate(tags, 1):
        if isinstance(tag, int) and not isinstance(tag, bool):
            raise BadRow(f"{given}word {n}: expected the name of a tag, got the number {tag}.", hint="Write the names of the tags instead of their numbers.")
        if not isinstance(tag, str) or not tag.strip():
            raise BadRow(f"{given}word {n}: expected a tag, got {shown(tag)}.", hint=_MEND)
    if len(tags) != count:
        raise BadRow(f"{given}expected {count} tags, one for each word, got {len(tags)}.", hint=_MEND)
    return tuple(tag.strip() for tag in tags)


def _tagged(text: str, spans: Sequence[Any], given: str) -> tuple[str, ...]:
    """Return the IOB2 tags of the words of a text whose entities are given by characters."""
    places = words.found_in(text)
    begins, ends = ({place[side]: n for n, place in enumerate(places)} for side in (0, 1))
    entities: list[tagging.Entity] = []
    for number, span in enumerate(spans, 1):
        where = f"{given}entity {number}:"
        start, end, kind = _span(span, where)
        if not 0 <= start < end <= len(text) or not text[start:end].strip():
            raise BadRow(f"{where} characters {start} to {end} are no part of the text, which has {len(text)}.", hint=_MEND)
        said = text[start:end]
        start, end = start + len(said) - len(said.lstrip()), end - len(said) + len(said.rstrip())
        if start not in begins or end not in ends:
            cut = next(text[left:right] for left, right in places if left < start < right or left < end < right)
            raise BadRow(
                f"{where} {shown(text[start:end])} ({start} to {end}) is only a part of the word {shown(cut)}.",
                hint="Entities begin and end with words: mend the numbers, which count characters from 0, or set data.bad_rows=skip.",
            )
        entities.append((kind, begins[start], ends[end] + 1))
    entities.sort(key=lambda entity: entity[1:])
    for left, right in itertools.pairwise(entities):
        if right[1] < left[2]:
            both = " and ".join(shown(text[places[start][0] : places[end - 1][1]]) for _, start, end in (left, right))
            raise BadRow(f"{given}the entities {both} overlap.", hint="A word can be part of one entity alone: keep one of the two, or set data.bad_rows=skip.")
    return tuple(tagging.tags_of(entities, len(places)))


def _span(span: Any, where: str) -> tuple[int, int, str]:
    start, end, kind = None, None, None
    if isinstance(span, Mapping):
        start, end = span.get("start"), span.get("end")
        kind = next((span[name] for name in _TYPES if name in span), None)
    elif len(span) == 3:
        start, end, kind = span
    whole = all(isinstance(place, int) and not isinstance(place, bool) for place in (start, end))
    if not whole or not isinstance(kind, str) or not kind.strip():
        raise BadRow(f"{where} expected start, end and label, got {shown(span)}.", hint=_MEND)
    assert isinstance(start, int) and isinstance(end, int)
    return start, end, kind.strip()
