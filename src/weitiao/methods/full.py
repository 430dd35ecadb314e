"""Every parameter trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from weitiao.core.contracts import Capability, Head, Method

if TYPE_CHECKING:
    from torch.nn import Module


class Full(Method):
    """Train every parameter of the model."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.WHOLE_MODEL, Capability.IDENTITY_AT_START})
    learning_rate: ClassVar[float] = 5e-5
    paper: ClassVar[str] = "Howard and Ruder, 2018 (arXiv:1801.06146); Devlin et al., 2019 (arXiv:1810.04805)"

    def apply(self, model: Module) -> Module:
        """Let every parameter train."""
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return model

    def save(self, model: Module, folder: Path) -> None:
        """Write a plain transformers folder `model/`."""
        from weitiao.models import whole

        whole.save(model, folder)

    def load(self, folder: Path, head: Head) -> Module:
        """Return the model of `model/`."""
        from weitiao.models import whole

        return whole.load(folder, head)
