"""Spans of a text: from its tokens to windows of it, and from what a model says about each token to the best spans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

OUTSIDE = -1
"""Place of a token that is no part of the text."""
NONE = -2
"""Place of the token that stands for `no span here`."""

Places = Sequence[tuple[int, int]]
"""For each token the characters it stands for: from, to."""


@dataclass(frozen=True, slots=True)
class Span:
    """A candidate: its score, and the characters it covers."""

    score: float
    start: int
    stop: int


def without_spaces(text: str, places: Places) -> list[tuple[int, int]]:
    """Return places with the white space at their ends taken off, as some tokenizers count it to the word behind it; OUTSIDE where nothing is left."""
    found = []
    for start, stop in places:
        piece = text[start:stop]
        left, kept = len(piece) - len(piece.lstrip()), len(piece.strip())
        found.append((start + left, start + left + kept) if kept else (OUTSIDE, OUTSIDE))
    return found


def windows(tokens: int, *, room: int, overlap: int) -> Iterator[slice]:
    """Yield the windows of a text of so many tokens: `room` tokens each, `overlap` of them shared with the one before; one window at least."""
    start = 0
    while True:
        yield slice(start, min(start + room, tokens))
        if start + room >= tokens:
            return
        start += room - overlap


def tokens_of(places: Places, start: int, stop: int) -> tuple[int, int] | None:
    """Return the first and the last token of characters from `start` to before `stop`; None where they do not all lie within these places."""
    inside = [n for n, (left, right) in enumerate(places) if left >= 0 and right > start and left < stop]
    known = [place for place in places if place[0] >= 0]
    if not inside or known[0][0] > start or known[-1][1] < stop:
        return None
    return inside[0], inside[-1]


def best(logits: np.ndarray, places: np.ndarray, *, most_tokens: int, count: int) -> list[Span]:
    """Return the best spans of a window, best first: each at most `most_tokens` long, from its `count` best starts and as many best ends.

    logits: (tokens, 2), of being the first and the last token. places: (tokens, 2). As run_qa of transformers does; only
    tokens of the text are looked at, and where no start goes with any end the best single token is taken.
    """
    inside = np.flatnonzero(places[:, 0] >= 0)
    starts, ends = (inside[np.argsort(-logits[inside, side], kind="stable")[:count]] for side in (0, 1))
    length = ends[None, :] - starts[:, None] + 1
    first, last = np.nonzero((length >= 1) & (length <= most_tokens))
    if len(inside) and not len(first):
        starts = ends = inside[[logits[inside].sum(1).argmax()]]
        first = last = np.zeros(1, dtype=int)
    scores = logits[starts[first], 0] + logits[ends[last], 1]
    order = np.argsort(-scores, kind="stable")[:count]
    return [Span(float(scores[n]), int(places[starts[first[n]], 0]), int(places[ends[last[n]], 1])) for n in order]


def none_score(logits: np.ndarray, places: np.ndarray) -> float:
    """Return the score of `no span here`."""
    (where,) = np.flatnonzero(places[:, 0] == NONE)
    return float(logits[where].sum())
