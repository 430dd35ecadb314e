"""Which rows became better and which worse, with examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weitiao.core.contracts import Prediction, Task
from weitiao.core.rows import Row, Turn

EXAMPLES = 8
TEXT = 2000
"""Characters of a text that an example holds; of a conversation, about as many of its last turns."""


def changes(task: Task, rows: Sequence[Row], before: Sequence[Prediction], after: Sequence[Prediction]) -> dict[str, Any]:
    """Return counts of rows that became better or worse, and examples of each, the largest changes first.

    `graded` says by what: `right` (a prediction is right or wrong), `closeness` (of numbers and sets to the target), or
    `likelihood` (how probable the model finds the text it should say). By likelihood no row is right or wrong, and the
    examples are rows with generated texts before all others.
    """
    triples = [(task.closeness(a, row) - task.closeness(b, row), task.closeness(a, row), row, b, a) for row, b, a in zip(rows, before, after, strict=True)]
    better = sorted((t for t in triples if t[0] > 0), key=lambda t: -t[0])
    worse = sorted((t for t in triples if t[0] < 0), key=lambda t: t[0])
    same = [t for t in triples if t[0] == 0]
    if task.reads_out:
        return {
            "graded": "likelihood",
            "better": len(better),
            "worse": len(worse),
            "unchanged": len(same),
            "generated": sum(map(_generated, before, after)),
            "examples_better": [_likely(task, *t[2:]) for t in _generated_first(better)],
            "examples_worse": [_likely(task, *t[2:]) for t in _generated_first(worse)],
        }
    still = [t for t in same if t[1] < 1]
    return {
        "graded": "closeness" if any(isinstance(row.target, float | int | tuple) for row in rows) else "right",
        "better": len(better),
        "worse": len(worse),
        "both_right": len(same) - len(still),
        "both_wrong": len(still),
        "examples_better": [_example(task, *t[2:]) for t in better[:EXAMPLES]],
        "examples_worse": [_example(task, *t[2:]) for t in worse[:EXAMPLES]],
        "examples_still_wrong": [_example(task, *t[2:]) for t in still[:EXAMPLES]],
    }


def _generated(before: Prediction, after: Prediction) -> bool:
    return isinstance(before.value, str) and isinstance(after.value, str)


def _generated_first(ordered: Sequence[tuple[float, float, Row, Prediction, Prediction]]) -> list[tuple[float, float, Row, Prediction, Prediction]]:
    return sorted(ordered, key=lambda t: not _generated(*t[3:]))[:EXAMPLES]


def _likely(task: Task, row: Row, before: Prediction, after: Prediction) -> dict[str, Any]:
    """Return an example graded by likelihood: losses per token and, where the row is a conversation, what was said before the answer."""
    tokens = after.measures.get("tokens", 0.0)
    found = _example(task, row, before, after)
    found |= {f"{side}_loss": p.measures["nll"] / tokens if tokens else None for side, p in (("before", before), ("after", after))}
    found["tokens"] = int(tokens)
    found |= {f"{side}_stopped": bool(p.measures["stopped"]) for side, p in (("before", before), ("after", after)) if "stopped" in p.measures}
    if asked := row.asked:
        shown = _last_turns(asked)
        found |= {"turns": [{"role": turn.role, "content": turn.text[:TEXT]} for turn in shown], "turns_before": len(asked) - len(shown)}
    return found


def _last_turns(asked: Sequence[Turn]) -> Sequence[Turn]:
    """Return the turns from the end on that have TEXT characters together, at least one."""
    first, length = len(asked) - 1, len(asked[-1].text)
    while first > 0 and length + len(asked[first - 1].text) <= TEXT:
        first -= 1
        length += len(asked[first].text)
    return asked[first:]


def _example(task: Task, row: Row, before: Prediction, after: Prediction) -> dict[str, Any]:
    score = after.scores.get(after.value) if isinstance(after.value, str) else None
    return {
        "id": row.id,
        "place": "/".join(row.place.rsplit("/", 2)[-2:]),
        "text": row.text[:TEXT],
        "target": task.wanted(row),
        "before": before.value,
        "after": after.value,
        "score": score,
    }
