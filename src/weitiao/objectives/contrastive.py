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
class _Search:
    """Which lines search, among which they do, which pairs of them are right, and which are neither right nor wrong."""

    queries: Tensor
    texts: Tensor
    right: _Pairs
    barred: _Pairs

    @property
    def count(self) -> float:
        """How many lines have something to find."""
        return float((torch.bincount(self.right[0]) > 0).sum())


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
        return {name: search.count for name, search in self._searches(batch.targets).items()}

    def __call__(self, model: Module, batch: Batch) -> Loss:
        """Return the loss of a batch that is the whole step."""
        assert batch.targets is not None
        return self.joint(self.states(model, batch), batch.targets)

    def states(self, model: Module, batch: Batch) -> Tensor:
        """Return the vectors of lines, (lines, width)."""
        return self.forward(model, batch)

    def joint(self, states: Tensor, targets: Tensor) -> Loss:
        """Return the loss of vectors (lines, width) in fp32; targets: (lines, 3)."""
        searches = self._searches(targets)
        with torch.autocast(states.device.type, enabled=False):
            sums = {name: self._cost(states[search.queries], states[search.texts], search) for name, search in searches.items()}
        return Loss({name: Term(total, searches[name].count, 1 / len(sums)) for name, total in sums.items()})

    def _searches(self, targets: Tensor) -> dict[str, _Search]:
        role, text, group = targets.T.contiguous()
        if self.by == "group":
            return {"contrastive": _among_all(text, group)}
        found = {"contrastive": _there(role, text, group)}
        return {**found, "reverse": _back(role, text, group)} if self.symmetric else found

    def _cost(self, queries: Tensor, texts: Tensor, search: _Search) -> Tensor:
        """Return the sum over queries of log(1 + sum over wrong texts of exp(score - score of the right one))."""
        share = 1 / torch.bincount(search.right[0], minlength=len(queries))
        total = queries.new_zeros(())
        for start in range(0, len(queries), CHUNK):
            scores = queries[start : start + CHUNK] @ texts.T / self.temperature
            taken = torch.zeros_like(scores, dtype=torch.bool)
            for pairs in (search.right, search.barred):
                taken[_within(pairs, start)] = True
            rivals = scores.masked_fill(taken, _NOTHING).logsumexp(-1)
            query, text = _within(search.right, start)
            total = total + (F.softplus(rivals[query] - scores[query, text]) * share[query + start]).sum()
        return total


def _among_all(text: Tensor, group: Tensor) -> _Search:
    """Each line searches all others for those of its group; copies of itself are left out."""
    every, copies = torch.arange(len(text), device=text.device), _joined(text, text)
    return _Search(every, every, _without(_joined(group, group), copies, len(text)), copies)


def _there(role: Tensor, text: Tensor, group: Tensor) -> _Search:
    """Each query searches all positives and negatives for its own positives."""
    row, queries, texts, positives = (role == QUERY).cumsum(0), _where(role == QUERY), _where(role != QUERY), _where(role == POSITIVE)
    query, found = _joined(row[queries], row[texts])
    right = role[texts[found]] == POSITIVE
    known = _chained(_joined(group[queries], group[positives]), text[positives], text[texts])
    return _Search(queries, texts, (query[right], found[right]), _together(known, _joined(text[queries], text[texts])))


def _back(role: Tensor, text: Tensor, group: Tensor) -> _Search:
    """Each positive searches all queries for its own."""
    row, queries, positives = (role == QUERY).cumsum(0), _where(role == QUERY), _where(role == POSITIVE)
    known = _chained(_joined(text[positives], text[positives]), group[positives], group[queries])
    return _Search(positives, queries, _joined(row[positives], row[queries]), _together(known, _joined(text[positives], text[queries])))


def _joined(left: Tensor, right: Tensor) -> _Pairs:
    """Return all pairs of positions at which two tensors (n,) and (m,) hold the same value, those of `left` in order."""
    order = torch.argsort(right, stable=True)
    held = right[order]
    first, behind = torch.searchsorted(held, left), torch.searchsorted(held, left, right=True)
    counts = behind - first
    a = torch.arange(len(left), device=left.device).repeat_interleave(counts)
    before = counts.cumsum(0) - counts
    return a, order[torch.arange(len(a), device=left.device) - before[a] + first[a]]


def _chained(pairs: _Pairs, middle: Tensor, right: Tensor) -> _Pairs:
    """Return the pairs (a, c) for which there is a b with (a, b) among the pairs and middle[b] == right[c]."""
    n, c = _joined(middle[pairs[1]], right)
    return pairs[0][n], c


def _together(*several: _Pairs) -> _Pairs:
    return torch.cat([pairs[0] for pairs in several]), torch.cat([pairs[1] for pairs in several])


def _where(flags: Tensor) -> Tensor:
    return flags.nonzero()[:, 0]


def _without(pairs: _Pairs, others: _Pairs, width: int) -> _Pairs:
    """Return the pairs that are not among the others; width: how many positions the second side has."""
    kept = ~torch.isin(pairs[0] * width + pairs[1], others[0] * width + others[1])
    return pairs[0][kept], pairs[1][kept]


def _within(pairs: _Pairs, start: int) -> _Pairs:
    """Return the pairs of a chunk of the first side, counted from its start."""
    here = (pairs[0] >= start) & (pairs[0] < start + CHUNK)
    return pairs[0][here] - start, pairs[1][here]
