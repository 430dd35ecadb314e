"""A low-rank update beside every chosen weight."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt

from weitiao.core.contracts import Capability, Head, Method

if TYPE_CHECKING:
    from torch.nn import Module


class LoRA(Method):
    """Train a low-rank update of every chosen weight, and the head where it is new."""

    r: PositiveInt = 16
    """Rank of the update. Doubling it doubles the trainable parameters."""
    lora_alpha: PositiveFloat = 32
    """The update is scaled by lora_alpha / r."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the update."""
    target_modules: str | list[str] = "all-linear"
    """Which linear layers: `all-linear` (those of every layer, the head spared), names such as [q_proj, v_proj], or a regular
    expression over whole names."""
    use_rslora: bool = False
    """Scale the update by lora_alpha / sqrt(r), so that large ranks learn as fast (arXiv:2312.03732)."""
    use_dora: bool = False
    """Learn the length of every weight column apart from its direction (DoRA, arXiv:2402.09353); slower."""
    modules_to_save: list[str] | None = None
    """Modules that train whole beside the update, such as [lm_head]. A new classification head always does."""
    adapter: str | None = None
    """A PEFT LoRA adapter (folder or hub id) to start from: rank, scaling and targets are then its own."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.IDENTITY_AT_START, Capability.ADAPTER})
    learning_rate: ClassVar[float] = 2e-4
    paper: ClassVar[str] = "Hu et al., 2021 (arXiv:2106.09685)"

    def apply(self, model: Module) -> Module:
        """Put the update beside the chosen layers. Raises NoTargets where the choice matches none, listing candidates."""
        from weitiao.models import adapter

        if self.adapter is not None:
            return adapter.continued(model, self.adapter)
        return adapter.inject(
            model,
            "LORA",
            targets=self.target_modules,
            r=self.r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            use_rslora=self.use_rslora,
            use_dora=self.use_dora,
            modules_to_save=self.modules_to_save,
        )

    def save(self, model: Module, folder: Path) -> None:
        """Write `adapter/` as PEFT does."""
        from weitiao.models import adapter

        adapter.save(model, folder)

    def load(self, folder: Path, head: Head) -> Module:
        """Return the base model with the adapter of `adapter/`."""
        from weitiao.models import adapter

        return adapter.load(folder, head)
