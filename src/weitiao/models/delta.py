"""What training changed or added, and nothing else: written beside the name of the base model, and put back onto it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Module

from weitiao.core import files
from weitiao.core.contracts import Head
from weitiao.errors import Damaged, ModelError
from weitiao.models import base, woven
from weitiao.models.load import configuration, weights

FOLDER = "delta"
"""Name of the folder inside an artifact."""
AT = ".at."
_WRAPPED = ".base_layer."
"""What PEFT puts into the names of a layer that it wraps."""
TENSORS, FACTS = "delta.safetensors", "delta.json"


def save(model: Module, artifact: Path, *, only: Collection[str] | None = None) -> None:
    """Write `delta/`: what trains in delta.safetensors, under the names that it has in the model, and the name of the base in delta.json.

    Of a tensor whose entries train in part there are `NAME.values`, and in `NAME.at.0`, `NAME.at.1` or `NAME.at.flat` where they
    stand: along an axis, or in the flat tensor. only: names of what is written; default: all that trains. Where PEFT has wrapped a
    layer, its tensors are written under the names that they have without.
    """
    folder = artifact / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    named: Any = model
    tensors = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or (only is not None and name not in only):
            continue
        values = parameter.detach().cpu().contiguous()
        if (found := woven.of_parameter(model, name)) is None:
            tensors[name.replace(_WRAPPED, ".")] = values
        else:
            whole, part = found
            tensors[f"{whole}.values"] = values
            tensors[f"{whole}{AT}{'flat' if part.axis is None else part.axis}"] = part.at.cpu().to(torch.int32 if _fits(part.at) else torch.int64)
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    files.write_json(folder / FACTS, {"base": str(named.name_or_path)})


def load(artifact: Path, head: Head, apply: Callable[[Module], Module] | None = None) -> Module:
    """Return the base model with what was trained.

    apply: puts what is new beside the base, where tensors of the delta are no tensors of the base. Raises NotFound where
    the base is not where it was, Damaged where files are, ModelError where the tensors do not fit the base.
    """
    named = _base(artifact)
    located = base.of_artifact(artifact, named)
    model = weights(located, configuration(located, head), head, seed=0).model
    return put(apply(model) if apply is not None else model, artifact)


def put(model: Module, artifact: Path) -> Module:
    """Return the model with the tensors of an artifact in their places. Raises Damaged, ModelError as `load` does."""
    try:
        tensors = load_file(artifact / FOLDER / TENSORS)
    except (OSError, ValueError, SafetensorError):
        raise _damaged(artifact) from None
    own = dict(model.named_parameters())
    with torch.no_grad():
        for key, tensor in tensors.items():
            name, _, axis = key.rpartition(AT)
            if key.endswith(".values") and key not in own:
                continue
            try:
                if not axis or not name:
                    own[key].copy_(_like(tensor, own[key]))
                elif axis == "flat":
                    own[name].view(-1).index_copy_(0, tensor.long(), tensors[f"{name}.values"])
                else:
                    own[name].index_copy_(int(axis), tensor.long(), tensors[f"{name}.values"])
            except (KeyError, IndexError, RuntimeError):
                raise ModelError(
                    f"{artifact / FOLDER} does not fit the model {_base(artifact)}: {name or key} is not there, or has another shape.",
                    hint="Use the base model that it was trained on.",
                ) from None
    return model


def _base(artifact: Path) -> str:
    """Return the name of the base. Raises Damaged."""
    try:
        return str(json.loads((artifact / FOLDER / FACTS).read_text(encoding="utf-8"))["base"])
    except (OSError, ValueError, KeyError, TypeError):
        raise _damaged(artifact) from None


def _damaged(artifact: Path) -> Damaged:
    return Damaged(f"{artifact / FOLDER}: {FACTS} or {TENSORS} is missing or damaged.", hint="Copy the artifact again from where it was made.")


def _like(tensor: Tensor, other: Tensor) -> Tensor:
    """Return the tensor. Raises RuntimeError where its shape is another, which copying might stretch."""
    if tensor.shape != other.shape:
        raise RuntimeError
    return tensor


def _fits(at: Tensor) -> bool:
    return not len(at) or int(at[-1]) < 2**31
