"""Checkpoints: everything needed to continue to the same bits, complete or not there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from weitiao.core import files
from weitiao.core.contracts import Strategy
from weitiao.errors import ResumeMismatch

_STEP = re.compile(r"\d{6,}")
SETTLED = "settled.safetensors"


@dataclass
class Progress:
    """Where a run stands; all of it is data, and randomness follows from the seed and the step."""

    step: int = 0
    tokens_seen: int = 0
    examples_seen: int = 0
    train_seconds: float = 0.0
    total_seconds: float = 0.0
    best_value: float | None = None
    best_step: int | None = None
    without_improvement: int = 0
    stopped_early: bool = False


def trained(model: Module) -> dict[str, Tensor]:
    """Return the tensors that training moves."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def save(
    folder: Path, progress: Progress, model: Module, optimizer: torch.optim.Optimizer, strategy: Strategy, *, settled: Mapping[str, Tensor] | None = None
) -> Path:
    """Write a checkpoint `state/000400`, whole or not at all; older ones, and best weights no longer best, go.

    settled: what the method chose, which a resumed run must not choose anew.
    """
    target = folder / f"{progress.step:06d}"
    with files.folder_being_written(target) as new:
        strategy.save(trained(model), new / "weights.safetensors")
        tensors, numbers = _flat(optimizer)
        strategy.save(tensors, new / "optimizer.safetensors")
        if settled:
            strategy.save(settled, new / SETTLED)
        files.write_json(new / "progress.json", {"progress": asdict(progress), "optimizer": numbers})
    for path in complete(folder):
        if path != target:
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob("best-*"):
        if path.name != _best_name(progress.best_step):
            shutil.rmtree(path, ignore_errors=True)
    return target


def complete(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if _STEP.fullmatch(p.name) and files.is_complete(p)), key=lambda p: int(p.name))


def settled(path: Path, strategy: Strategy) -> dict[str, Tensor]:
    """Return what the method had chosen by the time of a checkpoint."""
    return strategy.load(path / SETTLED) if (path / SETTLED).is_file() else {}


def restore(path: Path, model: Module, optimizer: torch.optim.Optimizer, strategy: Strategy) -> Progress:
    """Put a checkpoint's weights and optimizer state back and return where it stood. Raises ResumeMismatch."""
    document = files.read_json(path / "progress.json")
    put(strategy.load(path / "weights.safetensors"), model, where=path)
    _unflat(optimizer, strategy.load(path / "optimizer.safetensors"), document["optimizer"])
    return Progress(**document["progress"])


def save_best(folder: Path, step: int, model: Module, strategy: Strategy) -> None:
    """Write the weights of the best step so far."""
    with files.folder_being_written(folder / _best_name(step)) as new:
        strategy.save(trained(model), new / "weights.safetensors")


def restore_best(folder: Path, step: int, model: Module, strategy: Strategy) -> None:
    """Put the best weights back."""
    path = folder / _best_name(step)
    put(strategy.load(path / "weights.safetensors"), model, where=path)


def put(tensors: dict[str, Tensor], model: Module, *, where: Path) -> None:
    """Copy tensors into the parameters that train. Raises ResumeMismatch where names or shapes differ."""
    named = trained(model)
    if set(named) != set(tensors) or any(named[name].shape != tensors[name].shape for name in named):
        odd = sorted(set(named) ^ set(tensors))[:3]
        raise ResumeMismatch(f"{where} holds other parameters than this run trains{': ' + ', '.join(odd) if odd else ''}.", hint="Start anew with --again.")
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(tensors[name])


def _best_name(step: int | None) -> str:
    return f"best-{step or 0:06d}"


def _flat(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, numbers = {}, {}
    for index, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            elif value is not None:
                numbers[f"{index}.{key}"] = value
    return tensors, numbers


def _unflat(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for name, value in (*tensors.items(), *numbers.items()):
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    document = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": document["param_groups"]})
