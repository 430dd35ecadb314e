"""What training changed or added, and nothing else: written beside the name of the base model, and put back onto it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.nn import Module

from weitiao.core import files
from weitiao.core.contracts import Head
from weitiao.errors import Damaged, ModelError
from weitiao.models import base
from weitiao.models.load import configuration, weights

FOLDER = "delta"
"""Name of the folder inside an artifact."""
TENSORS, FACTS = "delta.safetensors", "delta.json"


def save(model: Module, artifact: Path) -> None:
    """Write `delta/`: the tensors that train in delta.safetensors, under the names that they have in the model, and the name of the base in delta.json."""
    folder = artifact / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    named: Any = model
    tensors = {name: parameter.detach().cpu().contiguous() for name, parameter in model.named_parameters() if parameter.requires_grad}
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    files.write_json(folder / FACTS, {"base": str(named.name_or_path)})


def load(artifact: Path, head: Head, apply: Callable[[Module], Module] | None = None) -> Module:
    """Return the base model with what was trained.

    apply: puts what is new beside the base, where tensors of the delta are no tensors of the base. Raises NotFound where
    the base is not where it was, Damaged where files are, ModelError where the tensors do not fit the base.
    """
    folder = artifact / FOLDER
    try:
        named = json.loads((folder / FACTS).read_text(encoding="utf-8"))["base"]
        tensors = load_file(folder / TENSORS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        raise Damaged(f"{folder}: {FACTS} or {TENSORS} is missing or damaged.", hint="Copy the artifact again from where it was made.") from None
    located = base.of_artifact(artifact, named)
    model = weights(located, configuration(located, head), head, seed=0).model
    model = apply(model) if apply is not None else model
    own = dict(model.named_parameters())
    odd = next((name for name, tensor in tensors.items() if name not in own or own[name].shape != tensor.shape), None)
    if odd is not None:
        raise ModelError(
            f"{folder} does not fit the model {named}: it has no tensor {odd} of shape {list(tensors[odd].shape)}.",
            hint="Use the base model that it was trained on.",
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
    return model
