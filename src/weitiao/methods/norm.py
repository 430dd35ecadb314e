"""Only the norms train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from weitiao.core.contracts import Capability, Head, Method

if TYPE_CHECKING:
    from torch.nn import Module


class Norm(Method):
    """Train the scales and shifts of the norms and a new head, less than one parameter in a thousand; every transformer has norms."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.IDENTITY_AT_START, Capability.DELTA})
    learning_rate: ClassVar[float] = 1e-3
    paper: ClassVar[str] = "Zhao et al., 2023 (arXiv:2312.11420); Qi et al., 2022 (arXiv:2211.08682)"

    def apply(self, model: Module) -> Module:
        """Mark the parameters of LayerNorm, RMSNorm and their kin. Raises NoTargets where the model has none."""
        from weitiao.models.head import new_parameters, train_only

        norms = [name for name, module in model.named_modules() if type(module).__name__.endswith("Norm")]
        chosen = {f"{name}.{own}" for name in norms for own, _ in model.get_submodule(name).named_parameters(recurse=False)} - new_parameters(model)
        return train_only(
            model, chosen, lacking=f"method: {type(model).__name__} has no norms with parameters, so norm has nothing to train.", hint="Use method.name=lora."
        )

    def save(self, model: Module, folder: Path) -> None:
        """Write `delta/`: the norms and the head."""
        from weitiao.models import delta

        delta.save(model, folder)

    def load(self, folder: Path, head: Head) -> Module:
        """Return the base model with the norms and the head of `delta/`."""
        from weitiao.models import delta

        return delta.load(folder, head)
