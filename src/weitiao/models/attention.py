"""Attention that keeps packed documents apart, and draws dropout fast on the CPU.

One function under one name serves every batch of a model, packed or padded: gradient checkpointing runs a layer's forward
again during the backward, when a name that was changed for one batch would long be changed back. Packed batches say where
their documents end through `documents`, a keyword argument that transformers hands on to the attention function.

On the CPU each document is multiplied by itself, in plain products without padding: torch's own attention is slow there in
the backward for short documents. On a CUDA GPU under bf16 torch's kernel for documents of different length (Flash Attention,
Dao, 2023, arXiv:2307.08691) does it; elsewhere transformers' mask from restarting positions does the same work.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import Batch
from weitiao.models import ragged
from weitiao.models.dropout import dropout as cpu_dropout
from weitiao.models.families import POSITIONS_BEHIND_PADDING
from weitiao.models.remembered import remembered

NAME = "weitiao"
"""Name under which transformers knows the attention function of this file."""
KEPT_UP_TO = 512
"""Tokens of a document up to which attention weights are kept for the backward; those of longer ones are computed again."""
BLOCK = 128
"""Queries of a long document that are multiplied at a time with the keys they see."""
HALF = (torch.bfloat16, torch.float16)
"""What Flash Attention multiplies in."""
FLASH_FROM = (8, 0)
"""Compute capability from which on torch has Flash Attention (Ampere)."""
TOLERANCE = 1e-4
"""Largest difference, relative to the largest hidden state, between documents packed and apart (fp32)."""


def install(model: Module) -> bool:
    """Give a model on a CPU or a CUDA GPU this attention where its architecture lets one choose and nothing else changes; tell whether it did."""
    chooser: Any = model
    before = getattr(chooser.config, "_attn_implementation", None)
    if next(model.parameters()).device.type not in ("cpu", "cuda") or before not in ("sdpa", "eager") or has_relative_positions(model):
        return bool(before == NAME)
    register(NAME, attend)
    expected = _said(model)
    try:
        chooser.set_attn_implementation(NAME)
        found = _said(model)
        same = expected is not None and found is not None and bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())
    except (ValueError, KeyError):  # the architecture has its own attention only
        same = False
    if not same:
        chooser.set_attn_implementation(before)
    return same


def _said(model: Module) -> Tensor | None:
    """Return what the model says about a few tokens, some of them padding; None where it cannot be asked so."""
    any_model: Any = model
    was_training = model.training
    device = next(model.parameters()).device
    ids = torch.arange(3, 15, device=device)[None].remainder(int(any_model.config.get_text_config().vocab_size)).repeat(2, 1)
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if any_model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids.flip(1)
    model.eval()
    try:
        with torch.inference_mode():
            found = any_model(**inputs)
            said: Tensor = next(found[name] for name in ("logits", "start_logits", "last_hidden_state") if name in found)
            of_tokens = said.ndim == 3 or "start_logits" in found
            return torch.cat([said[0].flatten(), said[1, :7].flatten()]) if of_tokens else said.flatten()
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, StopIteration):
        return None
    finally:
        model.train(was_training)


def arguments(model: Module, batch: Batch) -> dict[str, Any]:
    """Return what a packed batch's forward needs besides its tensors."""
    config: Any = model.config
    if batch.lengths is None:
        return {}
    more: dict[str, Any] = {}
    if config.model_type in POSITIONS_BEHIND_PADDING:
        more["position_ids"] = batch.inputs["position_ids"] + (config.pad_token_id or 0) + 1
    if config._attn_implementation != NAME or not _documents_are_told(batch.inputs["input_ids"].device):
        return more
    # a mask of four dimensions is handed on as it is, so no mask of tokens x tokens is built
    unused = torch.zeros((1, 1, 1, 1), dtype=torch.bool, device=batch.inputs["input_ids"].device)
    return {**more, "documents": batch.lengths, "shared": batch.shared, "attention_mask": unused}


def _documents_are_told(device: torch.device) -> bool:
    """Tell whether the function below gets the documents of a pack, rather than a mask of tokens x tokens from transformers."""
    if device.type == "cpu":
        return True
    half = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) in HALF
    return half and torch.cuda.get_device_capability(device) >= FLASH_FROM


# ------------------------------------------------------------ the function


