"""Each query must find its own passage among those of the whole step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import Batch, Loss, Term

QUERY, POSITIVE, NEGATIVE = 0, 1, 2
"""What a line is. A query begins a row; its positives and hard negatives follow."""
CHUNK = 1024
"""Lines that are compared with all others at a time: what memory the dev rows need does not grow with the square of their number."""
_NOTHING = -1e9
"""Score of a text that is out of the running."""

_Pairs = tuple[Tensor, Tensor]
"""Which of some lines go with which of others: their numbers, (pairs,) each."""


@dataclass(frozen=True)
class Contrastive:
    """Negative log-likelihood of the right text among all texts of the step (InfoNCE, arXiv:1807.03748; in-batch negatives, arXiv:1705.00652).

    forward: returns a vector of length 1 for each line of a batch whose targets are (lines, 3): role, key of the text, key of
    the group. Scores are cosines over the temperature. A text is no negative of a query where it is known, or may be, right:
    where it is the query's own text, or a positive of another row with the same group. by: `row`, a query's positives are
    those of its row and its group is its own text; `group`, each line is a query, and the lines of its group are its
    positives (arXiv:2004.11362). With several positives each competes with the negatives alone, and they weigh one together.
    symmetric: each positive must find its query among all queries, too; the loss is the mean of both.
    """

    forward: Callable[[Module, Batch], Tensor]
    temperature: float = 0.05
    by: Literal["row", "group"] = "row"
    symmetric: bool = False
    coupled: bool = True

    def counts(self, batch: Batch) -> dict[str, float]:
        """Return the number of lines that have something to find, if the batch is the whole step."""
        assert batch.targets is not None
        return {name: float(len(right[0].unique())) for name, (_, _, right, _) in self._terms(batch.targets).items()}

    def __call__(self, model: Module, batch: Batch) -> Loss:
        """Return the loss of a batch that is the whole step."""
        assert batch.targets is not None
        return self.joint(self.states(model, batch), batch.targets)

    def states(self, model: Module, batch: Batch) -> Tensor:
        """Return the vectors of lines, (lines, width)."""
        return self.forward(model, batch)

    def joint(self, states: Tensor, targets: Tensor) -> Loss:
        """Return the loss of vectors (lines, width) in fp32; targets: (lines, 3)."""
        terms = self._terms(targets)
        with torch.autocast(states.device.type, enabled=False):
            found = {name: self._searched(states[queries], states[texts], right, barred) for name, (queries, texts, right, barred) in terms.items()}
        return Loss({name: Term(total, count, 1 / len(found)) for name, (total, count) in found.items()})

    def _terms(self, targets: Tensor) -> dict[str, tuple[Tensor, Tensor, _Pairs, _Pairs]]:
        """Return by term: which lines search, among which they do, which pairs are right, and which are neither right nor wrong."""
        role, text, group = targets.T.contiguous()
        if self.by == "group":
            every = torch.arange(len(targets), device=targets.device)
            return {"contrastive": (every, every, _joined(group, group), _joined(text, text))}
        row = (role == QUERY).cumsum(0)
        queries, texts, positives = ((chosen).nonzero()[:, 0] for chosen in (role == QUERY, role != QUERY, role == POSITIVE))

        def pairs(left: Tensor, right: Tensor, first: Tensor, second: Tensor) -> tuple[_Pairs, _Pairs]:
            """first, second: what ties the one side, and the other, to the positives: a query by its group, a text by its words."""
            a, c = _joined(row[left], row[right])
            own = (role[left][a] == POSITIVE) | (role[right][c] == POSITIVE)
            of, known = _joined(first[left], first[positives])
            at, there = _joined(second[positives][known], second[right])
            same = _joined(text[left], text[right])
            return (a[own], c[own]), (torch.cat([of[at], same[0]]), torch.cat([there, same[1]]))

        found = {"contrastive": (queries, texts, *pairs(queries, texts, group, text))}
        if self.symmetric:
            found["reverse"] = (positives, queries, *pairs(positives, queries, text, group))
        return found

    def _searched(self, queries: Tensor, texts: Tensor, right: _Pairs, barred: _Pairs) -> tuple[Tensor, float]:
        """Return the sum over queries and how many have a right text."""
        if self.by == "group":  # a line is in its own group, and so are its copies
            right = _without(right, barred, len(texts))
        share = 1 / torch.bincount(right[0], minlength=len(queries))
        total = queries.new_zeros(())
        for start in range(0, len(queries), CHUNK):
            scores = queries[start : start + CHUNK] @ texts.T / self.temperature
            taken = torch.zeros_like(scores, dtype=torch.bool)
            for pairs in (right, barred):
                a, c = _within(pairs, start)
                taken[a, c] = True
            rivals = scores.masked_fill(taken, _NOTHING).logsumexp(-1)
            a, c = _within(right, start)
            total = total + (F.softplus(rivals[a] - scores[a, c]) * share[a + start]).sum()
        return total, float(len(right[0].unique()))


def _joined(left: Tensor, right: Tensor) -> _Pairs:
    """Return all pairs of positions at which two tensors (n,) and (m,) hold the same value, those of `left` in order."""
    order = torch.argsort(right, stable=True)
    held = right[order]
    first, behind = torch.searchsorted(held, left), torch.searchsorted(held, left, right=True)
    counts = behind - first
    a = torch.arange(len(left), device=left.device).repeat_interleave(counts)
    before = counts.cumsum(0) - counts
    return a, order[torch.arange(len(a), device=left.device) - before[a] + first[a]]


def _without(pairs: _Pairs, others: _Pairs, width: int) -> _Pairs:
    """Return the pairs that are not among the others; width: how many positions the second side has."""
    kept = ~torch.isin(pairs[0] * width + pairs[1], others[0] * width + others[1])
    return pairs[0][kept], pairs[1][kept]


def _within(pairs: _Pairs, start: int) -> _Pairs:
    """Return the pairs of a chunk of the first side, counted from its start."""
    here = (pairs[0] >= start) & (pairs[0] < start + CHUNK)
    return pairs[0][here] - start, pairs[1][here]
