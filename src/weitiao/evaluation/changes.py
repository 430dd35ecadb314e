"""Which rows became better and which worse, with examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weitiao.core.contracts import Prediction
from weitiao.core.rows import Row

EXAMPLES = 8


def changes(rows: Sequence[Row], before: Sequence[Prediction], after: Sequence[Prediction]) -> dict[str, Any]:
    """Return counts of rows that became better or worse, and examples of each, the largest changes first."""
    triples = [
        (closeness(a.value, row.target) - closeness(b.value, row.target), closeness(a.value, row.target), row, b, a)
        for row, b, a in zip(rows, before, after, strict=True)
    ]
    better = sorted((t for t in triples if t[0] > 0), key=lambda t: -t[0])
    worse = sorted((t for t in triples if t[0] < 0), key=lambda t: t[0])
    same = [t for t in triples if t[0] == 0]
    still = [t for t in same if t[1] < 1]
    return {
        "better": len(better),
        "worse": len(worse),
        "both_right": len(same) - len(still),
        "both_wrong": len(still),
        "examples_better": [_example(*t[2:]) for t in better[:EXAMPLES]],
        "examples_worse": [_example(*t[2:]) for t in worse[:EXAMPLES]],
        "examples_still_wrong": [_example(*t[2:]) for t in still[:EXAMPLES]],
    }


def closeness(value: Any, target: Any) -> float:
    """Return 1 for a right prediction: overlap of two sets (Jaccard), equality of labels, minus the distance of numbers."""
    if isinstance(value, float) and isinstance(target, float | int):
        return 1.0 - abs(value - target)
    if isinstance(value, list | tuple):
        a, b = set(value), set(target)
        return len(a & b) / len(a | b) if a | b else 1.0
    return float(value == target)


def _example(row: Row, before: Prediction, after: Prediction) -> dict[str, Any]:
    score = after.scores.get(after.value) if isinstance(after.value, str) else None
    target = list(row.target) if isinstance(row.target, tuple) else row.target
    return {
        "id": row.id,
        "place": "/".join(row.place.rsplit("/", 2)[-2:]),
        "text": row.text[:2000],
        "target": target,
        "before": before.value,
        "after": after.value,
        "score": score,
    }
