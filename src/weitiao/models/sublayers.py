"""Where in a layer attention ends, where the feed-forward network begins and ends, and what closes the layer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch.nn import Linear, Module

from weitiao.errors import NoTargets
from weitiao.models.anatomy import anatomy
from weitiao.models.families import NORM_CLOSES_LAYER

_QUERIES = ("query", "query_proj", "q_proj", "q_lin", "q", "c_attn", "qkv_proj", "Wqkv", "query_key_value", "in_proj")
"""Names of the linear layer that makes queries, perhaps with keys and values."""
KEYS_AND_VALUES = {
    "query": ("key", "value"),
    "query_proj": ("key_proj", "value_proj"),
    "q_proj": ("k_proj", "v_proj"),
    "q_lin": ("k_lin", "v_lin"),
    "q": ("k", "v"),
}
"""Name of the linear layer that makes queries -> of those that make keys and values, where it makes queries alone."""
_OUTPUTS = ("o_proj", "out_proj", "out_lin", "o", "c_proj", "dense", "Wo")
"""Names of the linear layer that brings the heads of an attention together."""
_FEED_FORWARD = (
    ("intermediate.dense", "output.dense"),
    ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    ("mlp", "mlp"),
    ("ffn.up_proj", "ffn.down_proj"),
    ("ffn", "ffn"),
    ("fc1", "fc2"),
)
"""Names in a layer of what the feed-forward network begins and ends with; the residual is added behind it."""


@dataclass(frozen=True)
class Sublayers:
    """Dotted names of the parts of one layer."""

    layer: str
    attentions: tuple[str, ...]
    """Modules whose output is added to the residual: one for each attention, of encoder-decoders also that to the encoder."""
    begins: str
    """The module that the feed-forward network's input goes into."""
    ends: str
    """The module whose output is added to the residual; the same as `begins` where one module is the whole network."""
    closes: str
    """The module whose output is the layer's."""
    norm_closes: bool
    """Whether that is a norm over the sum with the residual (BERT, BART)."""


def attention_modules(model: Module) -> list[tuple[str, str, str]]:
    """Return (name, its projection of queries, its output projection) of every attention in the layers, from the input up, in dotted names."""
    found = []
    for stack in anatomy(model).stacks:
        for inner, module in model.get_submodule(stack).named_modules():
            own = dict(module.named_children())
            query = next((name for name in _QUERIES if name in own), None)
            if query is None:
                continue
            name = f"{stack}.{inner}"
            output = next((f"{name}.{leaf}" for leaf in _OUTPUTS if leaf in own), None)
            beside = f"{name.rpartition('.')[0]}.output.dense"
            if output is None and _has(model, beside):
                output = beside
            if output is not None:
                found.append((name, f"{name}.{query}", output))
    return found


def sublayers(model: Module) -> list[Sublayers]:
    """Return the parts of every layer, from the input up. Raises NoTargets for an architecture that is built otherwise."""
    attentions = attention_modules(model)
    found = []
    for stack in anatomy(model).stacks:
        for number, layer in enumerate(model.get_submodule(stack).children()):
            found.append(_parts(model, f"{stack}.{number}", layer, attentions))
    return found


def keys_values_and_feed_forward(model: Module) -> tuple[str, str]:
    """Return two regular expressions over dotted names of linear layers, for IA3.

    The first is for those that make keys and values and those that feed-forward networks end with, the second for the latter
    alone. A layer that makes queries too counts as one that makes keys.
    """
    keys, last = [], []
    for name, query, _ in attention_modules(model):
        leaf = query.rpartition(".")[2]
        keys += [f"{name}.{other}" for other in KEYS_AND_VALUES.get(leaf, (leaf,))]
    for part in sublayers(model):
        inside = [part.ends] if _is_linear(model.get_submodule(part.ends)) else _linear_inside(model, part.begins)
        last += inside[-1:]
    return _expression(model, [*keys, *last]), _expression(model, last)


def _linear_inside(model: Module, name: str) -> list[str]:
    return [f"{name}.{inner}" for inner, module in model.get_submodule(name).named_modules() if _is_linear(module)]


def _is_linear(module: Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Linear | Conv1D)


def _expression(model: Module, names: list[str]) -> str:
    """Return an expression for these names in any layer."""
    stacks = anatomy(model).stacks
    inner = sorted({name.removeprefix(f"{stack}.").partition(".")[2] for name in names for stack in stacks if name.startswith(f"{stack}.")})
    return rf"({'|'.join(map(re.escape, stacks))})\.\d+\.({'|'.join(map(re.escape, inner))})"


def _parts(model: Any, name: str, layer: Module, attentions: list[tuple[str, str, str]]) -> Sublayers:
    outputs = tuple(output for inside, _, output in attentions if inside.startswith(f"{name}."))
    closes, norm_closes = name, False
    if _has(layer, "post_feedforward_layernorm"):  # Gemma 2 and 3 have a norm behind each sublayer, before the residual is added
        return Sublayers(name, (f"{name}.post_attention_layernorm",), f"{name}.mlp", f"{name}.post_feedforward_layernorm", name, False)
    if _has(layer, "layer.0") and any(leaf == "DenseReluDense" for leaf, _ in list(layer.get_submodule("layer").children())[-1].named_children()):
        closes = f"{name}.layer.{len(list(layer.get_submodule('layer').children())) - 1}"  # T5: a layer returns more than hidden states
        begins = ends = f"{closes}.DenseReluDense"
    else:
        pair = next((pair for pair in _FEED_FORWARD if all(_has(layer, part) for part in pair)), None)
        if pair is None or not outputs:
            what = "feed-forward network" if pair is None else "attention"
            raise NoTargets(
                f"method: the {what} in the layers of {type(model).__name__} is not built as in any family known here.", hint="Use method.name=lora."
            )
        begins, ends = (f"{name}.{part}" for part in pair)
        after = model.config.model_type in NORM_CLOSES_LAYER or getattr(layer, "do_layer_norm_before", True) is False
        closing = ["output.LayerNorm", "output_layer_norm", *(["final_layer_norm"] if after else [])]
        if norm := next((part for part in closing if _has(layer, part)), None):
            closes, norm_closes = f"{name}.{norm}", True
    return Sublayers(name, outputs, begins, ends, closes, norm_closes)


def _has(module: Module, name: str) -> bool:
    try:
        module.get_submodule(name)
    except AttributeError:
        return False
    return True
