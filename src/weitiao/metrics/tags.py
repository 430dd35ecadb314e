"""Tags of words, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weitiao.core.contracts import Metric, Prediction
from weitiao.core.tagging import entities_of, tags_of


@dataclass(frozen=True)
class TagAccuracy(Metric):
    """Share of words whose tag is right, words outside of entities among them.

    plain: predictions are tags, equal to those of the file where right; else they are entities, and both sides are compared
    as IOB2.
    """

    plain: bool
    name: str = "accuracy"
    higher_is_better: bool = True

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): words whose tag is right, and words."""
        found = [(self._right(p.value, tags), len(tags)) for p, tags in zip(predictions, targets, strict=True)]
        return np.array(found, dtype=float).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return right / words."""
        return np.asarray(totals[..., 0] / totals[..., 1])

    def _right(self, value: Sequence[Any], tags: Sequence[str]) -> int:
        if not self.plain:
            value = tags_of([(entity["type"], entity["start"], entity["end"]) for entity in value], len(tags))
            tags = tags_of(entities_of(tags), len(tags))
        return sum(map(str.__eq__, value, tags))


def by_tag(predicted: Sequence[Sequence[str]], targets: Sequence[Sequence[str]], tags: Sequence[str]) -> np.ndarray:
    """Return (3, tags): words with each plain tag that are right, wrong and missed."""
    index = {tag: n for n, tag in enumerate(tags)}
    counts = np.zeros((3, len(tags)))
    for found, true in zip(predicted, targets, strict=True):
        for guess, tag in zip(found, true, strict=True):
            if guess == tag:
                counts[0, index[tag]] += 1
            else:
                counts[1, index[guess]] += 1
                counts[2, index[tag]] += 1
    return counts
