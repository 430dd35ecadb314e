"""Trained vectors before every text, at the embeddings: calls of the body go through them as calls of the whole model do.

PEFT puts them before the inputs of the whole model, past which a loss that reads hidden states would go; here they stand
where the body (of an encoder-decoder the encoder) takes its token ids. What it says at their positions is taken away again,
so that everything above finds a state for every token, but not where a text classifier looks at the first position: the
first vector stands there, as in PEFT, whose files these are.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from weitiao.errors import BadValue
from weitiao.models.adapter import keep, quiet_peft, task_type
from weitiao.models.anatomy import body_of
from weitiao.models.head import new_modules
from weitiao.models.tokens import positions

ENCODER = "prompt_encoder"
"""Name under which the model holds what makes the vectors."""


def prompted(model: Module, kind: str, *, virtual_tokens: int, **settings: Any) -> Module:
    """Return the model with so many vectors before every text, which train, and a new head; nothing else does.

    kind: as PEFT calls it, PROMPT_TUNING or P_TUNING. settings: of PEFT's configuration. Raises BadValue where the context has no room.
    """
    import peft

    any_model: Any = model
    if (most := positions(any_model.config)) is not None and virtual_tokens >= most:
        raise BadValue(
            f"method.num_virtual_tokens: {virtual_tokens} vectors leave no room for a text in the {most} positions of the model.", hint="Usual: 10 to 100."
        )
    with quiet_peft():
        config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[kind](
            num_virtual_tokens=virtual_tokens,
            task_type=task_type(model) or "FEATURE_EXTRACTION",  # PEFT knows no masked language models, and takes prompts for tasks that it knows
            modules_to_save=[name.rpartition(".")[2] for name in new_modules(model)] or None,
            **settings,
        )
        wrapper = peft.get_peft_model(model, config, autocast_adapter_dtype=False)
    return install(wrapper)


def install(wrapper: Any) -> Module:
    """Return the model inside PEFT's object, with PEFT's vectors put before every text."""
    model: Any = wrapper.get_base_model()
    encoder = wrapper.prompt_encoder["default"]
    model.add_module(ENCODER, encoder)
    inner = model.get_encoder() if model.config.is_encoder_decoder else body_of(model)
    seam = _Seam(wrapper, inner, strips=not (model.config.is_encoder_decoder or _looks_at_first(model)))
    inner.register_forward_pre_hook(seam.before, with_kwargs=True)
    inner.register_forward_hook(seam.behind, with_kwargs=True)
    if model.config.is_encoder_decoder:
        model.get_decoder().register_forward_pre_hook(seam.seen_by_decoder, with_kwargs=True)
    return keep(model, wrapper)


def _looks_at_first(model: Any) -> bool:
    """Tell whether a head reads the state of the first position: text classifiers of encoders do; those of decoders, called `score`, read the last."""
    return type(model).__name__.endswith("ForSequenceClassification") and not hasattr(model, "score")


class _Seam:
    """What happens before and behind the body."""

    def __init__(self, wrapper: Any, inner: Any, *, strips: bool) -> None:
        self.wrapper, self.inner, self.strips = wrapper, inner, strips
        self.names = [name for name in inspect.signature(type(inner).forward).parameters if name != "self"]
        config = wrapper.active_peft_config
        self.count = int(config.num_virtual_tokens)

    def before(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Let the body begin with the vectors, or know of them where it goes on from a cache that holds them."""
        given = dict(zip(self.names, args, strict=False)) | kwargs
        ids, embeddings = given.get("input_ids"), given.get("inputs_embeds")
        first: Any = ids if ids is not None else embeddings
        mask, places, past = given.get("attention_mask"), given.get("position_ids"), given.get("past_key_values")
        if isinstance(mask, Tensor) and mask.dim() != 2 and mask.device.type != "meta":
            raise TypeError("prompts stand before rows, not inside a mask of queries and keys")
        going_on = past is not None and past.get_seq_length() > 0
        if isinstance(mask, Tensor) and mask.dim() == 2:
            given["attention_mask"] = torch.cat([mask.new_ones(len(mask), self.count), mask], 1)
        if going_on:
            if places is not None:
                given["position_ids"] = places + self.count
            return (), given
        if embeddings is None:
            embeddings = self.inner.get_input_embeddings()(ids)
        prompts = self._prompts().to(embeddings.dtype)
        given["input_ids"], given["inputs_embeds"] = None, torch.cat([prompts.expand(len(embeddings), -1, -1), embeddings], 1)
        if places is not None:
            ahead = torch.arange(self.count, device=first.device).expand(len(places), -1)
            given["position_ids"] = torch.cat([ahead, places + self.count], 1)
        if (types := given.get("token_type_ids")) is not None:
            given["token_type_ids"] = torch.cat([types.new_zeros(len(types), self.count), types], 1)
        given.pop("cache_position", None)  # the body counts by itself
        return (), given

    def behind(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        """Take away what the body says at the vectors."""
        if self.strips and kwargs.get("inputs_embeds") is not None:
            out.last_hidden_state = out.last_hidden_state[:, self.count :]
        return out

    def seen_by_decoder(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Let the decoder attend to the states of the vectors too."""
        states, mask = kwargs.get("encoder_hidden_states"), kwargs.get("encoder_attention_mask")
        if states is not None and isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[1] + self.count == states.shape[1]:
            kwargs["encoder_attention_mask"] = torch.cat([mask.new_ones(len(mask), self.count), mask], 1)
        return args, kwargs

    def _prompts(self) -> Tensor:
        """Return the vectors, (1, count, width)."""
        found: Tensor = self.wrapper.get_prompt(batch_size=1)
        return found[:, : self.count]
