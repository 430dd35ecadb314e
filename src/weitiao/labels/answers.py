"""Answers to questions about a text, as data sets write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weitiao.core.textfile import shown
from weitiao.errors import BadRow
from weitiao.labels.reading import MEND


def answers_in(value: Any, start: Any, where: str) -> list[tuple[str, int | None]]:
    """Return text and stated start of each answer: of {text: [...], answer_start: [...]}, a list of {text, answer_start}, texts, or one text.

    start: where the one text, or each of several, is said to stand, if that is written apart. where: the place, with which an error
    begins. Raises BadRow.
    """
    if isinstance(value, Mapping):
        texts, starts = value.get("text", []), value.get("answer_start", value.get("start"))
        if isinstance(texts, str):
            texts, starts = [texts], [starts]
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        if strange := [item for item in value if not isinstance(item, Mapping)]:
            raise BadRow(f"{where} expected objects with text and answer_start, got {shown(strange[0])}.", hint=MEND)
        texts, starts = [item.get("text") for item in value], [item.get("answer_start", item.get("start")) for item in value]
    elif isinstance(value, list):
        texts, starts = value, start if isinstance(start, list) else None
    else:
        texts, starts = ([] if value is None or (isinstance(value, str) and not value.strip()) else [value]), [start]
    if not isinstance(texts, list) or not isinstance(starts, list | None) or (starts and texts and len(starts) != len(texts)):
        raise BadRow(f"{where} expected as many texts as starts, got {shown(value)}.", hint='Expected {"text": ["..."], "answer_start": [0]}. ' + MEND)
    found = []
    for text, at in zip(texts, starts or [None] * len(texts), strict=True) if texts else ():
        if not isinstance(text, str):
            raise BadRow(f"{where} expected a text, got {shown(text)}.", hint=MEND)
        if not text.strip():
            raise BadRow(f"{where} an answer is empty.", hint="A question without an answer has no answers at all: an empty list. " + MEND)
        if at is not None and (isinstance(at, bool) or not isinstance(at, int)):
            raise BadRow(f"{where} answer_start: expected a whole number, got {shown(at)}.", hint=MEND)
        found.append((text, at))
    return found
