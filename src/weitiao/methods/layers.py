"""Some layers train, the others stay as they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import NonNegativeInt, PositiveInt, field_validator, model_validator

from weitiao.core.contracts import Capability, Head, Method
from weitiao.errors import NoTargets

if TYPE_CHECKING:
    from torch.nn import Module


class Layers(Method):
    """Train chosen layers of the model and its head; by default the last two."""

    last: NonNegativeInt | None = None
    """Train the last n layers; 0 trains only what stands above them. Default: 2, unless another choice is made."""
    first: PositiveInt | None = None
    """Train the first n layers."""
    range: tuple[NonNegativeInt, NonNegativeInt] | None = None
    """Train layers [from, to], counted from 0 at the input, both included."""
    pattern: str | None = None
    """Train the parameters whose name matches this regular expression, such as `attention|bias`."""
    embeddings: bool = False
    """Train the embeddings too."""
    head: bool = True
    """Train what stands above the layers: final norm, pooler, classifier."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.WHOLE_MODEL, Capability.IDENTITY_AT_START})
    learning_rate: ClassVar[float] = 2e-4
    paper: ClassVar[str] = "Lee, Tang and Lin, 2019 (arXiv:1911.03090)"

    @field_validator("pattern")
    @classmethod
    def _pattern_compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"not a regular expression ({error})") from None
        return value

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        chosen = [name for name in ("last", "first", "range", "pattern") if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} exclude each other: set one")
        if self.range is not None and self.range[0] > self.range[1]:
            raise ValueError(f"range: expected [from, to] with from <= to, got {list(self.range)}")
        return self

    def apply(self, model: Module) -> Module:
        """Mark what trains. Raises NoTargets where the choice leaves the model's layers or matches nothing."""
        from weitiao.models.anatomy import anatomy

        parts = anatomy(model)
        chosen = self._chosen(model, parts.layers)
        if self.embeddings:
            chosen |= set(parts.embeddings)
        if self.head:
            chosen |= set(parts.head)
        if not chosen:
            raise NoTargets("method: the settings of layers choose no parameter.", hint="Set head=true, embeddings=true, or choose layers.")
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in chosen)
        return model

    def _chosen(self, model: Module, layers: tuple[tuple[str, ...], ...]) -> set[str]:
        count = len(layers)
        if self.pattern is not None:
            matched = {name for name, _ in model.named_parameters() if re.search(self.pattern, name)}
            if not matched:
                examples = ", ".join([names[0] for names in layers[:1]] + [name for name, _ in model.named_parameters()][-2:])
                raise NoTargets(f"method.pattern: {self.pattern!r} matches no parameter of the model.", hint=f"Parameters are named like {examples}.")
            return matched
        first, last = 0, count - 1
        if self.range is not None:
            first, last = self.range
        elif self.first is not None:
            last = self.first - 1
        else:
            first = count - (self.last if self.last is not None else min(2, count))
        if first < 0 or last >= count:
            asked = f"range {list(self.range)}" if self.range else f"first {self.first}" if self.first else f"last {self.last}"
            raise NoTargets(f"method: {asked} leaves the model, which has {count} layers.", hint=f"Layers are numbered 0 to {count - 1}.")
        return {name for layer in layers[first : last + 1] for name in layer}

    def training_mode(self, model: Module) -> None:
        """Train what trains; frozen layers and embeddings run as in prediction, without dropout."""
        from weitiao.models.anatomy import anatomy

        model.train()
        parts = anatomy(model)
        layers = (layer for name in parts.stacks for layer in model.get_submodule(name).children())
        for module in (*layers, *(model.get_submodule(name) for name in parts.embedding_modules)):
            if not any(parameter.requires_grad for parameter in module.parameters()):
                module.eval()

    def save(self, model: Module, folder: Path) -> None:
        """Write a plain transformers folder `model/`."""
        from weitiao.models import whole

        whole.save(model, folder)

    def load(self, folder: Path, head: Head) -> Module:
        """Return the model of `model/`."""
        from weitiao.models import whole

        return whole.load(folder, head)
