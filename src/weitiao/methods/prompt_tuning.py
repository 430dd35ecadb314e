"""Vectors before every text train, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveInt

from weitiao.core.contracts import Capability, Head, Method

if TYPE_CHECKING:
    from torch.nn import Module


class PromptTuning(Method):
    """Train a few vectors that stand before every text like words, and a new head."""

    num_virtual_tokens: PositiveInt = 20
    """How many vectors; they take as many positions of the model's context."""
    init_text: str | None = Field(default=None, pattern=r"\S")
    """A text whose words the vectors begin as, such as an instruction; it is repeated or cut to their number. Default: words drawn at random."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.ADAPTER, Capability.ADDITION, Capability.ROWS_APART})
    learning_rate: ClassVar[float] = 1e-2
    paper: ClassVar[str] = "Lester, Al-Rfou and Constant, 2021 (arXiv:2104.08691)"

    @property
    def positions_taken(self) -> int:
        """The vectors stand in the model's context."""
        return self.num_virtual_tokens

    def apply(self, model: Module) -> Module:
        """Put the vectors before every text. Raises BadValue where the context has no room for them."""
        from weitiao.models import prompts

        named: Any = model
        start = {"prompt_tuning_init": "SAMPLE_VOCAB"}
        if self.init_text is not None:
            start = {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": self.init_text, "tokenizer_name_or_path": str(named.name_or_path)}
        return prompts.prompted(model, "PROMPT_TUNING", virtual_tokens=self.num_virtual_tokens, **start)

    def save(self, model: Module, folder: Path) -> None:
        """Write `adapter/` as PEFT does: the vectors, and the head."""
        from weitiao.models import adapter

        adapter.save(model, folder)

    def load(self, folder: Path, head: Head) -> Module:
        """Return the base model with the vectors of `adapter/` before every text."""
        from weitiao.models import adapter

        return adapter.load(folder, head)
