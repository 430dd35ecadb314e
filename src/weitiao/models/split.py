"""A weight split into a low-rank part that trains and a rest that stays.

PiSSA (Meng et al., 2024, arXiv:2404.02948) and OLoRA (Büyükakyüz, 2024, arXiv:2406.01775) begin LoRA not at zero but at a part
of the weight, and take that part out of the frozen weight. An adapter must fit the untouched base all the same, so what is
written is the difference from the start, of twice the rank: B A - B0 A0 = [B, -B0] [A; A0].
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

CONFIGURATION, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
"""What PEFT writes before the name of a module."""


def layers(model: Module) -> Iterator[tuple[str, Any, str]]:
    """Yield the LoRA layers of a model: dotted name, layer, name of its adapter."""
    from peft.tuners.lora.layer import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and module.lora_A:
            yield name, module, module.active_adapters[0]


def starts(model: Module, kind: str) -> dict[str, Tensor]:
    """Return the part of every weight that its update begins as: `NAME.lora_A` (r, in) and `NAME.lora_B` (out, r). kind: pissa or olora."""
    found = {}
    for name, layer, adapter in layers(model):
        found[f"{name}.lora_A"], found[f"{name}.lora_B"] = _PARTS[kind](_weight(layer).float(), layer.r[adapter], layer.scaling[adapter])
    return found


def begin(model: Module, start: Mapping[str, Tensor]) -> None:
    """Let every update begin as its part of the weight, and the frozen weight be the rest."""
    with torch.no_grad():
        for name, layer, adapter in layers(model):
            weight = _weight(layer)
            down, up = (start[f"{name}.{side}"].to(weight) for side in ("lora_A", "lora_B"))
            layer.lora_A[adapter].weight.copy_(down)
            layer.lora_B[adapter].weight.copy_(up)
            weight.addmm_(up, down, alpha=-layer.scaling[adapter])


def first(model: Module) -> dict[str, Tensor]:
    """Return the first matrix of every update, `NAME.lora_A` (r, in)."""
    return {f"{name}.lora_A": layer.lora_A[adapter].weight.detach().clone() for name, layer, adapter in layers(model)}


def freeze_first(model: Module, known: Mapping[str, Tensor]) -> None:
    """Let only the second matrix of every update train. known: the first matrices of a run that is resumed; empty at its beginning."""
    with torch.no_grad():
        for name, layer, adapter in layers(model):
            weight = layer.lora_A[adapter].weight
            weight.requires_grad_(False)
            if known:
                weight.copy_(known[f"{name}.lora_A"])


def write_difference(folder: Path, start: Mapping[str, Tensor]) -> None:
    """Rewrite an adapter that PEFT wrote as its difference from the start, which fits the untouched base."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    for name, before in start.items():
        key, before = f"{_PREFIX}{name}.weight", before.to(tensors[f"{_PREFIX}{name}.weight"])
        rows = name.endswith("lora_A")
        tensors[key] = torch.cat([tensors[key], before if rows else -before], 0 if rows else 1).contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    said = json.loads((folder / CONFIGURATION).read_text(encoding="utf-8"))
    longer = math.sqrt(2) if said["use_rslora"] else 2  # the scaling stays what it was
    said |= {"r": 2 * said["r"], "lora_alpha": longer * said["lora_alpha"], "init_lora_weights": True}
    said["rank_pattern"] = {name: 2 * rank for name, rank in (said.get("rank_pattern") or {}).items()}
    said["alpha_pattern"] = {name: longer * alpha for name, alpha in (said.get("alpha_pattern") or {}).items()}
    (folder / CONFIGURATION).write_text(json.dumps(said, indent=2, sort_keys=True), encoding="utf-8")


def _weight(layer: Any) -> Tensor:
    """Return the frozen weight of a LoRA layer as (out, in), a view of it."""
    weight: Tensor = layer.get_base_layer().weight.data
    return weight.t() if layer.fan_in_fan_out else weight


def _principal(weight: Tensor, rank: int, scaling: float) -> tuple[Tensor, Tensor]:
    """Return A (r, in) and B (out, r) of the largest singular values: scaling x B A is nearest to the weight of all of that rank."""
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    root = (values[:rank] / scaling).sqrt()
    return (root[:, None] * right[:rank]).contiguous(), (left[:, :rank] * root).contiguous()


def _orthonormal(weight: Tensor, rank: int, scaling: float) -> tuple[Tensor, Tensor]:
    """Return A (r, in) and B (out, r) of the QR decomposition, the columns of B orthonormal."""
    columns, rest = torch.linalg.qr(weight)
    return rest[:rank].contiguous(), columns[:, :rank].contiguous()


_PARTS = {"pissa": _principal, "olora": _orthonormal}
