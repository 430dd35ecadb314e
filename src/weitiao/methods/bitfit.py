"""Only the biases train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from weitiao.core.contracts import Capability, Head, Method

if TYPE_CHECKING:
    from torch.nn import Module


class BitFit(Method):
    """Train the biases of the model and a new head, about one parameter in a thousand; for models that have biases."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.IDENTITY_AT_START, Capability.DELTA})
    learning_rate: ClassVar[float] = 1e-3
    paper: ClassVar[str] = "Ben Zaken, Goldberg and Ravfogel, 2021 (arXiv:2106.10199)"

    def apply(self, model: Module) -> Module:
        """Mark the biases. Raises NoTargets where the model has none, as most decoders since Llama."""
        from weitiao.models.head import new_parameters, train_only

        chosen = {name for name, _ in model.named_parameters() if name.rpartition(".")[2] == "bias"} - new_parameters(model)
        return train_only(
            model,
            chosen,
            lacking=f"method: {type(model).__name__} has no biases but those of a new head, so bitfit has nothing to train.",
            hint="Use method.name=norm, which trains the scales of the norms, or method.name=lora.",
        )

    def save(self, model: Module, folder: Path) -> None:
        """Write `delta/`: the biases and the head."""
        from weitiao.models import delta

        delta.save(model, folder)

    def load(self, folder: Path, head: Head) -> Module:
        """Return the base model with the biases and the head of `delta/`."""
        from weitiao.models import delta

        return delta.load(folder, head)
