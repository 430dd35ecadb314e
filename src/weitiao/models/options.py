"""Several options for a row, each in a line of its own: from tokens to lines, and from a model to a score for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import IGNORED, Batch, Features, Layout
from weitiao.models import readout
from weitiao.models.layout import padded

ABSENT = float("-inf")
"""Score of an option that a row does not have."""
_FACTS = 3


@dataclass(frozen=True, slots=True)
class Line:
    """The tokens of a question with one of its options."""

    ids: Sequence[int]
    start: int
    """Position from which the option stands."""
    units: int = 0
    """What the log-likelihood of the option is divided by; 0 where a head scores it."""


def feature(row: str, lines: Sequence[Line], target: int | None, cut: int, *, second: int) -> Features:
    """Return lines as one feature: their tokens one behind the other, length, start and units of each as places."""
    places = [fact for line in lines for fact in (len(line.ids), line.start, line.units)]
    return Features(row, [token for line in lines for token in line.ids], target, cut, second=second, places=places)


def batch(items: Sequence[Features], layout: Layout) -> Batch:
    """Return a batch with a line for every option, (lines, longest), which option is right, (n,), and weights where likelihoods score."""
    lines, counts = [], []
    for item in items:
        counts.append(len(item.places) // _FACTS)
        at = 0
        for n in range(counts[-1]):
            length, start, units = item.places[_FACTS * n : _FACTS * (n + 1)]
            lines.append((Features(item.row, item.input_ids[at : at + length], second=item.second), start, units))
            at += length
    inputs = padded([line for line, _, _ in lines], layout)
    weights = None
    if lines[0][2]:
        weights = torch.zeros(inputs["input_ids"].shape)
        for n, (line, start, units) in enumerate(lines):
            weights[n, start - 1 : len(line) - 1] = 1 / units
    targets = torch.tensor([item.target for item in items]) if all(item.target is not None for item in items) else None
    return Batch(inputs, targets, tuple(item.row for item in items), sum(map(len, items)), lines=tuple(counts), weights=weights)


def by_head(model: Module, batch: Batch) -> Tensor:
    """Return the scores of each row's options, (n, most options), ABSENT where a row has fewer: the one output of a text classifier."""
    return _by_row(model(**batch.inputs).logits.float()[:, 0], batch)


def by_likelihood(model: Module, batch: Batch) -> Tensor:
    """Return the scores of each row's options, (n, most options), ABSENT where a row has fewer: weighted log-likelihoods of their tokens."""
    assert batch.weights is not None
    asked = batch.weights != 0
    following = batch.inputs["input_ids"].roll(-1, dims=1).masked_fill(~asked, IGNORED)
    each = readout.each_likelihood(model, Batch(batch.inputs, following, batch.rows, batch.tokens)).float()
    lines = asked.nonzero()[:, 0]
    return _by_row(torch.zeros(len(asked), device=each.device).index_add(0, lines, -each * batch.weights[asked]), batch)


def of_each(values: Tensor, batch: Batch) -> list[Tensor]:
    """Return what belongs to each row of what is said about lines, (lines, ...)."""
    assert batch.lines is not None
    return list(torch.split(values, list(batch.lines)))


def _by_row(scores: Tensor, batch: Batch) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(of_each(scores, batch), batch_first=True, padding_value=ABSENT)
