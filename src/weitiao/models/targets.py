"""Which linear layers a setting such as `target_modules` names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch.nn import Linear, Module

from weitiao.errors import NoTargets
from weitiao.models.anatomy import anatomy

ALL_LINEAR = "all-linear"


def linear_layers(model: Module, asked: str | Sequence[str]) -> list[str]:
    """Return the dotted names of the chosen linear layers, from the input up. Raises NoTargets."""
    chosen = target_modules(model, asked)
    if isinstance(chosen, str):
        return [name for name in _every_linear(model) if re.fullmatch(chosen, name)]
    return [name for name in _every_linear(model) if any(name == wanted or name.endswith(f".{wanted}") for wanted in chosen)]


def target_modules(model: Module, asked: str | Sequence[str]) -> list[str] | str:
    """Return what PEFT gets as target_modules. Raises NoTargets."""
    candidates = _every_linear(model)
    if asked == ALL_LINEAR:
        return _all_linear(model, candidates)
    leaves = sorted({name.rpartition(".")[2] for name in candidates})
    names = [asked] if isinstance(asked, str) else list(asked)
    if isinstance(asked, str) and asked not in leaves:
        try:
            matched = any(re.fullmatch(asked, name) for name in candidates)
        except re.error as error:
            raise NoTargets(f"method.target_modules: {asked!r} is not a regular expression ({error}).", hint=f"Linear layers: {', '.join(leaves)}.") from None
        if matched:
            return asked
        names = [part.strip() for part in asked.split(",")]
    unknown = [name for name in names if not any(layer == name or layer.endswith(f".{name}") for layer in candidates)]
    if unknown or not names:
        what = f"{unknown[0]!r} matches" if unknown else "the list is empty and matches"
        raise NoTargets(
            f"method.target_modules: {what} no linear layer of the model.", hint=f"Linear layers: {', '.join(leaves)}; or all-linear, or a regular expression."
        )
    return names


def _all_linear(model: Module, candidates: Sequence[str]) -> list[str] | str:
    stacks = anatomy(model).stacks
    prefixes = tuple(f"{stack}." for stack in stacks)
    inside = [name for name in candidates if name.startswith(prefixes)]
    leaves = sorted({name.rpartition(".")[2] for name in inside})
    alike = [name for name, _ in model.named_modules() if not name.startswith(prefixes) and name.rpartition(".")[2] in leaves]
    if not inside:
        raise NoTargets("method.target_modules: the model's layers hold no linear layer.", hint="Use method.name=full.")
    return rf"({'|'.join(map(re.escape, stacks))})\.\d+\..*\b({'|'.join(leaves)})" if alike else leaves


def _every_linear(model: Module) -> list[str]:
    from transformers.pytorch_utils import Conv1D

    return [name for name, module in model.named_modules() if isinstance(module, Linear | Conv1D)]
