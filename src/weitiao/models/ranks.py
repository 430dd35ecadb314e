"""The rank of low-rank updates, moved by PEFT's allocator: called where it must be, remembered, and written as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import Loss
from weitiao.core.contracts.loss import Term
from weitiao.models.adapter import tuner

_AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")
_LEFT = "left"


def allocate(model: Module, step: int, total: int, *, first: int, last: int) -> None:
    """Take rank away after a step, while its gradients are there. first, last: steps at the beginning and the end without any change."""
    own = tuner(model)
    config = _config(own)
    config.total_step, config.tinit, config.tfinal = total, min(first, max(0, total - last - 1)), min(last, total - 1)
    own.update_and_allocate(step)


def left(model: Module) -> dict[str, int]:
    """Return the rank that the update of every layer has left."""
    return {name.partition(".lora_E")[0]: int((values != 0).sum()) for name, values in _singular(model).items()}


def penalty(model: Module, *, weight: float) -> Loss:
    """Return the weighted mean over the matrices P of all updates of |P P' - 1|, the Frobenius norm (arXiv:2303.10512, equation 4)."""
    terms = []
    for name, matrix in model.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            product = matrix @ matrix.T if ".lora_A." in name else matrix.T @ matrix
            terms.append(torch.linalg.matrix_norm(product - torch.eye(len(product), device=product.device)))
    return Loss({"orthogonality": Term(torch.stack(terms).sum(), len(terms), weight)})


def memory(model: Module) -> dict[str, Tensor]:
    """Return what a resumed run needs to go on as this one: averages of importance, and which ranks are left."""
    allocator, config = tuner(model).rankallocator, _config(tuner(model))
    found = {f"{average}.{name}": tensor for average in _AVERAGES for name, tensor in getattr(allocator, average).items()}
    return found | {f"{_LEFT}.{name}": torch.tensor(ranks) for name, ranks in (config.rank_pattern or {}).items()}


def recall(model: Module, found: Mapping[str, Tensor]) -> None:
    """Take what `memory` returned."""
    allocator, config = tuner(model).rankallocator, _config(tuner(model))
    for key, tensor in found.items():
        kind, _, name = key.partition(".")
        if kind == _LEFT:
            config.rank_pattern = {**(config.rank_pattern or {}), name: tensor.tolist()}
        else:
            getattr(allocator, kind)[name] = tensor


def note(model: Module) -> None:
    """Let the configuration say which ranks are left in the weights as they are: the best ones may be of an earlier step than the last allocation."""
    config = _config(tuner(model))
    config.rank_pattern = {name: (values != 0).flatten().tolist() for name, values in _singular(model).items()}


def _singular(model: Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters() if ".lora_E." in name}


def _config(own: Any) -> Any:
    return own.peft_config[own.trainable_adapter_name]
