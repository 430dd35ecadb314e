"""Several methods at once: what each of them trains, trains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import field_serializer, field_validator, model_validator

from weitiao.core import resolve
from weitiao.core.contracts import Batch, Capability, Head, Loss, Method, Objective, ParameterGroup
from weitiao.errors import NoTargets

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, Parameter

_OWNERS = "_weitiao_owners"
"""Name under which a model holds, for every parameter that is not an adapter's, the number of the method that trains it."""


class Combined(Method):
    """Train with several methods at once; a recipe says it as a list, such as `method: [bitfit, lora]`.

    Prefixes in attention with parallel adapters beside the feed-forward networks are MAM (arXiv:2110.04366):
    `method: [{name: prefix_tuning}, {name: adapter, form: parallel}]`. The learning rate is that of the first method; the others
    keep the ratio to it that their own usual rates have.
    """

    methods: tuple[Any, ...]
    """The methods, two at least: a name, or a name with settings, each. One adapter of PEFT at most (lora, ia3, prefix_tuning ...), and
    none that trains single entries of tensors, holds the base in few bits, or trains everything."""

    can: ClassVar[frozenset[Capability]] = frozenset({Capability.IDENTITY_AT_START, Capability.DELTA})
    paper: ClassVar[str] = "He et al., 2022 (arXiv:2110.04366); Mao et al., 2022 (arXiv:2110.07577)"

    @field_validator("methods", mode="before")
    @classmethod
    def _resolved(cls, value: Any) -> Any:
        return resolve.each(value, lambda n, item, report: item if isinstance(item, Method) else resolve.component("method", f"methods.{n}", item, report))

    @field_serializer("methods")
    def _as_settings(self, methods: tuple[Method, ...]) -> list[dict[str, Any]]:
        return [method.settings() for method in methods]

    @model_validator(mode="after")
    def _methods_that_go_together(self) -> Self:
        names = [method.name for method in self.methods]
        if len(names) < 2:
            raise ValueError(f"a list of {len(names)}; to combine methods takes two at least")
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{twice} stands in the list twice; give it all settings once")
        for method in self.methods:
            if why := _alone(method):
                raise ValueError(f"{method.name} goes together with nothing: {why}")
        adapters = [method.name for method in self.methods if Capability.ADAPTER in method.can]
        if len(adapters) > 1:
            raise ValueError(f"{' and '.join(adapters)} are adapters in PEFT's format, and a model has one of these; keep one of them")
        return self

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What all of them can, and where what they train is kept."""
        every = [method.can for method in self.methods]
        found = frozenset.intersection(*every) & {Capability.IDENTITY_AT_START}
        found |= frozenset.union(*every) & {Capability.ADAPTER, Capability.ADDITION, Capability.ROWS_APART}
        return found | ({Capability.ADDITION} if Capability.ADAPTER in found else {Capability.DELTA})

    @property
    def title(self) -> str:
        """The names of all of them."""
        return " + ".join(method.name for method in self.methods)

    @property
    def usual_rate(self) -> float:
        """That of the first method."""
        first: Method = self.methods[0]
        return first.usual_rate

    @property
    def positions_taken(self) -> int:
        """What all of them take together."""
        return sum(method.positions_taken for method in self.methods)

    @property
    def _adapter(self) -> Method | None:
        return next((method for method in self.methods if Capability.ADAPTER in method.can), None)

    @property
    def _others(self) -> dict[int, Method]:
        return {number: method for number, method in enumerate(self.methods) if Capability.ADAPTER not in method.can}

    def calibrate(self, model: Module, objective: Objective, batches: Iterable[Batch]) -> None:
        """Let the adapter look at data; the others do not."""
        if self._adapter is not None:
            self._adapter.calibrate(model, objective, batches)

    def settled(self, model: Module) -> Mapping[str, Tensor]:
        """Return what the adapter has settled."""
        return super().settled(model) if self._adapter is None else self._adapter.settled(model)

    def settle(self, model: Module, settled: Mapping[str, Tensor]) -> None:
        """Let the adapter take what was settled."""
        return super().settle(model, settled) if self._adapter is None else self._adapter.settle(model, settled)

    def apply(self, model: Module) -> Module:
        """Mark what any of them trains. Raises NoTargets as they do, and where one adds nothing to the others."""
        from weitiao.models.head import new_parameters

        kept: set[str] = set()
        if self._adapter is not None:
            model = self._adapter.apply(model)
            kept = _training(model)
        owners: dict[str, int] = {}
        for number, method in self._others.items():
            method.apply(model)
            found = _training(model) - kept - owners.keys() - (new_parameters(model) if kept or owners else set())
            if not found:
                raise NoTargets(f"method: {method.name} trains nothing here that the others do not train already.", hint="Leave it out of the list.")
            owners |= dict.fromkeys(found, number)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in kept or name in owners)
        object.__setattr__(model, _OWNERS, owners)
        return model

    def groups(self, model: Module) -> list[ParameterGroup]:
        """Return the adapter's groups, or the usual ones, each parted by the methods' usual learning rates."""
        owners: dict[str, int] = getattr(model, _OWNERS)
        adapter = self._adapter
        found = []
        for group in adapter.groups(model) if adapter is not None else super().groups(model):
            parts: dict[float, list[tuple[str, Parameter]]] = defaultdict(list)
            for name, parameter in zip(group.names, group.parameters, strict=True):
                owner = self.methods[owners[name]] if name in owners else adapter or self.methods[0]
                parts[owner.usual_rate / self.usual_rate].append((name, parameter))
            found += [
                ParameterGroup([p for _, p in part], [name for name, _ in part], group.learning_rate_scale * ratio, group.weight_decay_scale)
                for ratio, part in parts.items()
            ]
        return found

    def penalty(self, model: Module) -> Loss | None:
        """Return the adapter's term."""
        return None if self._adapter is None else self._adapter.penalty(model)

    def after_step(self, model: Module, step: int, total: int) -> None:
        """Let the adapter act."""
        if self._adapter is not None:
            self._adapter.after_step(model, step, total)

    def save(self, model: Module, folder: Path) -> None:
        """Write `delta/`, and `adapter/` where one of them is an adapter of PEFT."""
        from weitiao.models import delta

        if self._adapter is None:
            return delta.save(model, folder)
        self._adapter.save(model, folder)
        return delta.save(model, folder, only=getattr(model, _OWNERS))

    def load(self, folder: Path, head: Head) -> Module:
        """Return the base model with `delta/` and `adapter/`."""
        from weitiao.models import adapter, delta

        if self._adapter is None:
            return delta.load(folder, head, self._with_additions)
        return adapter.load(folder, head, on=lambda model: delta.put(self._with_additions(model), folder))

    def _with_additions(self, model: Module) -> Module:
        for method in self._others.values():
            if Capability.ADDITION in method.can:
                model = method.apply(model)
        return model


def _alone(method: Method) -> str:
    """Return why a method cannot stand in a list, or nothing."""
    if method.name == "full":
        return "it trains every weight already"
    if isinstance(method, Combined):
        return "it is a list itself"
    if Capability.ENTRIES in method.can:
        return "it trains entries of tensors, and the others train tensors whole"
    return "it holds the base in few bits" if Capability.QUANTIZED in method.can else ""


def _training(model: Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}
