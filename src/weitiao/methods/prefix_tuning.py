"""Keys and values before every text train in every layer, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PositiveInt

from weitiao.core.contracts import Capability, Head, Method

if TYPE_CHECKING:
    from torch.nn import Module


class PrefixTuning(Method):
    """Train a few keys and values of every layer that all tokens of a text see before it, and a new head; for encoders and decoders."""

    num_virtual_tokens: PositiveInt = 20
    """How many in each layer; they take as many positions of the model's context."""
    prefix_projection: bool = False
    """Make them by a network of two layers that is left away in the end, as in the first paper; without it this is P-tuning version 2."""
    encoder_hidden_size: PositiveInt | None = None
    """Width of the network. Default: that of the model."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.ADAPTER, Capability.ADDITION, Capability.ROWS_APART})
    learning_rate: ClassVar[float] = 1e-2
    paper: ClassVar[str] = "Li and Liang, 2021 (arXiv:2101.00190); Liu et al., 2022 (arXiv:2110.07602)"

    @property
    def positions_taken(self) -> int:
        """Positions of a text begin behind the prefix."""
        return self.num_virtual_tokens

    def apply(self, model: Module) -> Module:
        """Put the prefix into attention. Raises NoTargets where the architecture does not let it, BadValue where the context has no room."""
        from weitiao.models import prefixes

        named: Any = model
        return prefixes.prefixed(
            model,
            virtual_tokens=self.num_virtual_tokens,
            prefix_projection=self.prefix_projection,
            encoder_hidden_size=self.encoder_hidden_size or int(named.config.get_text_config().hidden_size),
        )

    def save(self, model: Module, folder: Path) -> None:
        """Write `adapter/` as PEFT does: the keys and values, and the head."""
        from weitiao.models import adapter

        adapter.save(model, folder)

    def load(self, folder: Path, head: Head) -> Module:
        """Return the base model with the keys and values of `adapter/` in its attention."""
        from weitiao.models import adapter

        return adapter.load(folder, head)
