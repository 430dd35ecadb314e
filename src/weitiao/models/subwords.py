"""Words as tokens, each word on its own: no token stands for two words, and the first token of each is known."""

from __future__ import annotations

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
    blank, leads = _blank(tokens), [""] * len(distinct)
    if not blank:
        leads = [_lead(word) if before == "" else "" for word, before in distinct]
    led = dict(zip("a(", tokens.plain(list("a(")), strict=True))
    found = tokens.plain([lead + (blank if before == " " else "") + word for lead, (word, before) in zip(leads, distinct, strict=True)])
    melted = []
    for n, lead in enumerate(leads):
        if lead and found[n][: len(led[lead])] == led[lead]:
            found[n] = found[n][len(led[lead]) :]
        elif lead:
            melted.append(n)
    for n, ids in zip(melted, tokens.plain([distinct[n][0] for n in melted]), strict=True):
        found[n] = ids
    unknown = [tokens.unknown_id] if tokens.unknown_id is not None else tokens.plain(["?"])[0][:1]
    return {word: list(ids) or unknown for word, ids in zip(distinct, found, strict=True)}


def _blank(tokens: Tokens) -> str:
    """Return what to write before a word that a blank stands before: nothing where the tokenizer does so itself, or has no use for it."""
    both, alone, behind = tokens.plain(["a a", "a", " a"])
    return " " if both != alone + alone and both == alone + behind else ""


def _lead(word: str) -> str:
    """Return a character that is unlikely to melt into one token with the word."""
    return "(" if word[:1].isalnum() else "a"


def windows(sizes: Sequence[int], room: int, overlap: int) -> list[tuple[int, int, int]]:
    """Return windows over words of so many tokens each: first word, the first that no window before has, and the one behind the last.

    room: tokens of a window. overlap: tokens of the window before with which each further one begins, at most. A word of more
    tokens than a window has room for fills one alone.
    """
    found: list[tuple[int, int, int]] = []
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
        found.append((first, new, end))
        new = end
    return found


def per_word(values: Sequence[Any], features: Sequence[Features], rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what was said about each word of all rows, (words, k); whether anything was; and where each row's words begin, with the end of the last.

    values: for each feature what was said about its tokens, (tokens, k); `places` tells the word that each begins, or -1. A word
    that stands in several windows is decided by the one in which it has most words on the side where it has fewer; an end of
    the sentence is as good as any number of words.
    """
    starts = np.concatenate([[0], np.cumsum([len(row.parts) for row in rows])]).astype(int)
    numbers = {row.id: n for n, row in enumerate(rows)}
    standing, tokens, contexts = [], [], []
    at = 0
    for feature in features:
        places = np.asarray(feature.places)
        positions = np.flatnonzero(places >= 0)
        row = numbers[feature.row]
        own = places[positions]
        if len(own):
            left = np.full(len(own), np.inf) if own[0] == 0 else own - own[0]
            right = np.full(len(own), np.inf) if starts[row] + own[-1] + 1 == starts[row + 1] else own[-1] - own
            standing.append(starts[row] + own)
            tokens.append(at + positions)
            contexts.append(np.minimum(left, right))
        at += len(feature)
    width = values[0].shape[-1] if len(values) else 0
    found, said = np.zeros((int(starts[-1]), width), dtype=np.float32), np.zeros(int(starts[-1]), dtype=bool)
    if standing:
        word, token = np.concatenate(standing), np.concatenate(tokens)
        order = np.lexsort((-token, np.concatenate(contexts), word))  # of several the last is kept: the best, and of equals the first
        last = np.append(word[order][1:] != word[order][:-1], True)
        chosen = order[last]
        found[word[chosen]] = np.concatenate([np.asarray(value, dtype=np.float32) for value in values])[token[chosen]]
        said[word[chosen]] = True
    return found, said, starts
