"""Words as tokens, each word on its own: no token stands for two words, and the first token of each is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from weitiao.core import words
from weitiao.core.contracts import Features, Tokens
from weitiao.core.rows import Row

Word = tuple[str, str | None]
"""A word and what stands before it: a blank, nothing, or None where the text begins."""


def spelled(row: Row) -> list[Word]:
    """Return the words of a row as they stand in its text."""
    found: list[Word] = []
    behind = None
    for word, (start, end) in zip(row.parts, words.places(row.text, row.parts), strict=True):
        found.append((word, None if behind is None else "" if behind == start else " "))
        behind = end
    return found


def tokens_of(asked: Iterable[Word], tokens: Tokens) -> dict[Word, list[int]]:
    """Return for each word its token ids as they would be within a text, never none: what cannot be spelled is unknown.

    Many tokenizers write the blank before a word into its first token. Some (SentencePiece) do as if one stood before every
    text, so that a word right behind another has to be cut out from behind some character.
    """
    distinct = list(dict.fromkeys(asked))
    blank = _blank(tokens)
    found = dict(zip(distinct, tokens.plain([(blank if before == " " else "") + word for word, before in distinct]), strict=True))
    if not blank:
        found |= _cut_out([word for word, before in distinct if before == ""], tokens)
    unknown = [tokens.unknown_id] if tokens.unknown_id is not None else tokens.plain(["?"])[0][:1]
    return {word: list(ids) or unknown for word, ids in found.items()}


def _blank(tokens: Tokens) -> str:
    """Return what to write before a word that a blank stands before: nothing where the tokenizer does so itself, or has no use for it."""
    both, alone, behind = tokens.plain(["a a", "a", " a"])
    return " " if both != alone + alone and both == alone + behind else ""


def _cut_out(glued: Sequence[str], tokens: Tokens) -> dict[Word, list[int]]:
    """Return the ids of words right behind some character; without those that melt into a token with each of the characters tried."""
    found: dict[Word, list[int]] = {}
    for leads in ("(a", "-e", "/0"):  # one that a word of letters or digits seldom melts with, and one for any other
        left = [word for word in glued if (word, "") not in found]
        lead_of = {word: leads[not word[:1].isalnum()] for word in left}
        alone = dict(zip(leads, tokens.plain(list(leads)), strict=True))
        for word, ids in zip(left, tokens.plain([lead_of[word] + word for word in left]), strict=True):
            lead = alone[lead_of[word]]
            if ids[: len(lead)] == lead:
                found[word, ""] = ids[len(lead) :]
    return found


def windows(sizes: Sequence[int], room: int, overlap: int) -> list[tuple[int, int]]:
    """Return windows over words of so many tokens each: first word, and the one behind the last.

    room: tokens of a window. overlap: tokens of the window before with which each further one begins, at most. A word of more
    tokens than a window has room for fills one alone.
    """
    found: list[tuple[int, int]] = []
    new = 0
    while new < len(sizes):
        first, used = new, min(sizes[new], room)
        limit = min(overlap, room - used)
        while first > 0 and sum(sizes[first - 1 : new]) <= limit:
            first -= 1
        used += sum(sizes[first:new])
        end = new + 1
        while end < len(sizes) and used + sizes[end] <= room:
            used += sizes[end]
            end += 1
        found.append((first, end))
        new = end
    return found


def deciding(spans: Sequence[tuple[int, int]], words: int) -> np.ndarray:
    """Return for each word of a sentence which window decides it, (words,); -1 where none holds it.

    It is the window with most words on the side of the word where it has fewer, an end of the sentence being as good as any
    number of words; of equals the first.
    """
    found, most = np.full(words, -1), np.full(words, -1.0)
    for number, (first, end) in enumerate(spans):
        place = np.arange(first, end)
        left = place - first if first > 0 else np.full(len(place), np.inf)
        right = end - 1 - place if end < words else np.full(len(place), np.inf)
        better = place[np.minimum(left, right) > most[first:end]]
        found[better] = number
        most[better] = np.minimum(left, right)[better - first]
    return found


def per_word(values: Sequence[Any], features: Sequence[Features], rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what was said about each word of all rows, (words, k); whether anything was; and where each row's words begin, with the end of the last.

    values: for each feature what was said about its tokens, (tokens, k); `places` tells the word that each begins, or -1. A word
    that stands in several windows is said what the one that decides it says.
    """
    starts = np.concatenate([[0], np.cumsum([len(row.parts) for row in rows])]).astype(int)
    windows_of = defaultdict[str, list[tuple[np.ndarray, np.ndarray]]](list)
    at = 0
    for feature in features:
        places = np.asarray(feature.places)
        begins = np.flatnonzero(places >= 0)
        if len(begins):
            windows_of[feature.row].append((places[begins], at + begins))
        at += len(feature)
    token = np.full(int(starts[-1]), -1)
    for row, start in zip(rows, starts.tolist(), strict=False):
        held = windows_of[row.id]
        decided = deciding([(int(own[0]), int(own[-1]) + 1) for own, _ in held], len(row.parts)) if len(held) > 1 else None
        for number, (own, begins) in enumerate(held):
            mine = slice(None) if decided is None else decided[own] == number
            token[start + own[mine]] = begins[mine]
    said = token >= 0
    found = np.zeros((len(token), values[0].shape[-1] if len(values) else 0), dtype=np.float32)
    if said.any():
        found[said] = np.concatenate([np.asarray(value, dtype=np.float32) for value in values])[token[said]]
    return found, said, starts
