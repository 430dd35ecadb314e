"""Keys, values and feed-forward activations are rescaled, and nothing else trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from weitiao.core.contracts import Capability, Head, Method

if TYPE_CHECKING:
    from torch.nn import Module


class IA3(Method):
    """Train one factor for every key, value and inner feed-forward activation of every layer, and a new head."""

    target_modules: str | list[str] | None = None
    """Linear layers that get factors, as names or a regular expression over whole names. Default: those that make keys and values, and
    those that feed-forward networks end with; one that makes queries too (GPT-2) is scaled whole."""
    feedforward_modules: str | list[str] | None = None
    """Those among target_modules whose input gets the factors, not their output. Default: those that feed-forward networks end with."""
    modules_to_save: list[str] | None = None
    """Modules that train whole besides, such as [lm_head]. A new classification head always does."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.IDENTITY_AT_START, Capability.ADAPTER})
    learning_rate: ClassVar[float] = 5e-3
    paper: ClassVar[str] = "Liu et al., 2022 (arXiv:2205.05638)"

    def apply(self, model: Module) -> Module:
        """Put factors into the layers. Raises NoTargets where the choice matches none, or the architecture is not known."""
        from weitiao.models import adapter
        from weitiao.models.sublayers import keys_values_and_feed_forward
        from weitiao.models.targets import target_modules

        every, last = self.target_modules, self.feedforward_modules
        if every is None or last is None:
            usual = keys_values_and_feed_forward(model)
            every, last = (usual[0] if every is None else every), (usual[1] if last is None else last)
        last = target_modules(model, last)
        return adapter.inject(model, "IA3", targets=every, feedforward_modules=last, modules_to_save=self.modules_to_save)

    def save(self, model: Module, folder: Path) -> None:
        """Write `adapter/` as PEFT does."""
        from weitiao.models import adapter

        adapter.save(model, folder)

    def load(self, folder: Path, head: Head) -> Module:
        """Return the base model with the adapter of `adapter/`."""
        from weitiao.models import adapter

        return adapter.load(folder, head)
