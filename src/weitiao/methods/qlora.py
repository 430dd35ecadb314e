"""A low-rank update beside every chosen weight of a base that is held in few bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from weitiao.core.contracts import Capability, Head, Method

if TYPE_CHECKING:
    from torch.nn import Module


class QLoRA(Method):
    """Hold the base in 4 or 8 bits and train a low-rank update beside it. Needs bitsandbytes."""

    bits: Literal[4, 8] = 4
    """Bits of a weight of the base; the head, embeddings and norms stay as they are."""
    quant_type: Literal["nf4", "fp4"] = "nf4"
    """What 4 bits stand for: nf4 has its values where normally distributed weights are."""
    double_quant: bool = True
    """Hold the scales of 4-bit weights in 8 bits."""
    r: PositiveInt = 16
    """Rank of the update. Doubling it doubles the trainable parameters."""
    lora_alpha: PositiveFloat = 32
    """The update is scaled by lora_alpha / r."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the update."""
    target_modules: str | list[str] = "all-linear"
    """Which linear layers get an update: `all-linear` (those of every layer, the head spared), names such as [q_proj, v_proj], or a
    regular expression over whole names."""
    use_rslora: bool = False
    """Scale the update by lora_alpha / sqrt(r), so that large ranks learn as fast (arXiv:2312.03732)."""
    modules_to_save: list[str] | None = None
    """Modules that train whole beside the update. A new classification head always does."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.ADAPTER, Capability.QUANTIZED})
    learning_rate: ClassVar[float] = 2e-4
    paper: ClassVar[str] = "Dettmers et al., 2023 (arXiv:2305.14314)"

    def apply(self, model: Module) -> Module:
        """Hold the base in few bits and put the update beside it. Raises NoTargets where the choice matches none, MissingExtra."""
        from weitiao.models import adapter

        return adapter.inject(
            self._quantized(model),
            "LORA",
            targets=self.target_modules,
            r=self.r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            use_rslora=self.use_rslora,
            modules_to_save=self.modules_to_save,
        )

    def save(self, model: Module, folder: Path) -> None:
        """Write `adapter/` as PEFT does."""
        from weitiao.models import adapter

        adapter.save(model, folder)

    def load(self, folder: Path, head: Head) -> Module:
        """Return the base model, held in as few bits, with the adapter of `adapter/`."""
        from weitiao.models import adapter

        return adapter.load(folder, head, on=self._quantized)

    def _quantized(self, model: Module) -> Module:
        from weitiao.models import quantized

        return quantized.quantize(model, bits=self.bits, quant_type=self.quant_type, double_quant=self.double_quant)
