"""A low-rank update whose rank moves to the layers that need it while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from weitiao.core.contracts import Capability, Head, Loss, Method

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class AdaLoRA(Method):
    """Train a low-rank update of every chosen weight, begin with more rank than is wanted, and take from the layers that need it least."""

    init_r: PositiveInt = 12
    """Rank of every update at the start."""
    target_r: PositiveInt = 8
    """Rank of an update in the end, on average: some keep more, some lose all."""
    lora_alpha: PositiveFloat = 32
    """The update is scaled by lora_alpha / init_r."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the update."""
    target_modules: str | list[str] = "all-linear"
    """Which linear layers: `all-linear` (those of every layer, the head spared), names such as [q_proj, v_proj], or a regular
    expression over whole names."""
    tinit_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps before rank is taken away."""
    tfinal_ratio: float = Field(default=0.4, ge=0, lt=1)
    """Share of the steps after the last rank was taken away."""
    delta_t: PositiveInt = 1
    """Steps from one allocation to the next."""
    beta1: float = Field(default=0.85, gt=0, lt=1)
    """How slowly the importance of a rank forgets."""
    beta2: float = Field(default=0.85, gt=0, lt=1)
    """How slowly the uncertainty of that importance forgets."""
    orth_reg_weight: NonNegativeFloat = 0.5
    """Weight of the penalty that keeps the directions of an update orthogonal."""
    modules_to_save: list[str] | None = None
    """Modules that train whole beside the update, such as [lm_head]. A new classification head always does."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.IDENTITY_AT_START, Capability.ADAPTER})
    learning_rate: ClassVar[float] = 1e-3
    paper: ClassVar[str] = "Zhang et al., 2023 (arXiv:2303.10512)"

    @model_validator(mode="after")
    def _shrinks(self) -> Self:
        if self.target_r > self.init_r:
            raise ValueError(f"target_r {self.target_r} is more than init_r {self.init_r}: rank is only taken away")
        if self.tinit_ratio + self.tfinal_ratio >= 1:
            raise ValueError("tinit_ratio and tfinal_ratio leave no steps in which rank is taken away")
        return self

    def apply(self, model: Module) -> Module:
        """Put the update beside the chosen layers. Raises NoTargets where the choice matches none, listing candidates."""
        from weitiao.models import adapter, ranks

        found = adapter.inject(
            model,
            "ADALORA",
            targets=self.target_modules,
            init_r=self.init_r,
            target_r=self.target_r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            deltaT=self.delta_t,
            beta1=self.beta1,
            beta2=self.beta2,
            orth_reg_weight=self.orth_reg_weight,
            total_step=1,  # how many steps there are is known with the first of them
            modules_to_save=self.modules_to_save,
        )
        ranks.recall(found, super().settled(model))
        return found

    def penalty(self, model: Module) -> Loss | None:
        """Return how far the directions of the updates are from orthogonal."""
        from weitiao.models import ranks

        return ranks.penalty(model, weight=self.orth_reg_weight) if self.orth_reg_weight else None

    def after_step(self, model: Module, step: int, total: int) -> None:
        """Take rank from where it matters least, down to what the schedule leaves by this step."""
        from weitiao.models import ranks

        ranks.allocate(model, step, total, first=round(self.tinit_ratio * total), last=round(self.tfinal_ratio * total))

    def settled(self, model: Module) -> Mapping[str, Tensor]:
        """Return what the allocation remembers: the importance of every rank, and which ranks are left."""
        from weitiao.models import ranks

        return ranks.memory(model)

    def save(self, model: Module, folder: Path) -> None:
        """Write `adapter/` as PEFT does, ranks that were taken away left out."""
        from weitiao.models import adapter, ranks

        ranks.note(model)
        adapter.save(model, folder)

    def load(self, folder: Path, head: Head) -> Module:
        """Return the base model with the adapter of `adapter/`."""
        from weitiao.models import adapter

        return adapter.load(folder, head)
