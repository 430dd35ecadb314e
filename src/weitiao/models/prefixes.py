"""Trained keys and values that every token sees in every layer, put into attention itself.

PEFT hands them over as a cache of earlier tokens, which gradient checkpointing throws away without a word; here the
attention function adds them to the keys and values it gets. Positions begin behind them, as they do behind a cache, so the
file is PEFT's and says the same there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from weitiao.errors import BadValue, NoTargets
from weitiao.models import attention
from weitiao.models.adapter import keep, quiet_peft, task_type
from weitiao.models.anatomy import body_of
from weitiao.models.families import POSITIONS_BEHIND_PADDING
from weitiao.models.head import new_modules
from weitiao.models.heads import attentions
from weitiao.models.prompts import ENCODER
from weitiao.models.tokens import positions

NAME = "weitiao_prefix"
"""Name under which transformers knows the attention function of this file."""
_KEPT = "_weitiao_prefix"


def prefixed(model: Module, *, virtual_tokens: int, **settings: Any) -> Module:
    """Return the model with so many keys and values before those of every text, which train, and a new head; nothing else does.

    settings: of PEFT's PrefixTuningConfig. Raises BadValue where the context has no room, NoTargets where the architecture has
    an attention of its own, or two stacks.
    """
    import peft

    any_model: Any = model
    refused = NoTargets(
        f"method: the attention of {type(model).__name__} cannot be given keys and values from outside, so a prefix would train nothing.",
        hint="Use method.name=prompt_tuning, whose vectors stand before the text, or method.name=lora.",
    )
    if any_model.config.is_encoder_decoder:
        raise NoTargets(
            f"method: {type(model).__name__} has two stacks, and prefix_tuning is for models of one.",
            hint="Use method.name=prompt_tuning, whose vectors stand before the text, or method.name=lora.",
        )
    if (most := positions(any_model.config)) is not None and virtual_tokens >= most:
        raise BadValue(
            f"method.num_virtual_tokens: {virtual_tokens} vectors leave no room for a text in the {most} positions of the model.", hint="Usual: 10 to 100."
        )
    every = attentions(model)
    groups, width = every[0].groups, every[0].width
    if any((one.groups, one.width) != (groups, width) for one in every):
        raise refused
    with quiet_peft():
        config = peft.PrefixTuningConfig(
            num_virtual_tokens=virtual_tokens,
            task_type=task_type(model) or "FEATURE_EXTRACTION",  # as for prompts
            modules_to_save=[name.rpartition(".")[2] for name in new_modules(model)] or None,
            num_layers=len(every),
            num_attention_heads=groups,
            token_dim=groups * width,
            **settings,
        )
        found = install(peft.get_peft_model(model, config, autocast_adapter_dtype=False))
    if not _heard(found):
        raise refused
    return found


def install(wrapper: Any) -> Module:
    """Return the model inside PEFT's object, with PEFT's keys and values in its attention."""
    model: Any = wrapper.get_base_model()
    model.add_module(ENCODER, wrapper.prompt_encoder["default"])
    seam = _Seam(wrapper, model.config)
    for number, one in enumerate(attentions(model)):
        object.__setattr__(model.get_submodule(one.name), _KEPT, (seam, number))
    body = body_of(model)
    body.register_forward_pre_hook(seam.before, with_kwargs=True)
    attention.register(NAME, _attend)
    if getattr(model.config, "_attn_implementation", None) in ("sdpa", "eager", attention.NAME):
        model.set_attn_implementation(NAME)
    return keep(model, wrapper)


def _heard(model: Any) -> bool:
    """Tell whether every attention asks for its prefix: an architecture may take the function's name and ignore it."""
    inside = [getattr(model.get_submodule(one.name), _KEPT) for one in attentions(model)]
    seam: _Seam = inside[0][0]
    seam.asked.clear()
    ids = torch.arange(3, 9, device=next(model.parameters()).device)[None]
    mask = torch.ones((1, 1, 6, 6), dtype=torch.bool, device=ids.device)  # of four dimensions: handed on unread, as the meta device needs it
    try:
        with torch.no_grad():
            body_of(model)(input_ids=ids, attention_mask=mask)
    except (TypeError, ValueError, RuntimeError, NotImplementedError, KeyError, AttributeError):
        return False
    return seam.asked == {number for _, number in inside}


