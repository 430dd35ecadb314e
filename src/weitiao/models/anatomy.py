"""Which parameters of a model are embeddings, which belong to layer k, and which stand above the layers."""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn import Module, ModuleList

from weitiao.errors import NoTargets

_EMBEDDING_WORDS = ("embed", "wte", "wpe", "shared")


@dataclass(frozen=True)
class Anatomy:
    """Parameter names by place, and the layers as modules, from the input up."""

    embeddings: tuple[str, ...]
    layers: tuple[tuple[str, ...], ...]
    head: tuple[str, ...]
    """Everything above the layers: final norm, pooler, classifier."""
    stack: str
    """Dotted name of the list of layers."""
    embedding_modules: tuple[str, ...]


def anatomy(model: Module) -> Anatomy:
    """Return the anatomy of a transformer with one stack of layers. Raises NoTargets where no stack is found."""
    stacks = [(name, module) for name, module in model.named_modules() if isinstance(module, ModuleList) and len(module) and _is_stack(module)]
    if not stacks:
        raise NoTargets(f"{type(model).__name__} has no stack of layers.", hint="Use method.name=full.")
    name, stack = max(stacks, key=lambda item: (sum(p.numel() for p in item[1].parameters()), -item[0].count(".")))
    prefix = f"{name}."
    layers: list[list[str]] = [[] for _ in stack]
    embeddings, head = [], []
    for parameter, _ in model.named_parameters():
        if parameter.startswith(prefix):
            layers[int(parameter.removeprefix(prefix).partition(".")[0])].append(parameter)
        elif any(word in parameter for word in _EMBEDDING_WORDS):
            embeddings.append(parameter)
        else:
            head.append(parameter)
    modules = tuple(
        n for n, m in model.named_modules() if n and not n.startswith(prefix) and n != name and any(w in n.rpartition(".")[2] for w in _EMBEDDING_WORDS)
    )
    return Anatomy(tuple(embeddings), tuple(tuple(layer) for layer in layers), tuple(head), name, modules)


def _is_stack(modules: ModuleList) -> bool:
    return len({type(m) for m in modules}) == 1 and any(True for _ in modules.parameters()) and any(True for _ in modules[0].children())
