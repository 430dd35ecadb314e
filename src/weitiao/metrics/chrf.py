"""How much of a translation's characters, one to six at a time, stands in its references, and the other way round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weitiao.core.contracts import Prediction, TextMetric, references

ORDER = 6
"""Characters of the longest piece that is counted."""
BETA = 2
"""How many times as much recall weighs as precision."""


@dataclass(frozen=True)
class Chrf(TextMetric):
    """chrF2 from 0 to 100: F-score of pieces of one to six characters, blanks left out, over all rows (Popović, 2015, aclweb W15-3049).

    As sacrebleu counts it; of several references the one with the best score counts. It needs no words, so it suits every language.
    """

    name: str = "chrf"
    higher_is_better: bool = True

    def signature(self, targets: Sequence[Any]) -> str:
        """Return sacrebleu's signature but for its version."""
        counts = {len(references(target)) for target in targets}
        return f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}|case:mixed|eff:yes|nc:{ORDER}|nw:0|space:no"

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 18): for one to six characters the pieces said, those of the reference, and those in both."""
        return np.array([self._best(p.value, references(t)) for p, t in zip(predictions, targets, strict=True)], dtype=float).reshape(-1, 3 * ORDER)

    def _best(self, said: str, expected: Sequence[str]) -> np.ndarray:
        pieces = _pieces(said)
        counts = np.array([_counts(pieces, _pieces(text)) for text in expected], dtype=float)
        best: np.ndarray = counts[int(np.argmax(self.value(counts)))]
        return best

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return 100 x F of mean precision and mean recall, over the lengths of which both sides have pieces."""
        said, expected, both = (totals[..., n::3] for n in range(3))
        counted = (said > 0) & (expected > 0)
        orders = np.maximum(counted.sum(axis=-1), 1)
        precision, recall = (np.divide(both, below, out=np.zeros_like(both), where=counted).sum(axis=-1) / orders for below in (said, expected))
        below = BETA**2 * precision + recall
        return np.asarray(100.0 * np.divide((1 + BETA**2) * precision * recall, below, out=np.zeros_like(below), where=below > 0))


def _pieces(text: str) -> list[Counter[str]]:
    line = "".join(text.split())
    return [Counter(line[n : n + order] for n in range(len(line) - order + 1)) for order in range(1, ORDER + 1)]


def _counts(said: Sequence[Counter[str]], expected: Sequence[Counter[str]]) -> list[int]:
    """Return the counts of one reference; a length of which it has no piece is not held against what was said."""
    return [number for a, b in zip(said, expected, strict=True) for number in (a.total() if b else 0, b.total(), (a & b).total())]
