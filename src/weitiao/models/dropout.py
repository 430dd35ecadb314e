"""Dropout at the speed of a CPU.

torch draws CPU dropout masks one Bernoulli variable at a time on one thread: about 8 % of a training step of MiniLM on
SST-2, and 3 % as done here (`benchmarks/profile_step.py`). Here a mask is 16 random bits per value (the probability is met
to 1/65,536 and the scale follows the exact share), from a generator seeded by torch's own: the same
`torch.manual_seed` gives the same masks. On other devices torch's dropout stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Dropout, Module

ATTENTION = "weitiao_cpu_dropout"
"""Name under which transformers knows the attention function with this dropout."""


class CpuDropout(Dropout):
    """torch.nn.Dropout, with masks drawn as above when it is active and its input is on the CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with a share p of its values zero and the rest scaled by 1 / (1 - p)."""
        if not self.training or self.p == 0 or input.device.type != "cpu":
            return super().forward(input)
        return dropout(input, self.p)


def dropout(values: Tensor, p: float) -> Tensor:
    """Return values with a share `p` zeroed and the rest scaled to keep the mean; differentiable. For the CPU."""
    dropped: Tensor = _Dropout.apply(values, p)  # type: ignore[no-untyped-call]
    return dropped


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, p: float) -> Tensor:
        threshold = min(round(p * 65536), 65535)
        seed = int(torch.randint(0, 2**62, ()).item())
        bits = np.random.SFC64(seed).random_raw((values.numel() + 3) // 4).view(np.int16)
        kept = torch.from_numpy(bits)[: values.numel()].view(values.shape) >= threshold - 32768
        ctx.save_for_backward(kept)
        ctx.scale = 65536 / (65536 - threshold)
        return torch.mul(values, kept).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return torch.mul(gradients[0], kept).mul_(ctx.scale), None


def install(model: Module) -> None:
    """Give a model this dropout, in its modules and, where its architecture lets one choose, inside attention.

    A model without dropout, or not on the CPU, is left alone.
    """
    if next(model.parameters()).device.type != "cpu":
        return
    modules = [module for module in model.modules() if type(module) is Dropout and module.p > 0]
    for module in modules:
        module.__class__ = CpuDropout
    config: Any = model.config
    if getattr(config, "_attn_implementation", None) == "sdpa" and modules:
        _register()
        set_attention: Any = model.set_attn_implementation
        set_attention(ATTENTION)


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def _attention(
    module: Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float | None = None, dropout: float = 0.0, **others: Any
) -> tuple[Tensor, None]:
    """Return attention as torch's scaled_dot_product_attention gives it; with active dropout, the three products in plain sight.

    query: (batch, heads, length, width); key, value: perhaps fewer heads. torch takes the same plain path for masked
    attention with dropout. Causal attention without a mask tensor is left to torch.
    """
    causal = others.get("is_causal", getattr(module, "is_causal", False))
    plain_mask = attention_mask is not None and attention_mask.dtype == torch.bool
    if dropout == 0 or query.device.type != "cpu" or not (plain_mask or (attention_mask is None and not causal)):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others)
        return found
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = torch.matmul(query * (scaling if scaling is not None else query.shape[-1] ** -0.5), key.transpose(-1, -2))
    if attention_mask is not None:
        scores = scores.masked_fill(attention_mask.logical_not(), torch.finfo(scores.dtype).min)
    weights = _Dropout.apply(torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype), dropout)  # type: ignore[no-untyped-call]
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), None
