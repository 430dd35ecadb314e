"""Whether a model keeps packed documents apart: it is tried, because an architecture's name does not tell."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import Module

from weitiao.core.contracts import Batch
from weitiao.models import attention, readout

CHECKED_WINDOW = 2048
"""Sliding windows up to this many tokens are checked with a longer document; models with wider ones are not packed."""
HALF_TOLERANCE = 5e-2
"""The same in bf16, whose numbers have 8 bits: a document that sees another differs by far more."""


def keeps_documents_apart(model: Module) -> bool:
    """Tell whether packed documents come out of the body as they do alone: tried with documents on both sides of its window."""
    lengths = (5, max(9, _window(model) + 3), 4)
    if not _as_alone(model, lengths, shared=0):
        return False
    device = next(model.parameters()).device
    if device.type != "cuda" or not torch.cuda.is_bf16_supported():
        return True
    with torch.autocast(device.type, dtype=torch.bfloat16):  # where another kernel does it
        return _as_alone(model, lengths, shared=0, tolerance=HALF_TOLERANCE)


def shares_prefix(model: Module) -> bool:
    """Tell whether documents whose common first tokens are computed once come out of the body as they do alone."""
    whole: Any = model.config
    here = next(model.parameters()).device.type == "cpu"
    return here and getattr(whole, "_attn_implementation", None) == attention.NAME and _as_alone(model, (5, max(9, _window(model) + 3), 4), shared=6)


def _window(model: Module) -> int:
    whole: Any = model.config
    config = whole.get_text_config()
    return int(getattr(config, "sliding_window", None) or 0) if getattr(config, "use_sliding_window", True) else 0


def _as_alone(model: Module, lengths: tuple[int, ...], *, shared: int, tolerance: float = attention.TOLERANCE) -> bool:
    whole: Any = model.config
    config = whole.get_text_config()
    if _window(model) > CHECKED_WINDOW or getattr(config, "is_encoder_decoder", False):
        return False
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    most = min(int(config.vocab_size), 1000)
    ids = torch.arange(shared + sum(lengths)).mul_(7919).add_(3).remainder_(most)[None]
    positions = torch.cat([torch.arange(shared), *(torch.arange(shared, shared + n) for n in lengths)])[None]
    try:
        with torch.inference_mode():
            together = Batch({"input_ids": ids, "position_ids": positions}, None, (), ids.numel(), lengths, shared).to(device)
            packed = readout.hidden_states(model, together)[0]
            start = shared
            for length in lengths:
                part = torch.cat([ids[:, :shared], ids[:, start : start + length]], 1)
                single = Batch({"input_ids": part, "attention_mask": torch.ones_like(part)}, None, (), shared + length).to(device)
                alone = readout.hidden_states(model, single)[0]
                found = torch.cat([packed[:shared], packed[start : start + length]])
                if not (found - alone).abs().max() <= tolerance * alone.abs().max():
                    return False
                start += length
        return True
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        return False  # the architecture takes no positions, or hands the documents on to nobody: it is padded instead
    finally:
        model.train(was_training)
