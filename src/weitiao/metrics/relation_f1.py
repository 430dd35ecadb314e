"""F1 of relations, as SemEval-2010 task 8 and its like are scored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from weitiao.core.contracts import Metric, Prediction

_DIRECTION = re.compile(r"\(e([12]),e([12])\)$")


def directed(label: str) -> tuple[str, bool]:
    """Return the relation that a label names, and whether it runs from the tail to the head: `Cause-Effect(e2,e1)` does."""
    found = _DIRECTION.search(label)
    return (label[: found.start()], found.group(1) > found.group(2)) if found else (label, False)


@dataclass(frozen=True)
class RelationF1(Metric):
    """F1 over relations, the negative label left out.

    `macro` is the official score of SemEval-2010 task 8 (arXiv:1911.10422), (9+1)-way with direction: labels that differ in `(e1,e2)` and
    `(e2,e1)` alone are one relation, a wrong direction is a miss of it and a false find, and the mean is over the relations that
    occur in the targets. `micro` counts all relations together, as TACRED is scored.
    """

    labels: tuple[str, ...]
    negative: str = ""
    """The label that says there is no relation; empty where there is none."""
    average: Literal["macro", "micro"] = "macro"
    higher_is_better: bool = True
    binary: bool = False
    _index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        relations = dict.fromkeys(directed(label)[0] for label in self.labels if label != self.negative)
        object.__setattr__(self, "_index", {relation: n for n, relation in enumerate(relations)})

    @property
    def name(self) -> str:  # type: ignore[override]
        """macro_f1 or micro_f1."""
        return f"{self.average}_f1"

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[str]) -> np.ndarray:
        """Return (n, 3 x relations): right, predicted and true of each relation."""
        width = len(self._index)
        found = np.zeros((len(predictions), 3, width))
        for row, (prediction, truth) in enumerate(zip(predictions, targets, strict=True)):
            guessed, true = self._relation(prediction.value), self._relation(truth)
            if guessed is not None:
                found[row, 1, guessed] = 1
                found[row, 0, guessed] = prediction.value == truth
            if true is not None:
                found[row, 2, true] = 1
        return found.reshape(-1, 3 * width)

    def _relation(self, label: Any) -> int | None:
        return None if label == self.negative else self._index.get(directed(label)[0])

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return F1 = 2 right / (predicted + true)."""
        right, predicted, true = np.split(np.asarray(totals, dtype=float), 3, axis=-1)
        if self.average == "micro":
            right, predicted, true = (part.sum(axis=-1, keepdims=True) for part in (right, predicted, true))
        below = predicted + true
        each: np.ndarray = np.divide(2 * right, below, out=np.zeros_like(below), where=below > 0)
        asked = true > 0
        return np.asarray((each * asked).sum(axis=-1) / np.maximum(asked.sum(axis=-1), 1))