class _Seam:
    """The keys and values of a forward."""

    def __init__(self, wrapper: Any, config: Any) -> None:
        self.wrapper, self.config = wrapper, config
        self.settings = wrapper.active_peft_config
        self.count = int(self.settings.num_virtual_tokens)
        self.asked: set[int] = set()
        self.layers: Tensor | None = None

    def before(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Make the keys and values once for all layers, and let positions begin behind them."""
        if "continued" in kwargs or "documents" in kwargs:  # another attention takes over then, which knows of no prefix
            raise TypeError("a prefix stands before padded rows, in its own attention")
        encoder = self.wrapper.prompt_encoder["default"]
        tokens = torch.arange(self.count, device=encoder.embedding.weight.device)[None]
        made = encoder.embedding.weight[None] if self.settings.inference_mode else encoder(tokens)
        heads = self.settings.num_attention_heads
        # as PEFT lays them out: (layers x 2, 1, heads, count, width)
        self.layers = made.view(1, self.count, self.settings.num_layers * 2, heads, self.settings.token_dim // heads).permute(2, 0, 3, 1, 4)
        ids: Tensor = args[0] if args else kwargs["input_ids"] if kwargs.get("input_ids") is not None else kwargs["inputs_embeds"]
        places = kwargs.get("position_ids")
        if places is None:
            past = kwargs.get("past_key_values")
            begin = 0 if past is None else int(past.get_seq_length())
            if self.config.model_type in POSITIONS_BEHIND_PADDING and ids.dim() == 2:
                real = ids.ne(self.config.pad_token_id or 0).long()
                kwargs["position_ids"] = (real.cumsum(1) + begin + self.count) * real + (self.config.pad_token_id or 0)
                return args, kwargs
            places = torch.arange(begin, begin + ids.shape[1], device=ids.device)[None]
        kwargs["position_ids"] = places + self.count
        return args, kwargs

    def of_layer(self, number: int) -> tuple[Tensor, Tensor]:
        """Return keys and values of a layer, (1, heads, count, width) each."""
        assert self.layers is not None
        self.asked.add(number)
        return self.layers[2 * number], self.layers[2 * number + 1]


def _attend(module: Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **others: Any) -> tuple[Tensor, None]:
    """Return attention over the prefix and the keys and values given, (batch, length, heads, width)."""
    found: tuple[_Seam, int] | None = getattr(module, _KEPT, None)
    if found is None:
        return attention.attend(module, query, key, value, attention_mask, **others)
    seam, number = found
    causal = others.get("is_causal")
    causal = bool(getattr(module, "is_causal", False) if causal is None else causal)
    window = others.get("sliding_window") if causal else None
    queries, keys = query.shape[2], key.shape[2]
    mask = attention_mask
    if mask is None and causal and queries > 1:
        mask = attention.visible(keys, window, True, query.device)[None, None, keys - queries :]
    own_keys, own_values = (part.expand(len(key), -1, -1, -1).to(key.dtype) for part in seam.of_layer(number))
    if mask is None and window and keys + seam.count > window:
        mask = torch.ones((1, 1, queries, keys), dtype=torch.bool, device=query.device)
    if mask is not None:
        seen = torch.ones((queries, seam.count), dtype=torch.bool, device=query.device)
        if window:  # the prefix stands as far away as earlier tokens would
            at = torch.arange(keys - queries, keys, device=query.device)[:, None] + seam.count
            seen = at - torch.arange(seam.count, device=query.device)[None] < window
        ahead = seen if mask.dtype == torch.bool else torch.zeros_like(seen, dtype=mask.dtype).masked_fill_(~seen, torch.finfo(mask.dtype).min)
        mask = torch.cat([ahead.expand(*mask.shape[:2], -1, -1), mask.expand(-1, -1, queries, keys)], -1)
    return attention.attend(module, query, torch.cat([own_keys, key], 2), torch.cat([own_values, value], 2), mask, **others)
