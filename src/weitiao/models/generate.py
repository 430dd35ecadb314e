"""Generated texts: many prompts at a time, or one, word by word, for a person who waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import Module

from weitiao.core.contracts import Answer, Generation
from weitiao.models.load import _quiet
from weitiao.models.tokens import Tokenizer

BATCH = 16
"""Prompts generated at a time: on two cores 16 together take about twice as long as one."""


def answers(
    model: Module,
    prompts: Sequence[Sequence[int]],
    tokenizer: Tokenizer,
    generation: Generation,
    *,
    device: torch.device,
    seed: int = 0,
    on_batch: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Return one answer per prompt (token ids), in order: each up to its end token or max_new_tokens.

    Prompts of like length go together, padded at the left and masked by position. on_batch gets how many are done, of
    how many.
    """
    order = sorted(range(len(prompts)), key=lambda n: -len(prompts[n]))
    found: list[Answer] = [Answer("", 0, False)] * len(prompts)
    was_training = model.training
    model.eval()
    torch.manual_seed(seed)
    try:
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            for n, ids in zip(chosen, _generated(model, [prompts[n] for n in chosen], tokenizer, generation, device=device), strict=True):
                found[n] = _answer(ids, tokenizer)
            if on_batch is not None:
                on_batch(start + len(chosen), len(order))
    finally:
        model.train(was_training)
    return found


def stream(
    model: Module, prompt: Sequence[int], tokenizer: Tokenizer, generation: Generation, *, device: torch.device, on_text: Callable[[str], None]
) -> Answer:
    """Return the answer to one prompt; on_text gets each further piece of the text as soon as it is certain."""
    ends, told, ids = tokenizer.ends, "", list[int]()

    class Streamer:
        begun = False

        def put(self, value: torch.Tensor) -> None:
            nonlocal told
            if not self.begun:  # the prompt comes first
                self.begun = True
                return
            ids.extend(token for token in value.reshape(-1).tolist() if token not in ends)
            text = tokenizer.decode(ids)
            if not text.endswith("\ufffd"):  # a character whose bytes are not all there yet
                on_text(text[len(told) :])
                told = text

        def end(self) -> None:
            return None

    model.eval()
    (found,) = _generated(model, [prompt], tokenizer, generation, device=device, streamer=Streamer())
    answer = _answer(found, tokenizer)
    on_text(answer.text[len(told) :] if answer.text.startswith(told) else "")
    return answer


def _generated(
    model: Any, prompts: Sequence[Sequence[int]], tokenizer: Tokenizer, generation: Generation, *, device: torch.device, streamer: Any = None
) -> list[list[int]]:
    from transformers import GenerationConfig

    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), tokenizer.pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for n, prompt in enumerate(prompts):
        ids[n, longest - len(prompt) :] = torch.as_tensor(prompt)
        mask[n, longest - len(prompt) :] = 1
    room = generation.max_new_tokens if tokenizer.longest is None else min(generation.max_new_tokens, tokenizer.longest - longest)
    drawn = generation.temperature > 0
    with torch.inference_mode(), _quiet():  # the settings too: a top_k beside the most probable token makes transformers talk
        settings = GenerationConfig(
            max_new_tokens=max(room, 1),
            do_sample=drawn,
            temperature=generation.temperature if drawn else 1.0,
            top_p=generation.top_p if drawn else 1.0,
            top_k=0,
            num_beams=1,
            repetition_penalty=1.0,  # whatever the model's own file says: before and after are generated alike
            no_repeat_ngram_size=0,
            eos_token_id=sorted(tokenizer.ends) or None,
            pad_token_id=tokenizer.pad_id,
        )
        made = model.generate(input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=settings, streamer=streamer)
    return [row[longest:] for row in made.tolist()]


def _answer(ids: Sequence[int], tokenizer: Tokenizer) -> Answer:
    end = next((n for n, token in enumerate(ids) if token in tokenizer.ends), None)
    said = ids[:end]
    return Answer(tokenizer.decode(said).strip(), len(said), end is not None)