def register(name: str, function: Callable[..., tuple[Tensor, None]]) -> None:
    """Make an attention function known to transformers; it gets masks as torch's own attention does."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, sdpa_mask)


def attend(
    module: Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    documents: tuple[int, ...] | None = None,
    shared: int = 0,
    **others: Any,
) -> tuple[Tensor, None]:
    """Return attention, (batch, length, heads, width).

    query: (batch, heads, length, width); key, value: perhaps fewer heads. documents: lengths of packed documents; shared:
    tokens before them that every one of them begins with.
    """
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    causal = others.get("is_causal")
    causal = bool(getattr(module, "is_causal", False) if causal is None else causal)
    if documents is not None:
        if shared and (dropout or softcap):
            raise ValueError("a shared prefix under dropout or a soft cap")
        short = not causal and not shared and query.device.type == "cpu" and max(documents) <= KEPT_UP_TO
        if dropout or softcap or short:
            return _padded(query, key, value, documents, scale, dropout, sliding_window, softcap, causal), None
        if query.device.type == "cuda":
            return _flash(query, key, value, documents, scale, sliding_window, causal), None
        packed: Tensor = _Packed.apply(query[0], key[0], value[0], documents, shared, scale, sliding_window, causal)  # type: ignore[no-untyped-call]
        return packed[None], None
    whole = attention_mask is None and not (causal and query.shape[2] > 1)
    masked = attention_mask is not None and attention_mask.dtype == torch.bool
    if (softcap or (dropout and query.device.type == "cpu")) and (whole or masked or softcap):
        mask = attention_mask
        if mask is None and causal and query.shape[2] > 1:
            mask = visible(query.shape[2], sliding_window, True, query.device)
        return _plain(query, key, value, mask, scale, dropout, softcap), None
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others)
    return found


def _flash(query: Tensor, key: Tensor, value: Tensor, documents: tuple[int, ...], scale: float, window: int | None, causal: bool) -> Tensor:
    """Return attention inside each document by torch's kernel. query: (1, heads, tokens, width), in bf16 under autocast."""
    from torch.nn.attention.varlen import varlen_attn

    dtype = torch.get_autocast_dtype("cuda")
    groups = query.shape[1] // key.shape[1]
    q, k, v = (tensor[0].transpose(0, 1).to(dtype) for tensor in (query, key, value))  # (tokens, heads, width)
    if groups > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    ends = _ends(documents, query.device)
    left, right = (window - 1 if window else -1, 0) if causal else (window // 2, window // 2) if window else (-1, -1)
    found = varlen_attn(q, k, v, ends, ends, max(documents), max(documents), scale=scale, window_size=(left, right))
    assert isinstance(found, Tensor)  # and not with the logarithms that nobody asked for
    return found[None]


@remembered(8)
def _ends(documents: tuple[int, ...], device: torch.device) -> Tensor:
    """Return where documents begin and the last one ends, kept: every layer of a step asks for the same."""
    return torch.tensor([0, *itertools.accumulate(documents)], dtype=torch.int32).to(device)


def _padded(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    documents: tuple[int, ...],
    scale: float,
    dropout: float,
    window: int | None,
    softcap: float | None,
    causal: bool,
) -> Tensor:
    """Return attention inside each document, those of like length multiplied together: here alone they are padded."""
    tokens = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]  # (tokens, heads, width)
    found = []
    for piece in ragged.pieces(documents):
        q, k, v = (piece.padded(tensor).transpose(1, 2) for tensor in tokens)
        found.append(piece.unpadded(_plain(q, k, v, _seen_in(piece, window, causal, query.device), scale, dropout, softcap)))
    return torch.cat(found)[None]


@remembered(64)
def _seen_in(piece: ragged.Piece, window: int | None, causal: bool, device: torch.device) -> Tensor | None:
    """Return which keys the queries of a piece see, (rows, 1, longest or 1, longest); None where all, kept for the other layers of a step."""
    mask = None if piece.is_even else ragged.is_token(piece.lengths, device)[:, None, None]
    if not causal and not window:
        return mask
    here = visible(piece.longest, window, causal, device)[None, None]
    return here if mask is None else mask & here


