"""Entities found whole: precision, recall and F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weitiao.core.contracts import Metric, Prediction
from weitiao.core.tagging import Entity, entities_of


class _Entities(Metric):
    """Of all rows together (micro), as conlleval and seqeval: an entity counts where first word, last word and type are right.

    Predictions are lists of entities, targets the tags of the words as the file has them, in any scheme.
    """

    higher_is_better = True

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 3): entities that are right, that are predicted, and that are true."""
        pairs = [(_predicted(p.value), set(entities_of(tags))) for p, tags in zip(predictions, targets, strict=True)]
        return np.array([[len(found & true), len(found), len(true)] for found, true in pairs], dtype=float).reshape(-1, 3)


@dataclass(frozen=True)
class EntityF1(_Entities):
    """Harmonic mean of precision and recall; 0 where nothing is right."""

    name: str = "f1"

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return 2 right / (predicted + true)."""
        return _share(2 * totals[..., 0], totals[..., 1] + totals[..., 2])


@dataclass(frozen=True)
class EntityPrecision(_Entities):
    """Share of the predicted entities that are right; 0 where none is predicted."""

    name: str = "precision"

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return right / predicted."""
        return _share(totals[..., 0], totals[..., 1])


@dataclass(frozen=True)
class EntityRecall(_Entities):
    """Share of the true entities that are found; 0 where there is none."""

    name: str = "recall"

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return right / true."""
        return _share(totals[..., 0], totals[..., 2])


def by_type(predicted: Sequence[Sequence[dict[str, Any]]], targets: Sequence[Sequence[str]], types: Sequence[str]) -> np.ndarray:
    """Return (3, types): entities of each type that are right, wrong and missed."""
    index = {kind: n for n, kind in enumerate(types)}
    counts = np.zeros((3, len(types)))
    for value, tags in zip(predicted, targets, strict=True):
        found, true = _predicted(value), set(entities_of(tags))
        for row, entities in enumerate((found & true, found - true, true - found)):
            for kind, _, _ in entities:
                counts[row, index[kind]] += 1
    return counts


def _predicted(value: Sequence[dict[str, Any]]) -> set[Entity]:
    return {(entity["type"], entity["start"], entity["end"]) for entity in value}


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(part, whole, out=np.zeros_like(whole, dtype=float), where=whole > 0))
