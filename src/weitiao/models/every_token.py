"""What a head says about every token of a batch, whatever class carries it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import Batch


def logits(model: Module, batch: Batch) -> Tensor:
    """Return (lines, longest, outputs) in fp32: of a token classifier, of a question answering head (start, end), or of a text classifier.

    A text classifier serves where an architecture has no other head (Gemma 3): its linear layer is asked at every token
    instead of at the last one, so the saved class is a standard one.
    """
    asked: Any = model
    inner = asked.get_base_model() if hasattr(asked, "get_base_model") else asked  # without what a method wraps around it
    if type(inner).__name__.endswith("ForSequenceClassification"):
        states = getattr(inner, inner.base_model_prefix)(**batch.inputs).last_hidden_state
        return inner.score(states).float()  # type: ignore[no-any-return]
    said = asked(**batch.inputs)
    if hasattr(said, "start_logits"):
        return torch.stack([said.start_logits, said.end_logits], dim=-1).float()
    return said.logits.float()  # type: ignore[no-any-return]
