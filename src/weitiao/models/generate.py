"""Generated texts: many prompts at a time, or one, word by word, for a person who waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import Module

from weitiao.core.contracts import Answer, Generation
from weitiao.models import fallback, incremental
from weitiao.models.decode import Decoding, Known
from weitiao.models.sampling import Chooser
from weitiao.models.tokens import Tokenizer


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
    """Return one answer per prompt (token ids), in order: each up to its end token, a stop string or max_new_tokens.

    An answer depends on its prompt and the seed, not on the other prompts. on_batch gets how many are done, of how many.
    """
    prompts = [_begun(prompt, tokenizer) for prompt in prompts]
    made: list[list[int]] = [[] for _ in prompts]
    ended = _Ended(tokenizer, generation)
    limits = _limits(prompts, tokenizer, generation)
    if not prompts:
        return []
    was_training = model.training
    model.eval()
    try:
        if _fits(model, prompts, limits, generation):
            choose = Chooser(prompts, generation, seed=seed)
            finished = 0
            with incremental.continuing(model):
                decoding = Decoding(model, prompts, limits, choose=choose, ended=ended, device=device)
                while decoding.busy:
                    before = finished
                    for number, token, done in decoding.step():
                        made[number].append(token)
                        finished += done
                    if on_batch is not None and finished > before:
                        on_batch(finished, len(prompts))
        else:
            torch.manual_seed(seed)
            order = sorted(range(len(prompts)), key=lambda n: -len(prompts[n]))
            for start in range(0, len(order), fallback.BATCH):
                chosen = order[start : start + fallback.BATCH]
                found = fallback.generated(model, [prompts[n] for n in chosen], tokenizer, generation, device=device, ended=ended)
                for n, ids in zip(chosen, found, strict=True):
                    made[n] = ids
                if on_batch is not None:
                    on_batch(start + len(chosen), len(order))
    finally:
        model.train(was_training)
    return [ended.answer(ids) for ids in made]


def stream(
    model: Module,
    prompt: Sequence[int],
    tokenizer: Tokenizer,
    generation: Generation,
    *,
    device: torch.device,
    on_text: Callable[[str], None],
    known: Known | None = None,
) -> Answer:
    """Return the answer to one prompt; on_text gets each further piece of the text as soon as it is certain.

    known: what the model has read before, such as the conversation so far; what the prompt shares with it is not computed
    again, and afterwards it holds the prompt and the answer. Tokens are drawn from torch's own random state.
    """
    ended, told, ids = _Ended(tokenizer, generation), "", list[int]()
    prompt = _begun(prompt, tokenizer)
    limits = _limits([prompt], tokenizer, generation)

    def heard(token: int) -> None:
        nonlocal told
        ids.append(token)
        text = ended.certain(ids)
        if text.startswith(told):
            on_text(text[len(told) :])
            told = text

    model.eval()
    if _fits(model, [prompt], limits, generation):
        choose = Chooser([prompt], generation, seed=int(torch.randint(2**62, ())))
        with incremental.continuing(model):
            decoding = Decoding(model, [prompt], limits, choose=choose, ended=ended, device=device, known=known)
            try:
                while decoding.busy:
                    for _, token, _ in decoding.step():
                        heard(token)
            finally:
                if known is not None and ids:
                    known.become([*prompt, *ids], decoding)
    else:
        heard_at_once = heard if generation.num_beams == 1 else None  # which beam wins is known at its end
        ids = fallback.generated(model, [prompt], tokenizer, generation, device=device, ended=ended, on_token=heard_at_once)[0]
    text = ended.text(ids)
    on_text(text[len(told) :] if text.startswith(told) else "")
    return ended.answer(ids)


class _Ended:
    """Where a text ends: at an end token, or where a stop string begins."""

    def __init__(self, tokenizer: Tokenizer, generation: Generation) -> None:
        self.tokenizer, self.ends, self.stop, self.keeps_blanks = tokenizer, tokenizer.ends, generation.stop, generation.keeps_blanks
        self.tail = 4 * max(map(len, self.stop), default=0) + 8
        """The last tokens in which a stop string that has just been completed stands: a character is four tokens at most."""

    def __call__(self, ids: Sequence[int]) -> bool:
        """Tell whether the last of these tokens ends the text."""
        return ids[-1] in self.ends or (bool(self.stop) and self._stops_at(self.tokenizer.decode(ids[-self.tail :])) is not None)

    def answer(self, ids: Sequence[int]) -> Answer:
        """Return the text of tokens up to its end; tokens behind that are ignored."""
        said = self._said(ids)
        whole, text = self.tokenizer.decode(said), self.text(ids)
        return Answer(text if self.keeps_blanks else text.strip(), len(said), len(said) < len(ids) or self._stops_at(whole) is not None)

    def text(self, ids: Sequence[int]) -> str:
        """Return the text as it is, blanks around it included."""
        whole = self.tokenizer.decode(self._said(ids))
        return whole[: self._stops_at(whole)]

    def certain(self, ids: Sequence[int]) -> str:
        """Return the text without what may still change: a character whose bytes are not all there, and what may become a stop string."""
        text = self.text(ids).rstrip("\ufffd")
        begun = max((n for stop in self.stop for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
        return text[: len(text) - begun]

    def _said(self, ids: Sequence[int]) -> Sequence[int]:
        return ids[: next((n for n, token in enumerate(ids) if token in self.ends), None)]

    def _stops_at(self, text: str) -> int | None:
        return min((place for stop in self.stop if (place := text.find(stop)) >= 0), default=None)


def _limits(prompts: Sequence[Sequence[int]], tokenizer: Tokenizer, generation: Generation) -> list[int]:
    """Return how many tokens may follow each prompt: as many as asked for, or as the model's context still takes."""
    if tokenizer.longest is None:
        return [generation.max_new_tokens] * len(prompts)
    return [max(1, min(generation.max_new_tokens, tokenizer.longest - len(prompt))) for prompt in prompts]


def _fits(model: Module, prompts: Sequence[Sequence[int]], limits: Sequence[int], generation: Generation) -> bool:
    """Tell whether our own loop says what the model would; beams are not followed in it."""
    if generation.num_beams > 1:
        return False
    longest = max(len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True))
    return longest <= incremental.proof(model).reach


def _begun(prompt: Sequence[int], tokenizer: Tokenizer) -> Sequence[int]:
    """Return the prompt, or where it is empty a token for a text to follow."""
    if prompt:
        return prompt
    return [next(token for token in (tokenizer.begin_id, tokenizer.end_id, tokenizer.pad_id) if token is not None)]
