"""A frozen linear layer and its low-rank update as one product.

PEFT computes the update beside the layer, scales it and adds it: four passes over activations as wide as the layer,
forward and backward, which on a CPU cost as much as a sixth of a step. Here both are accumulated into one result. PEFT's
own forward stays in charge wherever anything is unusual: dropout, DoRA, several adapters, merged or switched off ones.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor
from torch.nn import Linear, Module

ROWS_PER_OUTPUT = 0.5
"""From so many rows for each output on, adding the update to the weight costs less than adding it to what comes out."""


class LowRankLinear(LoraLinear):  # type: ignore[misc]
    """PEFT's LoRA layer with another forward."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return x W' + b + scaling (x A') B'; x: (..., in). Returns (..., out)."""
        name = self._alone(x, args, kwargs)
        if name is None:
            result: Tensor = super().forward(x, *args, **kwargs)
            return result
        base, down, up = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        with torch.autocast(kind, enabled=False):
            found: Tensor = _LowRank.apply(x, base.weight, base.bias, down, up, self.scaling[name], dtype)  # type: ignore[no-untyped-call]
        return found

    def _alone(self, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """Return the name of the one adapter if nothing about this call is unusual."""
        names = self.active_adapters
        if args or kwargs or len(names) != 1 or self.merged or self.disable_adapters:
            return None
        name: str = names[0]
        base = self.base_layer
        if name not in self.lora_A or name in self.lora_variant or type(base) is not Linear or base.weight.requires_grad:
            return None
        dropout = self.lora_dropout[name]
        if self.training and getattr(dropout, "p", 0.0):
            return None
        down, up = self.lora_A[name], self.lora_B[name]
        plain = down.bias is None and up.bias is None and (base.bias is None or not base.bias.requires_grad)
        alike = torch.is_autocast_enabled(x.device.type) or x.dtype == base.weight.dtype == down.weight.dtype == up.weight.dtype
        return name if plain and alike else None


def install(model: Module) -> None:
    """Give the LoRA layers of a model this forward; their parameters and names stay."""
    for module in model.modules():
        if type(module) is LoraLinear:
            module.__class__ = LowRankLinear


class _LowRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float, dtype: torch.dtype) -> Tensor:
        ctx.dtypes = x.dtype, down.dtype, up.dtype
        rows = x.reshape(-1, x.shape[-1]).to(dtype)
        weight, down, up, bias = weight.to(dtype), down.to(dtype), up.to(dtype), None if bias is None else bias.to(dtype)
        if dtype == torch.float32 and len(rows) > ROWS_PER_OUTPUT * weight.shape[0]:
            # the update is added to the weight, not to the activations: a pass over the smaller of the two
            out = F.linear(rows, torch.addmm(weight, up, down, alpha=scaling), bias)
        else:
            out = F.linear(rows, weight, bias).addmm_(rows @ down.t(), up.t(), alpha=scaling)
        ctx.narrow = ctx.needs_input_grad[4] and not ctx.needs_input_grad[3]  # where only `up` trains, the backward needs of the rows what is r wide
        ctx.save_for_backward(rows @ down.t() if ctx.narrow else rows, weight, down, up)
        ctx.scaling, ctx.shape = scaling, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, down, up = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, weight.shape[0]).to(weight.dtype)
        of_x, of_down, of_up = ctx.dtypes
        d_narrow = (gradient @ up).mul_(ctx.scaling)
        d_up = (gradient.t() @ (rows if ctx.narrow else rows @ down.t())).mul_(ctx.scaling).to(of_up) if ctx.needs_input_grad[4] else None
        d_down = (d_narrow.t() @ rows).to(of_down) if ctx.needs_input_grad[3] else None
        d_x = (gradient @ weight).addmm_(d_narrow, down).view(ctx.shape).to(of_x) if ctx.needs_input_grad[0] else None
        return d_x, None, None, d_down, d_up, None, None
