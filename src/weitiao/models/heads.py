"""The heads of every attention, and which entries of its projections belong to each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import Module

from weitiao.errors import NoTargets
from weitiao.models.families import FUSED_IN_BLOCKS, FUSED_PER_HEAD
from weitiao.models.sublayers import KEYS_AND_VALUES, attention_modules
from weitiao.models.woven import Part


@dataclass(frozen=True)
class _Rows:
    """Where the heads of a projection stand among its outputs: head h at start + h x step."""

    module: str
    start: int
    step: int


@dataclass(frozen=True)
class Attention:
    """One attention: how many heads of queries and of keys it has, and where they stand."""

    name: str
    heads: int
    groups: int
    """Heads of keys and values; fewer than heads of queries where several share one (arXiv:2305.13245)."""
    width: int
    output: str
    query: _Rows
    key: _Rows
    value: _Rows

    def parts(self, model: Module, chosen: Collection[int]) -> dict[str, Part]:
        """Return the entries that belong to some heads: rows of the projections and their biases, columns of the output projection.

        A head of keys and values that several heads of queries share belongs to them together: its entries are among these
        where all of them are chosen. The bias of the output projection belongs to no head.
        """
        shared = self.heads // self.groups
        whole = [g for g in range(self.groups) if all(g * shared + n in chosen for n in range(shared))]
        wanted: dict[str, list[int]] = {}
        for rows, picked in ((self.query, sorted(chosen)), (self.key, whole), (self.value, whole)):
            wanted.setdefault(rows.module, []).extend(rows.start + n * rows.step + w for n in picked for w in range(self.width))
        found = {}
        for name, places in wanted.items():
            if not places:
                continue
            at = torch.tensor(sorted(places))
            module: Any = model.get_submodule(name)
            found[f"{name}.weight"] = Part(at, 0 if _out_first(module) else 1)
            if getattr(module, "bias", None) is not None:
                found[f"{name}.bias"] = Part(at, 0)
        columns = torch.tensor([n * self.width + w for n in sorted(chosen) for w in range(self.width)])
        found[f"{self.output}.weight"] = Part(columns, 1 if _out_first(model.get_submodule(self.output)) else 0)
        return found


def attentions(model: Module) -> list[Attention]:
    """Return every attention from the input up; of an encoder-decoder those of the encoder first, then each decoder layer's own and that to the encoder.

    Raises NoTargets where the projections of an architecture are put together in a way that is not known here.
    """
    found = [_attention(model, *names) for names in attention_modules(model)]
    if not found:
        raise NoTargets(f"method: the attention of {type(model).__name__} is not built as in any family known here.", hint="Use method.name=lora.")
    return found


def _attention(model: Any, name: str, query: str, output: str) -> Attention:
    module: Any = model.get_submodule(name)
    config = model.config.get_text_config()
    heads = next((int(n) for n in (getattr(module, a, None) for a in ("num_heads", "num_attention_heads", "n_heads")) if isinstance(n, int)), 0)
    heads = heads or int(config.num_attention_heads)
    width, left = divmod(_inputs(model.get_submodule(output)), heads)
    leaf, total = query.rpartition(".")[2], _outputs(model.get_submodule(query))
    fits = left == 0
    if leaf in KEYS_AND_VALUES:
        key, value = (f"{name}.{other}" for other in KEYS_AND_VALUES[leaf])
        groups, left = divmod(_outputs(model.get_submodule(key)), width)
        rows = [_Rows(projection, 0, width) for projection in (query, key, value)]
        fits = fits and total == heads * width and left == 0
    elif config.model_type in FUSED_PER_HEAD:
        groups, rows = heads, [_Rows(query, n * width, 3 * width) for n in range(3)]
        fits = fits and total == 3 * heads * width
    else:
        groups = (total // width - heads) // 2
        rows = [_Rows(query, start * width, width) for start in (0, heads, heads + groups)]
        fits = fits and config.model_type in FUSED_IN_BLOCKS and total == (heads + 2 * groups) * width
    if not fits or groups < 1 or heads % groups:
        raise NoTargets(
            f"method: which rows of {query} belong to which head of {type(model).__name__} is not known here.",
            hint="Use method.name=lora with target_modules, which takes the projections whole.",
        )
    return Attention(name, heads, groups, width, output, *rows)


def _out_first(module: Module) -> bool:
    """Tell whether a projection's weight is (out, in); that of GPT-2's Conv1D is (in, out)."""
    return isinstance(module, torch.nn.Linear)


def _inputs(module: Any) -> int:
    return int(module.weight.shape[1 if _out_first(module) else 0])


def _outputs(module: Any) -> int:
    return int(module.weight.shape[0 if _out_first(module) else 1])
