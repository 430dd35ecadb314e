"""Small networks between the layers train, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from weitiao.core.contracts import Capability, Head, Method
from weitiao.errors import BadValue, NoTargets

if TYPE_CHECKING:
    from torch.nn import Module


class Adapter(Method):
    """Train bottleneck adapters in every layer and a new head; by default one adapter a layer, of a sixteenth of its width."""

    form: Literal["pfeiffer", "houlsby", "parallel"] = "pfeiffer"
    """pfeiffer: one adapter behind the layer (arXiv:2005.00247). houlsby: one behind attention and one behind the feed-forward network
    (arXiv:1902.00751). parallel: one beside the feed-forward network (arXiv:2110.04366)."""
    reduction_factor: PositiveFloat = 16
    """The width of the model divided by this is the size of the bottleneck."""
    bottleneck_size: PositiveInt | None = None
    """The size of the bottleneck m itself. An adapter has 2 x m x width + m + width parameters."""
    activation: Literal["relu", "gelu", "swish", "tanh"] | None = None
    """What stands between the two layers of an adapter. Default: gelu in houlsby, as in its paper, else relu."""
    scaling: PositiveFloat | None = None
    """What an adapter adds is multiplied by this. Default: 4 in parallel, as in its paper, else 1."""
    layers: list[NonNegativeInt] | None = None
    """Layers that get adapters, counted from 0 at the input; of an encoder-decoder the encoder's come first. Default: all."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.IDENTITY_AT_START, Capability.DELTA, Capability.ADDITION})
    learning_rate: ClassVar[float] = 5e-4
    paper: ClassVar[str] = "Houlsby et al., 2019 (arXiv:1902.00751); Pfeiffer et al., 2021 (arXiv:2005.00247); He et al., 2022 (arXiv:2110.04366)"

    def apply(self, model: Module) -> Module:
        """Put adapters into the layers. Raises NoTargets for layers that are not there or not known, BadValue for a bottleneck that is none."""
        from weitiao.models import bottleneck
        from weitiao.models.head import train_only
        from weitiao.models.sublayers import sublayers

        parts = sublayers(model)
        if outside := [number for number in self.layers or [] if number >= len(parts)]:
            raise NoTargets(f"method.layers: there is no layer {outside[0]}, the model has {len(parts)}.", hint=f"Layers are numbered 0 to {len(parts) - 1}.")
        chosen = parts if self.layers is None else [parts[number] for number in sorted(set(self.layers))]
        names = bottleneck.insert(
            model,
            chosen,
            self.form,
            size=self._size(model),
            activation=self.activation or ("gelu" if self.form == "houlsby" else "relu"),
            scaling=self.scaling or (4.0 if self.form == "parallel" else 1.0),
        )
        return train_only(model, names, lacking="method.layers: the list is empty, so no layer gets an adapter.", hint="Name layers, or leave it out.")

    def _size(self, model: Module) -> int:
        config: Any = model.config
        width = int(config.get_text_config().hidden_size)
        size = self.bottleneck_size or max(1, round(width / self.reduction_factor))
        if size > width:
            key = "bottleneck_size" if self.bottleneck_size else "reduction_factor"
            raise BadValue(f"method.{key}: a bottleneck of {size} is wider than the model, which has {width}.", hint="Usual: a sixteenth to a half of it.")
        return size

    def save(self, model: Module, folder: Path) -> None:
        """Write `delta/`: the adapters and the head."""
        from weitiao.models import delta

        delta.save(model, folder)

    def load(self, folder: Path, head: Head) -> Module:
        """Return the base model with the adapters and the head of `delta/`."""
        from weitiao.models import delta

        return delta.load(folder, head, self.apply)
