"""The most probable tags of a sentence among those that make sense together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best(scores: np.ndarray, starts: np.ndarray, begins: Sequence[int | None]) -> np.ndarray:
    """Return the tag of each word, (words,): of all allowed sequences the one with the highest sum (Viterbi, 1967).

    scores: (words of all sentences, tags), logits or log-probabilities. starts: where each sentence begins, and the end of the
    last. begins: for each tag that may only go on with an entity (I-PER) the one that begins it (B-PER), which with itself is
    all that may stand before it; None for others.
    """
    inner = np.array([tag for tag, begin in enumerate(begins) if begin is not None], dtype=int)
    outer = np.array([begins[tag] for tag in inner], dtype=int)
    chosen: np.ndarray = scores.argmax(-1)
    if not len(inner) or not len(scores):
        return chosen
    begin_of = np.full(len(begins), -1)
    begin_of[inner] = outer
    before = np.concatenate([[-1], chosen[:-1]])
    before[starts[:-1][starts[:-1] < len(scores)]] = -1
    wrong = (begin_of[chosen] >= 0) & (before != chosen) & (before != begin_of[chosen])
    # without a jump the best tag of each word is the best sequence too
    for sentence in np.unique(np.searchsorted(starts, np.flatnonzero(wrong), side="right") - 1).tolist():
        words = slice(starts[sentence], starts[sentence + 1])
        chosen[words] = _path(scores[words].astype(np.float64), inner, outer)
    return chosen


def _path(scores: np.ndarray, inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Return the best allowed sequence of one sentence, (words,)."""
    length, tags = scores.shape
    came = np.zeros((length, tags), dtype=int)
    total = scores[0].copy()
    total[inner] = -np.inf
    for n in range(1, length):
        came[n] = total.argmax()
        came[n, inner] = np.where(total[outer] > total[inner], outer, inner)
        total = total[came[n]] + scores[n]
    path = np.empty(length, dtype=int)
    path[-1] = total.argmax()
    for n in range(length - 1, 0, -1):
        path[n - 1] = came[n, path[n]]
    return path
