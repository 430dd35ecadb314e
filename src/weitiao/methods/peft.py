"""Any other adapter that PEFT puts into linear layers, by PEFT's own name and settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from weitiao.core.contracts import Capability, Head, Method

if TYPE_CHECKING:
    from torch.nn import Module


class Peft(Method):
    """Train any adapter of PEFT that sits in linear layers, such as loha, lokr, oft, boft, hra, miss or fourierft, and a new head."""

    type: str
    """PEFT's name of it, in any case: `loha`."""
    target_modules: str | list[str] = "all-linear"
    """Which linear layers: `all-linear` (those of every layer, the head spared), names such as [q_proj, v_proj], or a regular
    expression over whole names."""
    modules_to_save: list[str] | None = None
    """Modules that train whole beside the adapter, such as [lm_head]. A new classification head always does."""
    configuration: dict[str, Any] = Field(default_factory=dict)
    """Settings of PEFT's configuration for this type, under its names, such as {r: 8, alpha: 16}."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.ADAPTER})
    learning_rate: ClassVar[float] = 1e-3
    paper: ClassVar[str] = "Mangrulkar et al., 2022 (https://github.com/huggingface/peft); each type names its own"

    def apply(self, model: Module) -> Module:
        """Put the adapter into the layers. Raises BadValue for a type or settings that PEFT does not take, NoTargets where nothing matches."""
        from weitiao.models import adapter

        return adapter.other(model, self.type, targets=self.target_modules, modules_to_save=self.modules_to_save, configuration=self.configuration)

    def save(self, model: Module, folder: Path) -> None:
        """Write `adapter/` as PEFT does."""
        from weitiao.models import adapter

        adapter.save(model, folder)

    def load(self, folder: Path, head: Head) -> Module:
        """Return the base model with the adapter of `adapter/`."""
        from weitiao.models import adapter

        return adapter.load(folder, head)
