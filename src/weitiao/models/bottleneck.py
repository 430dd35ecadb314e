"""Bottleneck adapters: small networks of two layers put into the layers of a transformer, which stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear, Module, init

from weitiao.models.sublayers import Sublayers

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.nn.functional.relu,
    "gelu": torch.nn.functional.gelu,
    "swish": torch.nn.functional.silu,
    "tanh": torch.tanh,
}
PREFIX = "bottleneck"
"""How the names of the modules begin that are put into a layer."""


class Bottleneck(Module):
    """Down to a few values, through an activation, and up again; zero until it is trained."""

    def __init__(self, width: int, size: int, *, activation: str, scaling: float, device: torch.device) -> None:
        super().__init__()
        self.down = Linear(width, size, device=device)
        self.up = Linear(size, width, device=device)
        self.activation, self.scaling = ACTIVATIONS[activation], scaling
        init.zeros_(self.down.bias)
        init.zeros_(self.up.weight)  # so that the model is unchanged at the start, to the bit
        init.zeros_(self.up.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return what is to be added, (..., width), for hidden states (..., width)."""
        added: Tensor = self.up(self.activation(self.down(hidden)))
        return added * self.scaling if self.scaling != 1.0 else added


def insert(model: Module, parts: Collection[Sublayers], form: str, *, size: int, activation: str, scaling: float) -> set[str]:
    """Put adapters of a form into layers, and return the names of their parameters.

    houlsby: behind attention and behind the feed-forward network, h + f(h) before the residual is added (arXiv:1902.00751).
    pfeiffer: one behind the layer, z + f(norm(z)) before the layer's last norm, or z + f(z) where no norm closes the layer
    (arXiv:2005.00247). parallel: f of the feed-forward network's input, added to its output (arXiv:2110.04366).
    """
    names = set()
    for part in parts:
        layer = model.get_submodule(part.layer)
        first = next(layer.parameters())
        places: list[tuple[str, Callable[[Bottleneck], None]]] = []
        if form == "houlsby":
            for number, attention in enumerate(part.attentions):
                called = "attention" if number == 0 else "cross_attention"
                places.append((called, _behind(model.get_submodule(attention))))
            places.append(("feed_forward", _behind(model.get_submodule(part.ends))))
        elif form == "pfeiffer":
            closes = model.get_submodule(part.closes)
            places.append(("layer", _before_norm(closes) if part.norm_closes else _behind(closes)))
        else:
            places.append(("parallel", _beside(model.get_submodule(part.begins), model.get_submodule(part.ends))))
        for called, put in places:
            adapter = Bottleneck(_width(model), size, activation=activation, scaling=scaling, device=first.device)
            layer.add_module(f"{PREFIX}_{called}", adapter)
            put(adapter)
            names |= {f"{part.layer}.{PREFIX}_{called}.{own}" for own, _ in adapter.named_parameters()}
    return names


def _width(model: Any) -> int:
    return int(model.config.get_text_config().hidden_size)


def _behind(module: Module) -> Callable[[Bottleneck], None]:
    """Return what lets h become h + f(h) where h is the output of a module."""

    def put(adapter: Bottleneck) -> None:
        module.register_forward_hook(lambda own, args, out: _first_changed(out, lambda hidden: hidden + adapter(hidden)))

    return put


def _before_norm(norm: Any) -> Callable[[Bottleneck], None]:
    """Return what lets norm(z) become norm(z + f(norm(z)))."""

    def put(adapter: Bottleneck) -> None:
        norm.register_forward_hook(lambda own, args, out: norm.forward(args[0] + adapter(out)))

    return put


def _beside(begins: Module, ends: Module) -> Callable[[Bottleneck], None]:
    """Return what lets n(x) become n(x) + f(x), where n is everything from one module to another."""

    def put(adapter: Bottleneck) -> None:
        inputs: list[Tensor] = []

        def take(own: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inputs[:] = [args[0] if args else next(iter(kwargs.values()))]

        def add(own: Module, args: tuple[Any, ...], out: Any) -> Any:
            return _first_changed(out, lambda hidden: hidden + adapter(inputs.pop()))

        begins.register_forward_pre_hook(take, with_kwargs=True)
        ends.register_forward_hook(add)

    return put


def _first_changed(out: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return what a module returns, its hidden states changed; they come first where it returns several things."""
    return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)