def _plain(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, dropout: float, softcap: float | None) -> Tensor:
    """Return attention as three products in plain sight. mask: true where a key is seen."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = torch.matmul(query * scale, key.transpose(-1, -2))
    if softcap:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores.masked_fill(mask.logical_not(), torch.finfo(scores.dtype).min) if mask.dtype == torch.bool else scores + mask
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype)
    if dropout:
        weights = cpu_dropout(weights, dropout) if weights.device.type == "cpu" else torch.nn.functional.dropout(weights, dropout)
    return torch.matmul(weights, value).transpose(1, 2).contiguous()


def visible(length: int, window: int | None, causal: bool, device: torch.device) -> Tensor:
    """Return (length, length), true where a position (row) sees another (column)."""
    seen = torch.ones((length, length), dtype=torch.bool, device=device)
    if causal:
        seen = seen.tril()
        if window:
            seen = seen.triu(1 - window)
    elif window:
        seen = seen.tril(window // 2).triu(-(window // 2))
    return seen


@functools.lru_cache(maxsize=256)
def _pieces(length: int, shared: int, window: int | None, causal: bool) -> tuple[tuple[int, int, int, int], ...]:
    """Return a document's queries in blocks, each with the keys that it sees: (first query, end, first key, end).

    Keys are counted from the first shared one, queries from the first of the document. What a causal block cannot see is
    not multiplied: half of all for a long document.
    """
    if not causal:
        return ((0, length, 0, shared + length),)
    ends = [*range(BLOCK, length - BLOCK // 2, BLOCK), length]
    starts = [0, *ends[:-1]]
    return tuple((a, b, max(0, shared + a - window + 1) if window else 0, shared + b) for a, b in zip(starts, ends, strict=True))


@remembered(256)
def _unseen(queries: tuple[int, int], keys: tuple[int, int], shared: int, window: int | None, causal: bool, device: torch.device) -> Tensor | None:
    """Return (queries, keys), true where a key is not seen, kept: every layer of a step asks for the same few."""
    at = torch.arange(queries[0] + shared, queries[1] + shared, device=device)[:, None]
    key = torch.arange(*keys, device=device)[None]
    if causal:
        return (key > at) | (key <= at - window) if window else key > at
    return ((key - at).abs() > window // 2) if window else None


class _Packed(torch.autograd.Function):
    """Attention inside each document, which may begin with tokens that all share; no padding, no mask over other documents, no copies of shared keys."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, documents: tuple[int, ...], shared: int, scale: float, window: int | None, causal: bool
    ) -> Tensor:
        """query: (heads, tokens, width); key, value: (groups, tokens, width). Returns (tokens, heads, width)."""
        with torch.autocast(query.device.type, enabled=False):
            key, value = key.to(query.dtype), value.to(query.dtype)
            out = query.new_empty((query.shape[1], query.shape[0], query.shape[2]))
            kept = []
            for start, length, before in _documents(documents, shared):
                k, v = _seen(key, start, length, before), _seen(value, start, length, before)
                for a, b, low, high in _pieces(length, before, window, causal):
                    q = _part(query, key, start + a, b - a)
                    weights = _weights(q, k[:, low:high], scale, _unseen((a, b), (low, high), before, window, causal, q.device))
                    out[start + a : start + b] = _heads_last(torch.bmm(weights, v[:, low:high]), b - a)
                    kept.append(weights if length <= KEPT_UP_TO else None)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.settings = documents, shared, scale, window, causal
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        documents, shared, scale, window, causal = ctx.settings
        groups = query.shape[0] // key.shape[0]
        d_query, d_key, d_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        left = iter(kept)
        with torch.autocast(query.device.type, enabled=False):
            for start, length, before in _documents(documents, shared):
                k, v = _seen(key, start, length, before), _seen(value, start, length, before)
                d_k, d_v = (torch.zeros_like(k), torch.zeros_like(v)) if before else (d_key[:, start : start + length], d_value[:, start : start + length])
                for a, b, low, high in _pieces(length, before, window, causal):
                    here = slice(start + a, start + b)
                    q, weights = _part(query, key, start + a, b - a), next(left)
                    if weights is None:
                        weights = _weights(q, k[:, low:high], scale, _unseen((a, b), (low, high), before, window, causal, q.device))
                    # (length, heads, width) -> (groups, heads of a group x length, width)
                    d_out = gradients[0][here].to(query.dtype).transpose(0, 1).reshape(key.shape[0], groups * (b - a), -1)
                    d_v[:, low:high] += torch.bmm(weights.transpose(1, 2), d_out)
                    d_scores = torch.bmm(d_out, v[:, low:high].transpose(1, 2))
                    d_scores -= (d_scores * weights).sum(-1, keepdim=True)
                    d_scores *= weights
                    d_query[:, here] = torch.bmm(d_scores, k[:, low:high]).mul_(scale).view(query.shape[0], b - a, -1)
                    d_k[:, low:high] += torch.bmm(d_scores.transpose(1, 2), q).mul_(scale)
                if before:
                    for whole, part in ((d_key, d_k), (d_value, d_v)):
                        whole[:, :before] += part[:, :before]
                        whole[:, start : start + length] += part[:, before:]
        return d_query, d_key, d_value, None, None, None, None, None


def _documents(documents: tuple[int, ...], shared: int) -> Iterator[tuple[int, int, int]]:
    """Yield where each document starts, its own tokens, and the shared tokens that it begins with; the shared tokens come first, as a document of their own."""
    start = shared
    if shared:
        yield 0, shared, 0
    for length in documents:
        yield start, length, shared
        start += length


def _seen(tensor: Tensor, start: int, length: int, shared: int) -> Tensor:
    own = tensor[:, start : start + length]
    return torch.cat([tensor[:, :shared], own], 1) if shared else own


def _part(query: Tensor, key: Tensor, start: int, length: int) -> Tensor:
    """Return some queries, those of the heads that share a key one behind the other: (groups, heads of a group x length, width)."""
    return query[:, start : start + length].reshape(key.shape[0], -1, query.shape[2])


def _weights(q: Tensor, k: Tensor, scale: float, unseen: Tensor | None) -> Tensor:
    scores = torch.bmm(q, k.transpose(1, 2)).mul_(scale)
    if unseen is not None:
        scores.view(k.shape[0], -1, *unseen.shape).masked_fill_(unseen, float("-inf"))
    return torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype)


def _heads_last(out: Tensor, length: int) -> Tensor:
    """(groups, heads of a group x length, width) -> (length, heads, width)."""
    return out.view(-1, length, out.shape[-1]).transpose(0, 1)


def has_relative_positions(model: Module) -> bool:
    """Tell whether attention adds a bias of its own for relative positions (T5, DeBERTa): this function would not know it."""
    return any("relative_attention_bias" in name or "rel_embeddings" in name for name, _ in model.named_parameters())
