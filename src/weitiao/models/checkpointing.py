"""Less kept for the backward, more computed again."""

from __future__ import annotations

from typing import Any

from torch.nn import Module

from weitiao.errors import ModelError


def enable(model: Module) -> None:
    """Compute each layer's activations again in the backward (Chen et al., 2016, arXiv:1604.06174); the gradient stays the same.

    Raises ModelError where the architecture cannot.
    """
    inner: Any = model
    if not getattr(inner, "supports_gradient_checkpointing", False):
        raise ModelError(f"{type(model).__name__} cannot recompute its activations.", hint="Set train.gradient_checkpointing=false.")
    if hasattr(inner, "activation_checkpointing_enable"):  # its name from transformers 5.23 on
        inner.activation_checkpointing_enable({"use_reentrant": False})
    else:
        inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
