"""A low-rank update whose matrices are random and shared; only two vectors of every layer train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt

from weitiao.core.contracts import Capability, Head, Method

if TYPE_CHECKING:
    from torch.nn import Module


class VeRA(Method):
    """Train two vectors that scale a random low-rank update, which all chosen layers share; ten times fewer parameters than LoRA."""

    r: PositiveInt = 256
    """Rank of the random update; a layer trains r + its outputs."""
    d_initial: PositiveFloat = 0.1
    """First value of the vector of length r; the other one begins at zero."""
    vera_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the update."""
    target_modules: str | list[str] = "all-linear"
    """Which linear layers: `all-linear` (those of every layer, the head spared), names such as [q_proj, v_proj], or a regular
    expression over whole names."""
    projection_prng_key: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the random matrices."""
    save_projection: bool = True
    """Write the random matrices too: without them the artifact is smaller, and rests on a generator that may change."""
    modules_to_save: list[str] | None = None
    """Modules that train whole beside the update, such as [lm_head]. A new classification head always does."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.IDENTITY_AT_START, Capability.ADAPTER})
    learning_rate: ClassVar[float] = 5e-3
    paper: ClassVar[str] = "Kopiczko, Blankevoort and Asano, 2023 (arXiv:2310.11454)"

    def apply(self, model: Module) -> Module:
        """Put the update beside the chosen layers. Raises NoTargets where the choice matches none, listing candidates."""
        from weitiao.models import adapter

        return adapter.inject(
            model,
            "VERA",
            targets=self.target_modules,
            r=self.r,
            d_initial=self.d_initial,
            vera_dropout=self.vera_dropout,
            projection_prng_key=self.projection_prng_key,
            save_projection=self.save_projection,
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
