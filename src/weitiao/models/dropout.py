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


def install(model: Module) -> bool:
    """Give a model's dropout modules these masks, and tell whether there are any. On other devices than the CPU it is left alone."""
    if next(model.parameters()).device.type != "cpu":
        return False
    modules = [module for module in model.modules() if isinstance(module, CpuDropout) or (type(module) is Dropout and module.p > 0)]
    for module in modules:
        module.__class__ = CpuDropout
    return bool(modules)


def is_random(module: Module) -> bool:
    """Tell whether anything in a module draws at random in its present mode."""
    return any(map(draws, module.modules()))


def draws(part: Module) -> bool:
    """Tell whether a module itself, its parts aside, draws at random in its present mode: a dropout, or an attention that has one of its own."""
    settings = {"dropout": float(part.p)} if isinstance(part, Dropout) else vars(part)
    return part.training and any("drop" in name and isinstance(value, float) and value > 0 for name, value in settings.items())
