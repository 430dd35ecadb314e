"""Reference answers that are longer than what is generated: an answer that is cut off cannot be equal to them."""

from __future__ import annotations

from collections.abc import Sequence

from weitiao.core.contracts import Features, Task


def too_long(task: Task, features: Sequence[Features]) -> list[str]:
    """Return a sentence for the report where reference answers have more tokens than `task.max_new_tokens`; none where all fit."""
    if task.generation is None:
        return []
    most = task.generation.max_new_tokens
    lengths: dict[str, int] = {}
    for item in features:  # of a row in several windows the last holds the answer that is generated
        lengths[item.row] = _last_run(task.trained_tokens(item))
    asked = [length for length in lengths.values() if length]
    long = sum(length > most + 1 for length in asked)  # the token that ends an answer is learnt, and is not part of it
    if not long:
        return []
    said = "reference answer has" if long == 1 else "reference answers have"
    return [
        f"{long} of {len(asked)} {said} more tokens than task.max_new_tokens={most}: what is generated in their place is cut off (longest: {max(asked) - 1})."
    ]


def _last_run(learnt: Sequence[bool]) -> int:
    """Return how many tokens the last piece that is learnt has."""
    end = len(learnt)
    while end and not learnt[end - 1]:
        end -= 1
    start = end
    while start and learnt[start - 1]:
        start -= 1
    return end - start
