"""The optimizer over a method's parameter groups, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import Module

from weitiao.core.contracts import ParameterGroup
from weitiao.core.recipe import Train
from weitiao.errors import NoTargets
from weitiao.models.anatomy import anatomy


def optimizer(groups: Sequence[ParameterGroup], train: Train) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov and Hutter, arXiv:1711.05101) or SGD, fused: one pass over each parameter."""
    described: list[dict[str, Any]] = [
        {"params": group.parameters, "weight_decay": train.weight_decay * group.weight_decay_scale, "scale": group.learning_rate_scale} for group in groups
    ]
    if train.optimizer == "sgd":
        return torch.optim.SGD(described, lr=0.0, momentum=train.momentum, fused=True)
    return torch.optim.AdamW(described, lr=0.0, betas=(train.adam_beta1, train.adam_beta2), eps=train.adam_epsilon, fused=True)


def by_layer(groups: Sequence[ParameterGroup], model: Module, decay: float) -> list[ParameterGroup]:
    """Return groups divided by layer, each with its share of the learning rate: 1 above the layers, decay for the last layer, decay^2 below it.

    Embeddings have decay^(layers + 1), the lowest. Clark et al., 2020 (arXiv:2003.10555); Howard and Ruder, 2018
    (arXiv:1801.06146). Raises NoTargets where the model has no single stack of layers.
    """
    if decay == 1.0:
        return list(groups)
    config: Any = model.config
    if getattr(config, "is_encoder_decoder", False):
        raise NoTargets(f"train.layer_decay: {type(model).__name__} has two stacks of layers, and no order among them.", hint="Set train.layer_decay=1.")
    try:
        parts = anatomy(model)
    except NoTargets as error:
        raise NoTargets(f"train.layer_decay: {error.message}", hint="Set train.layer_decay=1.") from None
    depth = dict.fromkeys(parts.head, 0) | dict.fromkeys(parts.embeddings, len(parts.layers) + 1)
    for n, layer in enumerate(parts.layers):
        depth |= dict.fromkeys(layer, len(parts.layers) - n)
    divided: dict[tuple[int, int], ParameterGroup] = {}
    for number, group in enumerate(groups):
        for name, parameter in zip(group.names, group.parameters, strict=True):
            scale = group.learning_rate_scale * decay ** depth[name]
            here = divided.setdefault((number, depth[name]), ParameterGroup([], [], scale, group.weight_decay_scale))
            here.parameters.append(parameter)
            here.names.append(name)
    return [divided[key] for key in sorted(divided)]


def learning_rate(step: int, *, peak: float, warmup: int, total: int, schedule: str) -> float:
    """Return the learning rate of a step counted from 0: a rise over `warmup` steps, then the schedule down to zero after the last."""
    if step < warmup:
        return peak * (step + 1) / warmup
    left = (total - step) / max(total - warmup, 1)
    if schedule == "linear":
        return peak * left
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * (1 - left)))
    return peak


def set_learning_rate(optim: torch.optim.Optimizer, value: float) -> None:
    """Give every group its share of the learning rate."""
    for group in optim.param_groups:
        group["lr"] = value * group["scale"]
