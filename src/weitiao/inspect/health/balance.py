"""How often each label occurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from weitiao.core.rows import Row
from weitiao.inspect.health.finding import Finding

FEWEST = 5
"""Training rows that a label should have at least."""
UNEVEN = 20
"""From so many times as many rows of one label as of another it is worth saying."""


def labels_of(target: Any) -> list[str]:
    """Return the labels that a target names: one, several, or the types of its entities; none where it is a number or a text of its own."""
    if isinstance(target, str):
        return [target]
    if isinstance(target, list | tuple):
        typed = [item["type"] for item in target if isinstance(item, Mapping) and "type" in item]
        return [str(label) for label in typed or target if isinstance(label, str)]
    return []


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """Return how many rows name each label, or how many entities each type has; the most frequent first."""
    found: Counter[str] = Counter()
    for row in rows:
        found.update(labels_of(row.target))
    return dict(found.most_common())


def balance(split: str, found: Mapping[str, int], *, learns: bool, known: Mapping[str, int]) -> Iterator[Finding]:
    """Yield labels with few rows, uneven ones, and those that only other splits know. known: the counts of train."""
    if not found:
        return
    if learns:
        if few := [label for label, count in found.items() if count < FEWEST]:
            named = ", ".join(few[:5]) + (" ..." if len(few) > 5 else "")
            message = f"{len(few)} of {len(found)} labels {'has' if len(few) == 1 else 'have'} fewer than {FEWEST} examples in {split}: {named}."
            yield Finding("labels_rare", "warning", split, len(few), len(found), message, "Bring more examples of them, or join labels.")
        most, least = max(found.values()), min(found.values())
        if most >= UNEVEN * least and len(found) > 1:
            first, last = next(iter(found)), min(found, key=lambda label: found[label])
            message = f"'{first}' has {most:,} examples in {split}, '{last}' {least:,}."
            yield Finding(
                "labels_uneven", "note", split, len(found), len(found), message, "Accuracy hides the rare ones: look at macro F1, or set class weights."
            )
    elif new := [label for label in found if label not in known]:
        named = ", ".join(new[:5]) + (" ..." if len(new) > 5 else "")
        message = f"{len(new)} label{' of' if len(new) == 1 else 's of'} {split} {'does' if len(new) == 1 else 'do'} not occur in train: {named}."
        yield Finding("labels_unknown", "problem", split, len(new), len(found), message, "No model can learn them from train: add rows, or mend the labels.")
