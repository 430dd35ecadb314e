"""Entries of a tensor that train while the rest of it stays: they are a parameter of their own, woven into the tensor in every forward.

Gradients reach the optimizer for these entries alone, so its state is as small as they are few. Names and modules stay what
they were: a module whose weight is woven has one more parameter, `weight_part`, and `module.weight` is the tensor with it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter

_PART, _AT, _AXIS = "_part", "_part_at", "_part_axis"


@dataclass(frozen=True)
class Part:
    """Which entries of a tensor train."""

    at: Tensor
    """Ascending whole numbers: places along the axis, or in the flat tensor."""
    axis: int | None
    """0 for rows, 1 for columns; None for places in the flat tensor."""

    def covers(self, tensor: Tensor) -> bool:
        """Tell whether that is the whole tensor."""
        return len(self.at) == (tensor.numel() if self.axis is None else tensor.shape[self.axis])


def weave(model: Module, parts: Mapping[str, Part]) -> set[str]:
    """Let parts of parameters train; return the names of what trains now: of whole parameters where a part is all of one.

    parts: name of a parameter -> its entries. Nothing of the model changes before the first step.
    """
    names = set()
    for name, part in parts.items():
        path, _, leaf = name.rpartition(".")
        module: Any = model.get_submodule(path)
        whole: Parameter = module._parameters[leaf]
        if part.covers(whole):
            names.add(name)
            continue
        at = part.at.to(whole.device)
        values = entries(whole.detach(), at, part.axis).clone()
        module.register_parameter(leaf + _PART, Parameter(values))
        module.register_buffer(leaf + _AT, at, persistent=False)
        setattr(module, leaf + _AXIS, part.axis)
        kind: Any = type(module)
        module.__class__ = _with_woven(kind, leaf)
        names.add(f"{name}{_PART}")
    return names


def of_parameter(model: Module, name: str) -> tuple[str, Part] | None:
    """Return the name of the tensor that a parameter is woven into, and where; None for any other parameter."""
    if not name.endswith(_PART):
        return None
    path, _, leaf = name.removesuffix(_PART).rpartition(".")
    module = model.get_submodule(path)
    if leaf + _AT not in module._buffers:
        return None
    at = module._buffers[leaf + _AT]
    assert at is not None
    return name.removesuffix(_PART), Part(at, getattr(module, leaf + _AXIS))


@functools.cache
def _with_woven(kind: Any, leaf: str) -> Any:
    def woven(self: Any) -> Tensor:
        own = self._parameters
        found: Tensor = _Woven.apply(own[leaf], own[leaf + _PART], self._buffers[leaf + _AT], getattr(self, leaf + _AXIS))  # type: ignore[no-untyped-call]
        return found

    return type(kind.__name__, (kind,), {leaf: property(woven), "__module__": kind.__module__})


def entries(tensor: Tensor, at: Tensor, axis: int | None) -> Tensor:
    """Return the entries of a tensor at places along an axis, (..., places, ...), or in the flat tensor, (places,)."""
    return tensor.reshape(-1)[at] if axis is None else tensor.index_select(axis, at)


class _Woven(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor, values: Tensor, at: Tensor, axis: int | None) -> Tensor:
        ctx.save_for_backward(at)
        ctx.axis, ctx.dtype = axis, values.dtype
        out = whole.detach().clone(memory_format=torch.contiguous_format)
        (out.view(-1) if axis is None else out).index_copy_(axis or 0, at, values.to(out.dtype))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (at,) = ctx.saved_tensors
        return None, entries(gradients[0], at, ctx.axis).to(ctx.dtype), None, None
