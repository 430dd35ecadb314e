"""Vectors before every text, made by a small network that trains with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from weitiao.core.contracts import Capability, Head, Method

if TYPE_CHECKING:
    from torch.nn import Module


class PTuning(Method):
    """Train a few vectors that stand before every text, through a small network that is left away in the end, and a new head."""

    num_virtual_tokens: PositiveInt = 20
    """How many vectors; they take as many positions of the model's context."""
    encoder_reparameterization_type: Literal["MLP", "LSTM"] = "MLP"
    """The network: three linear layers, or an LSTM and two."""
    encoder_hidden_size: PositiveInt | None = None
    """Width of the network. Default: that of the model."""
    encoder_num_layers: PositiveInt | None = None
    """Layers of the LSTM. Default: 2."""
    encoder_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout between the layers of the LSTM."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.ADAPTER, Capability.ADDITION, Capability.ROWS_APART})
    learning_rate: ClassVar[float] = 1e-3
    paper: ClassVar[str] = "Liu et al., 2021 (arXiv:2103.10385); version 2 (arXiv:2110.07602) is prefix_tuning without a network"

    @property
    def positions_taken(self) -> int:
        """The vectors stand in the model's context."""
        return self.num_virtual_tokens

    def apply(self, model: Module) -> Module:
        """Put the vectors before every text. Raises BadValue where the context has no room for them."""
        from weitiao.models import prompts

        named: Any = model
        return prompts.prompted(
            model,
            "P_TUNING",
            virtual_tokens=self.num_virtual_tokens,
            encoder_reparameterization_type=self.encoder_reparameterization_type,
            encoder_hidden_size=self.encoder_hidden_size or int(named.config.get_text_config().hidden_size),
            encoder_num_layers=self.encoder_num_layers or 2,
            encoder_dropout=self.encoder_dropout,
        )

    def save(self, model: Module, folder: Path) -> None:
        """Write `adapter/` as PEFT does: the vectors, and the head."""
        from weitiao.models import adapter

        adapter.save(model, folder)

    def load(self, folder: Path, head: Head) -> Module:
        """Return the base model with the vectors of `adapter/` before every text."""
        from weitiao.models import adapter

        return adapter.load(folder, head)
