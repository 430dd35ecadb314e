"""Single weights train, chosen over the whole model; all others stay."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveInt

from weitiao.core.contracts import Batch, Capability, Head, Method, Objective, ParameterGroup
from weitiao.errors import NoTargets

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class Subnetwork(Method):
    """Train a small share of the single weights of all layers, by default the 0.5 % that matter most for the training rows, and a new head."""

    density: float = Field(default=0.005, gt=0, le=1)
    """Share of the weights that train."""
    by: Literal["fisher", "gradient", "movement", "gates", "magnitude", "random"] = "fisher"
    """How weights are chosen. fisher: by the Fisher information of the training rows (arXiv:2111.09839). gradient: by the size of the
    gradient. movement: those that move away from zero fastest (arXiv:2005.07683). gates: by hard-concrete gates, learned with a
    difference for every weight in steps of their own, after which training begins at the base (arXiv:2012.07463). magnitude: the
    largest. random: by lot (arXiv:2405.02596), which shows what choosing is worth."""
    rows: PositiveInt = 256
    """Training rows by which weights are compared, at most: a backward for each."""
    gate_steps: PositiveInt = 100
    """Steps in which gates are learned. They take gradients and optimizer state for all weights twice over."""
    target_modules: str | list[str] = "all-linear"
    """Among the weights of which linear layers: `all-linear` (those of every layer), names such as [q_proj, v_proj], or a regular
    expression over whole names."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Seed of the lot, and of the gates that are drawn."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.IDENTITY_AT_START, Capability.DELTA, Capability.ENTRIES})
    learning_rate: ClassVar[float] = 5e-4
    paper: ClassVar[str] = "Sung, Nair and Raffel, 2021 (arXiv:2111.09839); Ansell et al., 2022 (arXiv:2110.07560); Guo, Rush and Kim, 2021 (arXiv:2012.07463)"

    def calibrate(self, model: Module, objective: Objective, batches: Iterable[Batch]) -> None:
        """Choose the weights."""
        import torch

        from weitiao.models import gates, importance

        named = self._candidates(model)
        if self.by == "magnitude":
            scores = {name: weight.detach().abs() for name, weight in named.items()}
        elif self.by == "random":
            generator = torch.Generator().manual_seed(self.seed)
            scores = {name: torch.rand(weight.shape, generator=generator) for name, weight in named.items()}
        elif self.by == "gates":
            scores = gates.of_entries(model, objective, batches, list(named), steps=self.gate_steps, seed=self.seed)
        else:
            scores = importance.of_entries(model, objective, batches, list(named), by=self.by, rows=self.rows)
        self.settle(model, _largest(scores, self._count(named)))

    def apply(self, model: Module) -> Module:
        """Let the chosen weights train. Raises NoTargets where target_modules match nothing."""
        from weitiao.models import woven
        from weitiao.models.head import train_only

        named = self._candidates(model)
        places = self.settled(model)
        if not places:
            if next(model.parameters()).device.type != "meta":
                raise RuntimeError("calibrate chooses the weights: it comes before apply")
            places = _evenly(named, self._count(named))  # a plan only counts them
        names = woven.weave(model, {name: woven.Part(at, None) for name, at in places.items() if len(at)})
        return train_only(model, names, lacking="method.target_modules: no weight is chosen.", hint="Leave it out.")

    def groups(self, model: Module) -> list[ParameterGroup]:
        """Return the chosen weights with decay, as what they are: entries of matrices; vectors otherwise without."""
        from weitiao.models import woven

        decayed, plain = ParameterGroup([], []), ParameterGroup([], [], weight_decay_scale=0.0)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                group = decayed if parameter.ndim > 1 or woven.of_parameter(model, name) is not None else plain
                group.names.append(name)
                group.parameters.append(parameter)
        return [group for group in (decayed, plain) if group.parameters]

    def _candidates(self, model: Module) -> dict[str, Tensor]:
        from weitiao.models.head import new_parameters
        from weitiao.models.targets import linear_layers

        named, new = dict(model.named_parameters()), new_parameters(model)
        found: dict[str, Tensor] = {
            name: named[name] for name in (f"{layer}.weight" for layer in linear_layers(model, self.target_modules)) if name in named and name not in new
        }
        if not found:
            raise NoTargets(
                "method.target_modules: only layers are named that train whole, or whose weight is that of the word embedding.",
                hint="Leave it out: all-linear are those of every layer.",
            )
        return found

    def _count(self, named: Mapping[str, Tensor]) -> int:
        return max(1, round(self.density * sum(weight.numel() for weight in named.values())))

    def save(self, model: Module, folder: Path) -> None:
        """Write `delta/`: the chosen weights and their places, and the new head."""
        from weitiao.models import delta

        delta.save(model, folder)

    def load(self, folder: Path, head: Head) -> Module:
        """Return the base model with the weights of `delta/` in their places: nothing is woven any more."""
        from weitiao.models import delta

        return delta.load(folder, head)


def _evenly(named: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Return so many places in all, in each tensor about as many as it is large, one at least in the first: no layer then counts as frozen for sure."""
    import torch

    found, total = {}, sum(weight.numel() for weight in named.values())
    for name, weight in named.items():
        share = min(math.ceil(count * weight.numel() / total), weight.numel())
        found[name] = torch.arange(share)
        count, total = count - share, total - weight.numel()
    return found


def _largest(scores: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Return where the largest scores of all tensors together stand in each, ascending."""
    import torch

    flat = torch.cat([score.flatten().cpu() for score in scores.values()])
    chosen = flat.topk(count, sorted=False).indices.sort().values
    found, start = {}, 0
    for name, score in scores.items():
        low, high = torch.searchsorted(chosen, torch.tensor([start, start + score.numel()])).tolist()
        found[name] = chosen[low:high] - start
        start += score.numel()
    return found
