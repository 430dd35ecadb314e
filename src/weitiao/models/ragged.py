"""Rows of different length, with padding between them and without."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weitiao.models.remembered import remembered

PIECE_COST = 3000
"""Products of a query and a key that one more piece must save: about what its dozens of small operations take on a CPU."""


@dataclass(frozen=True)
class Piece:
    """Some rows that stand one behind the other, of like length."""

    start: int
    """Tokens before the first of them."""
    lengths: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens of all its rows."""
        return sum(self.lengths)

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(self.lengths)

    @property
    def is_even(self) -> bool:
        """Whether its rows are equally long, so that nothing is padded."""
        return min(self.lengths) == self.longest

    def padded(self, values: Tensor) -> Tensor:
        """Return the rows of this piece, (rows, longest, ...), from the tokens of all, (tokens, ...)."""
        own = values[self.start : self.start + self.tokens]
        if not self.is_even:
            own = spread(own, places(self.lengths, values.device), len(self.lengths) * self.longest)
        return own.reshape(len(self.lengths), self.longest, *values.shape[1:])

    def unpadded(self, values: Tensor) -> Tensor:
        """Return the tokens of this piece, (tokens, ...), from its rows, (rows, longest, ...)."""
        flat = values.flatten(0, 1)
        return flat if self.is_even else gather(flat, places(self.lengths, values.device))


def alike(sizes: np.ndarray, *, most_rows: int, cost: float) -> list[slice]:
    """Return consecutive pieces of rows of which the padded sizes and the cost of the pieces are the least together.

    sizes: of each row, (n,); a row of a piece has the size of its largest. Rows that are sorted make the fewest pieces.
    """
    best, cuts = np.zeros(len(sizes) + 1), np.zeros(len(sizes) + 1, dtype=int)
    for end in range(1, len(sizes) + 1):
        first = max(0, end - most_rows)
        largest = np.maximum.accumulate(sizes[first:end][::-1])[::-1]
        costs = best[first:end] + (end - np.arange(first, end)) * largest + float(cost)
        at = int(np.argmin(costs))
        best[end], cuts[end] = costs[at], first + at
    found, end = list[slice](), len(sizes)
    while end:
        found.append(slice(int(cuts[end]), end))
        end = int(cuts[end])
    return found[::-1]


@functools.lru_cache(maxsize=64)
def pieces(lengths: tuple[int, ...]) -> tuple[Piece, ...]:
    """Return rows in pieces of like length, in which what is as large as the square of a length is padded little."""
    starts = [0, *itertools.accumulate(lengths)]
    squares = np.array(lengths, dtype=np.int64) ** 2
    return tuple(Piece(starts[piece.start], lengths[piece]) for piece in alike(squares, most_rows=len(lengths), cost=PIECE_COST))


@remembered(64)
def places(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """Return where the tokens of rows stand when all are padded to the longest, (tokens,)."""
    longest = max(lengths)
    return torch.cat([torch.arange(n * longest, n * longest + length) for n, length in enumerate(lengths)]).to(device)


@remembered(64)
def is_token(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """Return (rows, longest), true where a token stands and not padding."""
    return (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).to(device)


def spread(values: Tensor, at: Tensor, size: int) -> Tensor:
    """Return values (n, ...) at their places among `size`, zeros elsewhere."""
    found: Tensor = _Spread.apply(values, at, size)  # type: ignore[no-untyped-call]
    return found


def gather(values: Tensor, at: Tensor) -> Tensor:
    """Return the values at these places, each asked for once: the way back of `spread`."""
    found: Tensor = _Gather.apply(values, at)  # type: ignore[no-untyped-call]
    return found


def _put(values: Tensor, at: Tensor, size: int) -> Tensor:
    return values.new_zeros((size, *values.shape[1:])).index_copy_(0, at, values)


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, at: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(at)
        return _put(values, at, size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (at,) = ctx.saved_tensors
        return gradients[0].index_select(0, at), None, None


class _Gather(torch.autograd.Function):
    """torch's own gather adds up its gradient token by token, because a place may be asked for twice."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, at: Tensor) -> Tensor:
        ctx.save_for_backward(at)
        ctx.size = len(values)
        return values.index_select(0, at)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (at,) = ctx.saved_tensors
        return _put(gradients[0], at, ctx.size), None
