"""A low-rank update beside every chosen weight."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from weitiao.core.contracts import Capability, Head, Method, ParameterGroup

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
    init_lora_weights: Literal["default", "gaussian", "pissa", "olora"] = "default"
    """How the update begins. default and gaussian: at zero. pissa: at the largest singular values of the weight (arXiv:2404.02948);
    olora: at columns of its QR decomposition (arXiv:2406.01775). Of these two the frozen weight is the rest while training lasts, and the
    adapter that is written fits the untouched base, at twice the rank."""
    loraplus_lr_ratio: PositiveFloat = 1.0
    """How many times as fast the second matrix of an update (B) learns; LoRA+ advises 16 (arXiv:2402.12354)."""
    lora_fa: bool = False
    """Train only the second matrix (B); the first stays as it was drawn, and activations need not be kept for it (LoRA-FA, arXiv:2308.03303)."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Biases that train beside the update and are stored with it: all of the model, which is BitFit beside LoRA, or those of the chosen layers."""
    rank_pattern: dict[str, PositiveInt] = Field(default_factory=dict)
    """Ranks of their own for layers whose name ends so, or matches this regular expression, such as {q_proj: 32, v_proj: 32}."""
    alpha_pattern: dict[str, PositiveFloat] = Field(default_factory=dict)
    """The same for lora_alpha."""
    modules_to_save: list[str] | None = None
    """Modules that train whole beside the update, such as [lm_head]. A new classification head always does."""
    adapter: str | None = None
    """A PEFT LoRA adapter (folder or hub id) to start from: rank, scaling and targets are then its own."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.IDENTITY_AT_START, Capability.ADAPTER})
    learning_rate: ClassVar[float] = 2e-4
    paper: ClassVar[str] = "Hu et al., 2021 (arXiv:2106.09685)"

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self._splits and (self.use_dora or self.lora_fa):
            raise ValueError(f"init_lora_weights {self.init_lora_weights} does not go with {'use_dora' if self.use_dora else 'lora_fa'}")
        if self.adapter is not None and (self.init_lora_weights != "default" or self.rank_pattern or self.alpha_pattern):
            raise ValueError("with `adapter`, ranks, scaling and first weights are those of the adapter")
        return self

    @property
    def _splits(self) -> bool:
        return self.init_lora_weights in ("pissa", "olora")

    def apply(self, model: Module) -> Module:
        """Put the update beside the chosen layers. Raises NoTargets where the choice matches none, listing candidates."""
        from weitiao.models import adapter, split

        known = super().settled(model)
        if self.adapter is not None:
            found = adapter.continued(model, self.adapter)
        else:
            found = adapter.inject(
                model,
                "LORA",
                targets=self.target_modules,
                r=self.r,
                lora_alpha=self.lora_alpha,
                lora_dropout=self.lora_dropout,
                use_rslora=self.use_rslora,
                use_dora=self.use_dora,
                bias=self.bias,
                init_lora_weights="gaussian" if self.init_lora_weights == "gaussian" else True,
                rank_pattern=self.rank_pattern,
                alpha_pattern=self.alpha_pattern,
                modules_to_save=self.modules_to_save,
            )
        if self.lora_fa:
            split.freeze_first(found, known)
        if (self._splits or self.lora_fa) and next(found.parameters()).device.type != "meta":
            start = known or (split.starts(found, self.init_lora_weights) if self._splits else split.first(found))
            if self._splits:
                split.begin(found, start)
            self.settle(found, start)
        return found

    def groups(self, model: Module) -> list[ParameterGroup]:
        """Return what the optimizer gets, the second matrix of every update apart where it learns faster."""
        found = super().groups(model)
        if self.loraplus_lr_ratio == 1.0:
            return found
        divided = []
        for group in found:
            for faster in (False, True):
                chosen = [n for n, name in enumerate(group.names) if (".lora_B." in name) is faster]
                if chosen:
                    scale = group.learning_rate_scale * (self.loraplus_lr_ratio if faster else 1.0)
                    parameters, names = [group.parameters[n] for n in chosen], [group.names[n] for n in chosen]
                    divided.append(ParameterGroup(parameters, names, scale, group.weight_decay_scale))
        return divided

    def save(self, model: Module, folder: Path) -> None:
        """Write `adapter/` as PEFT does."""
        from weitiao.models import adapter, split

        adapter.save(model, folder)
        if self._splits:
            split.write_difference(folder / adapter.FOLDER, self.settled(model))

    def load(self, folder: Path, head: Head) -> Module:
        """Return the base model with the adapter of `adapter/`."""
        from weitiao.models import adapter

        return adapter.load(folder, head)
