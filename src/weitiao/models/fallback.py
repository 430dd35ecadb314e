"""Texts by transformers' own `generate`, for models that our forward over texts at different places does not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from weitiao.core.contracts import Generation
from weitiao.models.load import _quiet
from weitiao.models.tokens import Tokenizer

BATCH = 16
"""Prompts generated at a time: on two cores 16 together take about twice as long as one."""


def generated(
    model: Any,
    prompts: Sequence[Sequence[int]],
    tokenizer: Tokenizer,
    generation: Generation,
    *,
    device: torch.device,
    ended: Callable[[Sequence[int]], bool],
    on_token: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """Return the tokens behind each prompt, up to the one at which the text ended. on_token gets those of a single prompt as they come."""
    from transformers import GenerationConfig, StoppingCriteriaList

    apart = bool(getattr(model.config, "is_encoder_decoder", False))  # the prompt is the encoder's, and the answer begins with a token of its own
    longest = max(map(len, prompts))
    begin = 1 if apart else longest
    ids = torch.full((len(prompts), longest), tokenizer.pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for n, prompt in enumerate(prompts):
        places = slice(0, len(prompt)) if apart else slice(longest - len(prompt), None)
        ids[n, places] = torch.as_tensor(prompt)
        mask[n, places] = 1
    room = max(generation.max_new_tokens if tokenizer.longest is None else min(generation.max_new_tokens, tokenizer.longest - begin), 1)
    drawn = generation.temperature > 0
    forced = getattr(getattr(model, "generation_config", None), "forced_eos_token_id", None) is not None  # it would end a text that goes on: BART

    def done(made: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.tensor([ended(row[begin:]) for row in made.tolist()], device=made.device)

    with torch.inference_mode(), _quiet():  # the settings too: a top_k beside the most probable token makes transformers talk
        settings = GenerationConfig(
            max_new_tokens=room + forced,
            do_sample=drawn,
            temperature=generation.temperature if drawn else 1.0,
            top_p=generation.top_p if drawn else 1.0,
            top_k=0,
            num_beams=generation.num_beams,
            repetition_penalty=1.0,  # whatever the model's own file says: before and after are generated alike
            no_repeat_ngram_size=0,
            length_penalty=1.0,
            early_stopping=False,
            min_length=0,
            eos_token_id=sorted(tokenizer.ends) or None,
            pad_token_id=tokenizer.pad_id,
        )
        made = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            generation_config=settings,
            streamer=_Streamer(on_token) if on_token else None,
            stopping_criteria=StoppingCriteriaList([done]) if generation.stop else None,
        )
    return [_up_to_end(row[begin : begin + room], ended) for row in made.tolist()]


def _up_to_end(ids: list[int], ended: Callable[[Sequence[int]], bool]) -> list[int]:
    """Return the tokens without the padding behind a text that ended before others of its batch."""
    return ids[: next((n for n in range(1, len(ids)) if ended(ids[:n])), None)]


class _Streamer:
    def __init__(self, on_token: Callable[[int], None]) -> None:
        self.on_token, self.begun = on_token, False

    def put(self, value: torch.Tensor) -> None:
        if self.begun:
            for token in value.reshape(-1).tolist():
                self.on_token(token)
        self.begun = True  # the prompt comes first

    def end(self) -> None:
        return None
