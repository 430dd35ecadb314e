"""The optimizer over a method's parameter groups, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from weitiao.core.contracts import ParameterGroup
from weitiao.core.recipe import Train


def optimizer(groups: Sequence[ParameterGroup], train: Train) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov and Hutter, arXiv:1711.05101) or SGD, fused: one pass over each parameter."""
    described: list[dict[str, Any]] = [
        {"params": group.parameters, "weight_decay": train.weight_decay * group.weight_decay_scale, "scale": group.learning_rate_scale} for group in groups
    ]
    if train.optimizer == "sgd":
        return torch.optim.SGD(described, lr=0.0, momentum=train.momentum, fused=True)
    return torch.optim.AdamW(described, lr=0.0, betas=(train.adam_beta1, train.adam_beta2), eps=train.adam_epsilon, fused=True)


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
