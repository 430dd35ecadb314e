"""Words and the text they stand in: where a text comes apart, and how words become one again."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # Han radicals
    (0x3005, 0x3007),
    (0x3040, 0x312F),  # Japanese syllables, Bopomofo
    (0x31A0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x20000, 0x323AF),
)
"""Code points of scripts that put no blank between words."""
_WIDE = ((0x3000, 0x303F), (0xFE30, 0xFE4F), (0xFF01, 0xFF65))
"""Code points of the punctuation, digits and letters that such scripts use, as wide as their characters."""
_SINGLES = 0.9
"""Share of words of one character from which a sentence in such a script is taken to be cut into characters, its numbers and names too."""


def found_in(text: str) -> list[tuple[int, int]]:
    """Return where the words of a text stand: from, to.

    Letters that follow each other are a word, and so are digits; anything else is one for itself, each character of a script
    that puts no blank between words too. What is only a mark on a character stays with it.
    """
    found: list[tuple[int, int]] = []
    before = "blank"
    for n, character in enumerate(text):
        kind = _kind(character)
        if kind == "mark":
            if before != "blank":
                found[-1] = (found[-1][0], n + 1)
            continue
        if kind != "blank":
            if kind == before and kind in ("letter", "digit"):
                found[-1] = (found[-1][0], n + 1)
            else:
                found.append((n, n + 1))
        before = kind
    return found


def joined(words: Sequence[str]) -> str:
    """Return words as a person reads them: with a blank between, or none in scripts that use none."""
    text = " ".join(words)
    if text.isascii():
        return text
    if any(_kind(word[:1]) == "single" for word in words) and sum(len(word) == 1 for word in words) >= _SINGLES * len(words):
        return "".join(words)
    parts = list(words[:1])
    for left, right in itertools.pairwise(words):
        parts += [right] if _is_unspaced(left[-1:]) and _is_unspaced(right[:1]) else [" ", right]
    return "".join(parts)


def places(text: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """Return where words stand in a text that has them in this order: from, to."""
    found, at = [], 0
    for word in words:
        start = text.index(word, at)
        at = start + len(word)
        found.append((start, at))
    return found


@lru_cache(maxsize=65536)
def _kind(character: str) -> str:
    """Return blank, letter, digit, single (a character that is a word), mark (part of the character before) or other."""
    category = unicodedata.category(character) if character else "Zs"
    if character.isspace() or category in ("Cc", "Zs", "Zl", "Zp"):
        return "blank"
    if category[0] == "M" or category == "Cf":
        return "mark"
    if _within(character, _UNSPACED):
        return "single"
    return "letter" if category[0] == "L" else "digit" if category == "Nd" else "other"


@lru_cache(maxsize=65536)
def _is_unspaced(character: str) -> bool:
    return bool(character) and (_within(character, _UNSPACED) or _within(character, _WIDE))


def _within(character: str, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(first <= ord(character) <= last for first, last in ranges)
