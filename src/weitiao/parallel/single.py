"""One process, one device."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Module, Parameter

from weitiao.errors import NoDevice


class Single:
    """One process, one device: every exchange between processes is nothing to do."""

    def __init__(self, device: torch.device) -> None:
        """device: where the model and its batches live."""
        self.device = device

    def wrap(self, model: Module) -> Module:
        """Return the model on the device."""
        return model.to(self.device)

    def sum(self, counts: Mapping[str, float]) -> dict[str, float]:
        """Return the counts as they are."""
        return dict(counts)

    def no_sync(self, model: Module, last: bool) -> AbstractContextManager[Any]:
        """Return a context that does nothing."""
        return contextlib.nullcontext()

    def clip(self, parameters: Sequence[Parameter], max_norm: float | None) -> Tensor:
        """Scale gradients to at most `max_norm` (None: leave them) and return their norm before that."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if max_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        return norm

    def gather(self, values: Tensor) -> Tensor:
        """Return the values as they are."""
        return values

    def save(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Write tensors as safetensors."""
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, path)

    def load(self, path: Path) -> dict[str, Tensor]:
        """Read tensors onto the device."""
        return dict(load_file(path, device=str(self.device)))


def device_of(asked: str) -> torch.device:
    """Return the device asked for; auto takes a GPU where there is one. Raises NoDevice."""
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise NoDevice(f"train.device: there is no device called '{asked}'.", hint="Use auto, cpu, cuda, cuda:0 or mps.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        why = "this PyTorch is built without CUDA" if torch.version.cuda is None else "no CUDA device can be reached"
        raise NoDevice(f"train.device: {asked} was asked for, but {why}.", hint="Set train.device=auto or cpu; `weitiao doctor` shows what is there.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise NoDevice(f"train.device: there is no {asked}; this machine has {torch.cuda.device_count()}.", hint="Set train.device=cuda:0.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise NoDevice("train.device: mps was asked for, but it is not available here.", hint="Set train.device=auto or cpu.")
    if device.type not in ("cpu", "cuda", "mps"):
        raise NoDevice(f"train.device: {device.type} is not supported.", hint="Use auto, cpu, cuda or mps.")
    return device
