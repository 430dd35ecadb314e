"""Writing and reading a whole model as a plain transformers folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.nn import Module

from weitiao.core.contracts import Head
from weitiao.models.load import _quiet, configuration, weights
from weitiao.models.locate import Located

FOLDER = "model"
"""Name of the folder inside an artifact."""


def save(model: Module, artifact: Path) -> None:
    """Write `model/`: safetensors and config.json, as `save_pretrained` does."""
    folder = artifact / FOLDER
    saved: Any = model
    with _quiet():
        saved.save_pretrained(folder, safe_serialization=True)


def load(artifact: Path, head: Head) -> Module:
    """Return the model of `model/`."""
    folder = artifact / FOLDER
    located = Located(str(folder), str(folder), True, str(folder))
    return weights(located, configuration(located, head), head, seed=0).model
