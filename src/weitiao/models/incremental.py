"""A model's forward over texts at different places: its own layers, our cache, and logits only where a text goes on.

Whether an architecture can be called so is not looked up but tried: two texts go through in pieces, side by side, and the
logits must be those of the plain forward.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from weitiao.models import cache
from weitiao.models.cache import Cache, Piece, Step

CHECKED_WINDOW = 2048
"""Sliding windows up to this many tokens are tried with a longer text; a model with a wider one is trusted up to its window."""
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
"""Largest difference from the plain forward's logits, relative to the largest logit."""
NARROW_TOLERANCE = 5e-2
"""The same for bf16 and fp16, where the order of a sum changes its third digit."""
_KEPT = "_weitiao_incremental"


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found out about a model."""

    reach: int
    """Tokens a text may have so that our forward is known to say what the plain one does; 0 where it does not."""
    bytes_of_a_place: int = 0
    """Memory that the keys and values of one token take."""


@torch.inference_mode()
def logits(model: Module, ids: Sequence[int], step: Step, wanted: Sequence[int]) -> Tensor:
    """Return (len(wanted), vocabulary) in fp32: the logits behind some of the tokens of a step, for a model in `continuing`."""
    device = step.device
    found = model(
        input_ids=torch.tensor([list(ids)], device=device),
        position_ids=torch.tensor([step.positions], device=device),
        # a mask of four dimensions is handed on as it is, so none is built
        attention_mask=torch.zeros((1, 1, 1, 1), dtype=torch.bool, device=device),
        use_cache=False,
        logits_to_keep=torch.tensor(list(wanted), dtype=torch.long, device=device),
        continued=step,
    ).logits[0]
    return found.float()  # type: ignore[no-any-return]


@contextlib.contextmanager
def continuing(model: Module) -> Iterator[None]:
    """Give a model the attention over our cache, and take it away again."""
    any_model: Any = model
    before = any_model.config._attn_implementation
    cache.register()
    any_model.set_attn_implementation(cache.NAME)
    try:
        yield
    finally:
        any_model.set_attn_implementation(before)


def proof(model: Module) -> Proof:
    """Return whether and how far our forward says what the model's own does: tried once, and again where the model was changed."""
    # an adapter or a prompt that was put on the model since may change what holds for it
    now = hash(tuple((type(module), len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()))
    if not hasattr(model, _KEPT) or getattr(model, _KEPT)[0] != now:
        object.__setattr__(model, _KEPT, (now, _checked(model)))
    found: Proof = getattr(model, _KEPT)[1]
    return found


def _checked(model: Any) -> Proof:
    if getattr(model.config, "is_encoder_decoder", False):
        return Proof(0)
    config = model.config.get_text_config()
    if not set(getattr(config, "layer_types", None) or ()) <= {"full_attention", "sliding_attention"}:
        return Proof(0)
    window = int(getattr(config, "sliding_window", None) or 0) if getattr(config, "use_sliding_window", True) else 0
    limits = [sys.maxsize, *([window] if window > CHECKED_WINDOW else [])]
    rotary = getattr(config, "rope_parameters", None) or {}
    for one in (rotary, *(each for each in rotary.values() if isinstance(each, dict))):
        if one.get("rope_type") in ("dynamic", "longrope"):  # frequencies that depend on the longest text of a batch
            limits.append(int(one.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None) or 0))
    longer = max(12, window + 4 if window <= CHECKED_WINDOW else 0)
    longer = min(longer, int(getattr(config, "max_position_embeddings", None) or longer))
    kept = Cache(2, longer)
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        ids = torch.arange(longer + 8).mul_(7919).add_(3).remainder_(min(int(config.vocab_size), 1000)).tolist()
        return Proof(min(limits), kept.bytes_of_a_place) if _same(model, kept, ids[:longer], ids[longer:], device) else Proof(0)
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, KeyError):
        return Proof(0)  # the architecture takes no positions, or has an attention of its own
    finally:
        model.train(was_training)


def _same(model: Any, kept: Cache, one: list[int], two: list[int], device: torch.device) -> bool:
    """Tell whether two texts, in pieces and then token by token, get the logits of the plain forward."""
    with torch.inference_mode():
        plain = [model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0].float() for ids in (one, two)]
    half, a, b = len(one) // 2, len(one) - 3, len(two) - 3
    steps = [
        (one[:half], [], [Piece(0, 0, half)], [(0, half - 1)]),
        ([*one[half:a], *two[:b]], [], [Piece(0, half, a - half), Piece(1, 0, b)], [(0, a - 1), (1, b - 1)]),
        ([one[a], two[b]], [a, b], [], [(0, a), (1, b)]),
        ([one[a + 1], *two[b + 1 :]], [a + 1], [Piece(1, b + 1, 2)], [(0, a + 1), (1, b + 2)]),
    ]
    with continuing(model):
        for ids, lengths, pieces, expected in steps:
            step = Step(kept, lengths, pieces, device)
            ends = list(range(len(lengths)))
            for piece in pieces:
                ends.append((ends[-1] if ends else -1) + piece.length)
            found = logits(model, ids, step, ends)
            wanted = torch.stack([plain[text][place] for text, place in expected])
            tolerance = TOLERANCE.get(next(model.parameters()).dtype, NARROW_TOLERANCE)
            if found.shape != wanted.shape or not (found - wanted).abs().max() <= tolerance * wanted.abs().max():
                return False
    return True
