"""Tags of words, the schemes they are written in, and the entities they mark.

A tag is O, outside of any entity, or a letter for the place in an entity, a hyphen, and the entity's type: B-PER, I-PER.
Whatever the scheme, entities are read as conlleval and seqeval do: a tag goes on with the entity before it where its letter
says so and the types are equal, and begins one everywhere else. So a tag that its scheme does not allow there is never lost.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

Entity = tuple[str, int, int]
"""Type, first word, and the word behind the last."""

OUTSIDE = "O"
PLAIN = "plain"
"""Tags that mark no entities, such as parts of speech."""
UNNAMED = "_"
"""Type of the entities of tags that are letters alone (B, I, O)."""
LETTERS = {"iob2": "BI", "iob1": "BI", "bmeo": "BME", "iobes": "BIES", "bilou": "BILU", "bmes": "BMESW"}
"""Scheme -> its letters. BMEO has none for an entity of one word, which is a B alone."""

_TAG = re.compile(r"([BIMESLUW])(?:[-_](.+))?", re.DOTALL)
_PLACES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
"""Letter -> begin, inside, end or single, whatever the scheme calls it."""


def letter_of(tag: str) -> str | None:
    """Return the letter of a tag: O outside, None where it has none that any scheme knows."""
    found = _TAG.fullmatch(tag)
    return OUTSIDE if tag == OUTSIDE else found[1] if found else None


def type_of(tag: str) -> str:
    """Return the type of the entity that a tag is part of, nothing outside."""
    return _parts(tag)[1]


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """Return the entities that tags of any scheme mark, in their order. Raises ValueError for a tag without a letter."""
    found: list[Entity] = []
    start, before = -1, ("", "")
    for n, tag in enumerate(tags):
        now = _parts(tag)
        if not _goes_on(before, now):
            if start >= 0:
                found.append((before[1], start, n))
            start = n if now[0] else -1
        before = now
    if start >= 0:
        found.append((before[1], start, len(tags)))
    return found


def tags_of(entities: Iterable[Entity], length: int) -> list[str]:
    """Return the IOB2 tags of so many words: each entity begins with a B, wherever it stands."""
    tags = [OUTSIDE] * length
    for kind, start, end in entities:
        tags[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
    return tags


def recognised(sequences: Iterable[Sequence[str]]) -> str:
    """Return the scheme that the tags are written in: the smallest whose letters most of them have, or `plain`.

    Most, because a few tags may be wrong: `strays` finds them. IOB1 and IOB2 have the same letters: in IOB1 a B stands only
    where an entity follows another of its type.
    """
    letters: Counter[str | None] = Counter()
    named, free, inside = 0, 0, 0
    for tags in sequences:
        before = ("", "")
        for tag in tags:
            letter = letter_of(tag)
            letters[letter] += 1
            now = _parts(tag) if letter else ("", "")
            named += letter is not None and now[1] not in ("", UNNAMED)
            follows = before[0] in ("B", "I") and before[1] == now[1]
            free += letter == "B" and not follows
            inside += letter == "I" and not follows
            before = now
    marked = letters.total() - letters[OUTSIDE]
    bare = set(letters) - {OUTSIDE}
    if not marked or (2 * named < marked and (None in bare or "B" not in bare)):
        return PLAIN
    scheme = max(LETTERS, key=lambda name: (sum(letters[letter] for letter in LETTERS[name]), -len(LETTERS[name])))
    return "iob1" if scheme == "iob2" and inside > free else scheme


def strays(tags: Sequence[str], scheme: str) -> Iterator[int]:
    """Yield the places of tags whose letter the scheme does not know."""
    known = {OUTSIDE, *LETTERS[scheme]}
    return (n for n, tag in enumerate(tags) if letter_of(tag) not in known)


def jumps(tags: Sequence[str], scheme: str) -> Iterator[int]:
    """Yield the places of tags that the scheme does not allow behind the one before: I-PER behind O in IOB2, B-PER without an end in IOBES."""
    parts = [_parts(tag) for tag in tags]
    open_ends = () if scheme in ("iob1", "iob2") else ("I",) if scheme == "bmeo" else ("B", "I")
    last = -1
    for n, (before, now) in enumerate(zip([("", ""), *parts], [*parts, ("", "")], strict=True)):
        goes_on = _goes_on(before, now)
        if scheme == "iob1":
            wrong = now[0] == "B" and not (before[0] in ("B", "I") and before[1] == now[1])
        else:
            wrong = now[0] in ("I", "E") and not goes_on
        if (wrong or (before[0] in open_ends and not goes_on)) and last < len(tags) - 1:
            last = min(n, len(tags) - 1)  # an end that is missing behind the last word counts for that word
            yield last


def _goes_on(before: tuple[str, str], now: tuple[str, str]) -> bool:
    return now[0] in ("I", "E") and before[0] in ("B", "I") and before[1] == now[1]


@lru_cache(maxsize=4096)
def _parts(tag: str) -> tuple[str, str]:
    """Return begin, inside, end or single, and the type; nothing twice for O."""
    if tag == OUTSIDE:
        return "", ""
    found = _TAG.fullmatch(tag)
    if found is None:
        raise ValueError(f"{tag!r} is no tag of an entity")
    return _PLACES[found[1]], found[2] or UNNAMED
