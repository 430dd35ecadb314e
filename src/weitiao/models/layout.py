"""From features to the tensors of one forward: padded to the longest, or packed one behind the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from weitiao.core.contracts import IGNORED, Batch, Features, Layout

FEWEST_SHARED = 8
"""Tokens that rows must begin with alike for it to be worth computing them once."""


def padded(items: Sequence[Features], layout: Layout) -> dict[str, Tensor]:
    """Return input_ids and attention_mask, (rows, longest): padding stands at the end and is masked by position, not by its id.

    token_type_ids come with them where the model has them and a row has two texts.
    """
    inputs = {
        "input_ids": _filled([item.input_ids for item in items], layout.pad_id),
        "attention_mask": _filled([[1] * len(item) for item in items], 0),
    }
    if layout.token_types and any(item.second for item in items):
        inputs["token_type_ids"] = _filled([[0] * item.second + [1] * (len(item) - item.second) if item.second else [0] for item in items], 0)
    return inputs


def packed(items: Sequence[Features], shared: int = 0) -> dict[str, Tensor]:
    """Return input_ids and position_ids, (1, tokens): rows one behind the other, positions counted from 0 in each.

    shared: tokens that all rows begin with; they stand once, before the rows, whose own positions go on behind them.
    """
    return {
        "input_ids": torch.tensor([[*items[0].input_ids[:shared], *(token for item in items for token in item.input_ids[shared:])]]),
        "position_ids": torch.cat([torch.arange(shared), *(torch.arange(shared, len(item)) for item in items)])[None],
    }


def shared_prefix(items: Sequence[Features]) -> int:
    """Return how many tokens all rows begin with, nothing being asked at any of them; 0 where sharing them is not worth it."""
    if len(items) < 2:
        return 0
    first = items[0]
    shared = min(map(len, items)) - 1
    for item in items:
        same = (n for n in range(shared) if item.input_ids[n] != first.input_ids[n] or (item.target is not None and item.target[n] != IGNORED))
        shared = next(same, shared)
    return shared if shared >= FEWEST_SHARED else 0


def token_batch(items: Sequence[Features], layout: Layout) -> Batch:
    """Return a batch whose features ask for one target per position (IGNORED where none): padded or packed as the layout says."""
    rows, tokens = tuple(item.row for item in items), sum(map(len, items))
    asked = all(item.target is not None for item in items)
    if layout.packed:
        shared = shared_prefix(items) if layout.shares else 0
        targets = torch.tensor([[IGNORED] * shared + [target for item in items for target in item.target[shared:]]]) if asked else None
        return Batch(packed(items, shared), targets, rows, tokens, tuple(len(item) - shared for item in items), shared)
    targets = _filled([item.target for item in items], IGNORED) if asked else None
    return Batch(padded(items, layout), targets, rows, tokens)


def decoder_batch(items: Sequence[Features], layout: Layout) -> Batch:
    """Return a batch for an encoder-decoder: the texts, what its decoder has said before each position, and what it is to say there.

    items: text and answer one behind the other, the answer from `second` on, asked for where its tokens stand. Targets are
    (rows, longest answer). What the decoder reads is its answer one place to the right, behind the token that it begins with.
    """
    assert layout.decoder_start is not None
    texts = [item.input_ids[: item.second] for item in items]
    said = [item.target[item.second :] for item in items]
    inputs = {
        "input_ids": _filled(texts, layout.pad_id),
        "attention_mask": _filled([[1] * len(text) for text in texts], 0),
        "decoder_input_ids": _filled([[layout.decoder_start, *answer[:-1]] for answer in said], layout.pad_id),
    }
    return Batch(inputs, _filled(said, IGNORED), tuple(item.row for item in items), sum(map(len, items)))


def lengths(features: Sequence[Features]) -> np.ndarray:
    """Return the tokens of each feature, (n,), without making features that are only made when they are asked for."""
    known = getattr(features, "lengths", None)
    return np.array([len(feature) for feature in features], dtype=np.int64) if known is None else np.asarray(known)


def row_of_each_position(batch: Batch) -> Tensor:
    """Return for each position of the flattened targets the number of its row."""
    ids = batch.inputs["input_ids"] if batch.targets is None else batch.targets
    if batch.lengths is not None:
        own = torch.repeat_interleave(torch.arange(len(batch.lengths)), torch.tensor(batch.lengths))
        return torch.cat([torch.zeros(batch.shared, dtype=own.dtype), own]).to(ids.device)  # nothing is asked at a shared position
    return torch.arange(len(ids), device=ids.device).repeat_interleave(ids.shape[1])


def divided(lengths: Sequence[int], *, most_rows: int, most_tokens: int | None) -> list[slice]:
    """Return consecutive pieces of rows: at most so many rows each and, where a limit is given, so many tokens (a longer row stands alone)."""
    pieces, start, tokens = [], 0, 0
    for n, length in enumerate(lengths):
        if n > start and (n - start == most_rows or (most_tokens is not None and tokens + length > most_tokens)):
            pieces.append(slice(start, n))
            start, tokens = n, 0
        tokens += length
    return [*pieces, slice(start, len(lengths))] if lengths else []


def _filled(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    tensor = torch.full((len(rows), max(map(len, rows))), value, dtype=torch.long)
    for n, row in enumerate(rows):
        tensor[n, : len(row)] = torch.as_tensor(row)
    return tensor
