"""How far up the right texts stand among all that are searched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weitiao.core.contracts import Metric, Prediction
from weitiao.core.rows import Row

DEPTH = 10
"""Places that are looked at."""
TIE = 1e-6
"""Similarities that are no further apart count as equal, and a wrong text then stands before a right one: a model that says the same of all finds nothing."""
_CHUNK = 256


@dataclass(frozen=True)
class RetrievalMetric(Metric):
    """Mean over searches of a measure that `judged` gives each of them: `ndcg@10`, `mrr@10`, `recall@1`, `recall@10`."""

    name: str
    binary: bool = False
    higher_is_better: bool = True

    def applies(self, prediction: Prediction) -> bool:
        """Rows for which there was something to find."""
        return self.name in prediction.measures

    def statistics(self, predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
        """Return (n, 2): the measure, and one."""
        return np.array([[prediction.measures[self.name], 1.0] for prediction in predictions]).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return the mean."""
        return np.asarray(totals[..., 0] / totals[..., 1])


METRICS = (RetrievalMetric("ndcg@10"), RetrievalMetric("mrr@10"), RetrievalMetric("recall@1", binary=True), RetrievalMetric("recall@10"))


@dataclass(frozen=True)
class Search:
    """What is searched for what."""

    texts: list[str]
    """The distinct texts that are searched."""
    found_at: list[tuple[int, int]]
    """Where each of them stands first: number of its row, and which of the row's texts it is."""
    right: list[list[int]]
    """For each row the texts that are right."""
    barred: list[list[int]]
    """For each row the texts that are left out of its search: its own."""


def of_pairs(rows: Sequence[Row]) -> Search:
    """Return the search of each row's query (the first of its parts) among all other parts of all rows.

    Right are the targets of the row and of the other rows with the same query.
    """
    places: dict[str, tuple[int, int]] = {}
    right: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for n, row in enumerate(rows):
        for k, text in enumerate(row.parts[1:], 1):
            places.setdefault(text, (n, k))
        right[row.parts[0]].update(dict.fromkeys(row.target))
    index = {text: n for n, text in enumerate(places)}
    barred = [[index[row.parts[0]]] if row.parts[0] in index else [] for row in rows]
    return Search(list(places), list(places.values()), [[index[text] for text in right[row.parts[0]]] for row in rows], barred)


def of_labels(rows: Sequence[Row]) -> Search:
    """Return the search of each row's text among all other texts. Right are those with its label."""
    places: dict[str, tuple[int, int]] = {}
    members: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for n, row in enumerate(rows):
        places.setdefault(row.text, (n, 0))
        members[row.target][row.text] = None
    index = {text: n for n, text in enumerate(places)}
    right = [[index[text] for text in members[row.target] if text != row.text] for row in rows]
    return Search(list(places), list(places.values()), right, [[index[row.text]] for row in rows])


def judged(search: Search, similarities: Callable[[slice], np.ndarray]) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield for each row of a search the text in the first place, and measures of the places that the right texts have.

    similarities: returns for a slice of the rows how alike their queries and all texts are, (rows, texts).

    `ndcg@10` is discounted gain over that of the best order (Järvelin and Kekäläinen, 2002), `mrr@10` one over the first
    right place, or 0 beyond ten; `recall@k` the share of the right texts, or of k where there are more, among the first k
    (capped recall: BEIR, arXiv:2104.08663). `rank` is the first right place, `texts` how many were searched. A row without a
    right text has no measures.
    """
    for start in range(0, len(search.right), _CHUNK):
        for n, scores in enumerate(similarities(slice(start, start + _CHUNK)), start):
            scores[search.barred[n]] = -np.inf
            right = search.right[n]
            own = np.sort(scores[right])[::-1]
            first = right[int(scores[right].argmax())] if right else 0
            scores[right] = -np.inf
            places = np.array([k + int((scores >= value - TIE).sum()) for k, value in enumerate(own[:DEPTH], 1)])
            best = first if right and places[0] == 1 else int(scores.argmax())
            yield best, _measures(places, len(right), len(search.texts) - len(search.barred[n])) if right else {}


def _measures(places: np.ndarray, right: int, texts: int) -> dict[str, float]:
    near = places[places <= DEPTH]
    best = np.arange(1, min(DEPTH, right) + 1)
    return {
        "ndcg@10": float((1 / np.log2(near + 1)).sum() / (1 / np.log2(best + 1)).sum()),
        "mrr@10": 1 / float(places[0]) if places[0] <= DEPTH else 0.0,
        "recall@1": float(places[0] == 1),
        "recall@10": len(near) / min(DEPTH, right),
        "rank": float(places[0]),
        "texts": float(texts),
    }
