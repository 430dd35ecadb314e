"""From a loaded model to one that takes training steps: what the method marks, how it is computed, in which precision."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import Method
from weitiao.core.plan import Plan
from weitiao.models import attention, checkpointing, dropout, precision


def trainable(model: Module, method: Method, plan: Plan) -> tuple[Module, dict[str, Tensor]]:
    """Return the model with what its method adds, and the frozen matrices as they were before they were cast, for `precision.put_back`."""
    model = method.apply(model)
    if dropout.install(model) or plan.packing or plan.unpadding:
        attention.install(model)
    if plan.gradient_checkpointing:
        checkpointing.enable(model)
    return model, precision.cast_frozen(model, torch.bfloat16) if plan.dtype == "bf16" else {}
