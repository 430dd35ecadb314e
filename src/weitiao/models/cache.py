"""Keys and values of texts that are being continued, and the attention over them.

Every text has a row, and its tokens stand at the first places of that row, so texts of any length lie side by side
without padding in front. Storage is allocated once and written in place: a step costs what it reads, never a copy of all
that was said. The attention function itself writes the new keys and reads the old: what transformers keeps of its own
accord (`past_key_values`) is not used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from weitiao.models import attention

NAME = "weitiao_continued"
"""Name under which transformers knows the attention function of this file."""
UNKNOWN_MEMORY = 2 * 1024**3
"""Bytes taken to be free where the machine does not tell."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some tokens of a prompt, which go through the model together."""

    row: int
    past: int
    """Tokens of the row that went before."""
    length: int


class Cache:
    """Keys and values of a number of rows, each with the same number of places; layers come into being when first written."""

    def __init__(self, rows: int, places: int) -> None:
        self.rows, self.places = rows, places
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def bytes_of_a_place(self) -> int:
        """Bytes that one token takes, over all layers."""
        return sum(t.shape[1] * t.shape[3] * t.element_size() for pair in self.layers.values() for t in pair)

    def layer(self, number: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the storage of a layer, (rows, heads, places, width) each; key and value, (1, heads, n, width), say what it is like."""
        if number not in self.layers:
            # zeros, not whatever lies there: a place that is not seen has weight 0, and 0 times nan is nan
            self.layers[number] = tuple(t.new_zeros((self.rows, t.shape[1], self.places, t.shape[3])) for t in (key, value))  # type: ignore[assignment]
        return self.layers[number]

    def take(self, source: Cache, source_row: int, row: int, length: int) -> None:
        """Copy the first places of a row of another cache, or of another row of this one."""
        for number, pair in source.layers.items():
            for theirs, ours in zip(pair, self.layer(number, pair[0][:1], pair[1][:1]), strict=True):
                ours[row, :, :length] = theirs[source_row, :, :length]

    def resized(self, rows: int, places: int, lengths: list[int]) -> Cache:
        """Return a cache of another size with the first rows of this one, of which `lengths` places are written."""
        made = Cache(rows, places)
        for row, length in enumerate(lengths):
            made.take(self, row, row, length)
        return made


@dataclass(slots=True)
class Step:
    """What goes through the model at once: one token of each of the first rows, and behind them pieces of prompts."""

    cache: Cache
    lengths: list[int]
    """Tokens that stand in each of the rows 0 to n - 1 already, each of which gets one more."""
    pieces: list[Piece]
    device: torch.device
    _places: Tensor = field(init=False)
    _rows: Tensor = field(init=False)
    _unseen: dict[int | None, tuple[int, Tensor | None]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._places = torch.tensor(self.lengths, dtype=torch.long, device=self.device)
        self._rows = torch.arange(len(self.lengths), device=self.device)

    @property
    def positions(self) -> list[int]:
        """The position of each token in its text."""
        return [*self.lengths, *(place for piece in self.pieces for place in range(piece.past, piece.past + piece.length))]

    def seen(self, window: int | None) -> tuple[int, int, Tensor | None]:
        """Return the first place that any of the rows sees, the one behind the last, and what to add to scores, (n, 1, places)."""
        stop = max(self.lengths) + 1
        if window not in self._unseen:
            first = max(0, min(self.lengths) + 1 - window) if window else 0
            added = None
            if min(self.lengths) + 1 < stop or (window and stop - first > window):
                places = torch.arange(first, stop, device=self.device)
                unseen = places > self._places[:, None]
                if window:
                    unseen |= places <= self._places[:, None] - window
                added = torch.zeros(unseen.shape, device=self.device).masked_fill_(unseen, float("-inf"))[:, None]
            self._unseen[window] = first, added
        first, added = self._unseen[window]
        return first, stop, added

    def write(self, keys: Tensor, values: Tensor, key: Tensor, value: Tensor) -> None:
        """Put new keys and values, (1, heads, tokens, width), into their places."""
        n = len(self.lengths)
        for new, kept in ((key[0], keys), (value[0], values)):
            if n:
                kept[self._rows, :, self._places] = new[:, :n].transpose(0, 1)
            start = n
            for piece in self.pieces:
                kept[piece.row, :, piece.past : piece.past + piece.length] = new[:, start : start + piece.length]
                start += piece.length


def register() -> None:
    """Make the attention function known to transformers."""
    attention.register(NAME, _attention)


def _attention(
    module: Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    continued: Step | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Return attention, (1, tokens, heads, width). query: (1, heads, tokens, width); key, value: perhaps fewer heads."""
    if continued is None:
        raise ValueError("the architecture does not hand its arguments on to the attention function")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    keys, values = continued.cache.layer(int(module.layer_idx), key, value)  # type: ignore[arg-type]
    continued.write(keys, values, key, value)
    n = len(continued.lengths)
    out = query.new_empty((query.shape[2], query.shape[1], value.shape[3]))
    if n:
        first, stop, added = continued.seen(sliding_window)
        out[:n] = _one_each(query[0, :, :n].transpose(0, 1), keys[:n], values[:n], first, stop, added, scale, softcap)
    start = n
    for piece in continued.pieces:
        here = query[0, :, start : start + piece.length]
        seen = slice(max(0, piece.past + 1 - sliding_window) if sliding_window else 0, piece.past + piece.length)
        out[start : start + piece.length] = _piece(here, keys[piece.row, :, seen], values[piece.row, :, seen], scale, sliding_window, softcap)
        start += piece.length
    return out[None], None


def _one_each(query: Tensor, keys: Tensor, values: Tensor, first: int, stop: int, added: Tensor | None, scale: float, softcap: float | None) -> Tensor:
    """Return (rows, heads, width) for one query per row, (rows, heads, width); keys, values: (rows, fewer heads, places, width).

    Heads that share a key are multiplied with it together: it is read once and never repeated.
    """
    rows, groups, _, _ = keys.shape
    scores = torch.bmm(query.reshape(rows * groups, -1, query.shape[2]) * scale, keys.flatten(0, 1)[:, first:stop].transpose(1, 2))
    if softcap:
        scores = scores.div_(softcap).tanh_().mul_(softcap)
    if added is not None:
        scores.view(rows, -1, stop - first).add_(added)
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(values.dtype)
    return torch.bmm(weights, values.flatten(0, 1)[:, first:stop]).view(rows, query.shape[1], -1)


def _piece(query: Tensor, keys: Tensor, values: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
    """Return (length, heads, width) for the last `length` tokens of a row; query: (heads, length, width); keys, values: (fewer heads, places, width)."""
    heads, length, _ = query.shape
    groups, places, _ = keys.shape
    folded = query.reshape(groups, -1, query.shape[2])  # heads that share a key, one behind the other
    seen = torch.ones((length, places), dtype=torch.bool, device=query.device).tril(places - length)
    if window:
        seen = seen.triu(places - length + 1 - window)
    seen = seen.repeat(heads // groups, 1)
    if softcap:
        scores = torch.bmm(folded * scale, keys.transpose(1, 2)).div_(softcap).tanh_().mul_(softcap)
        weights = torch.softmax(scores.masked_fill_(seen.logical_not_(), float("-inf")), -1, dtype=torch.float32).to(values.dtype)
        found = torch.bmm(weights, values)
    else:
        found = F.scaled_dot_product_attention(folded[None], keys[None], values[None], attn_mask=seen[None, None], scale=scale)[0]
    return found.reshape(heads, length, -1).transpose(0, 1)


def free_bytes(device: torch.device) -> int:
    """Return how much memory a device has left."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return UNKNOWN_MEMORY
