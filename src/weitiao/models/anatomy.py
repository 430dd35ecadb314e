"""Which parameters of a model are embeddings, which belong to layer k, and which stand above the layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.nn import Module, ModuleList

from weitiao.errors import NoTargets

_EMBEDDING_WORDS = ("embed", "wte", "wpe", "shared")


def body_of(model: Module) -> Any:
    """Return what stands below a model's head; a model without a head is its own body."""
    return getattr(model, str(model.base_model_prefix), model)


@dataclass(frozen=True)
class Anatomy:
    """Parameter names by place, and the layers as modules, from the input up."""

    embeddings: tuple[str, ...]
    layers: tuple[tuple[str, ...], ...]
    head: tuple[str, ...]
    """Everything above the layers: final norm, pooler, classifier."""
    stacks: tuple[str, ...]
    """Dotted names of the lists of layers: one, or the encoder's and the decoder's."""
    embedding_modules: tuple[str, ...]


def anatomy(model: Module) -> Anatomy:
    """Return the anatomy of a transformer: one stack of layers, or an encoder's and above it a decoder's. Raises NoTargets where no stack is found."""
    stacks = _stacks(model)
    layers: list[list[str]] = []
    prefixes = {}
    for name in stacks:
        prefixes[f"{name}."] = len(layers)
        layers += [[] for _ in model.get_submodule(name).children()]
    embeddings, head = [], []
    for parameter, _ in model.named_parameters():
        prefix = next((prefix for prefix in prefixes if parameter.startswith(prefix)), None)
        if prefix is not None:
            layers[prefixes[prefix] + int(parameter.removeprefix(prefix).partition(".")[0])].append(parameter)
        elif any(word in parameter for word in _EMBEDDING_WORDS):
            embeddings.append(parameter)
        else:
            head.append(parameter)
    modules = tuple(
        n
        for n, m in model.named_modules()
        if n and n not in stacks and not n.startswith(tuple(prefixes)) and any(w in n.rpartition(".")[2] for w in _EMBEDDING_WORDS)
    )
    return Anatomy(tuple(embeddings), tuple(tuple(layer) for layer in layers), tuple(head), tuple(stacks), modules)


def _stacks(model: Module) -> list[str]:
    """Return the names of the largest list of layers, or of those of encoder and decoder, from the input up."""
    config: Any = model.config
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, ModuleList) and len(module) and _is_stack(module)]
    if not lists:
        raise NoTargets(f"{type(model).__name__} has no stack of layers.", hint="Use method.name=full.")
    if getattr(config, "is_encoder_decoder", False):
        halves = [[item for item in lists if half in item[0].split(".")] for half in ("encoder", "decoder")]
        if all(halves):
            return [_largest(half) for half in halves]
    return [_largest(lists)]


def _largest(lists: Sequence[tuple[str, ModuleList]]) -> str:
    return max(lists, key=lambda item: (sum(p.numel() for p in item[1].parameters()), -item[0].count(".")))[0]


def _is_stack(modules: ModuleList) -> bool:
    return len({type(m) for m in modules}) == 1 and any(True for _ in modules.parameters()) and any(True for _ in modules[0].children())
