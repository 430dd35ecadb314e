"""The loop that continues many texts at once.

A step is one forward: the last token of every text under way, and as many tokens of waiting prompts as keep the processor
busy. A text that is done leaves at once and a waiting prompt takes its place, so no row waits for the longest. Prompts
that begin alike, as those of one chat template do, have their common beginning computed once and copied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch.nn import Module

from weitiao.models import incremental
from weitiao.models.cache import Cache, Piece, Step, free_bytes
from weitiao.models.sampling import Chooser

ROWS = {"cpu": 64}
"""Texts under way at a time, at most."""
ROWS_ELSEWHERE = 256
TOKENS = {"cpu": 512}
"""Tokens of one forward, about: prompts are cut into pieces so that no step is longer."""
TOKENS_ELSEWHERE = 4096
MEMORY_SHARE = 0.4
"""Part of the free memory that keys and values may take."""
WORTH_SHARING = 64
"""Tokens that a common beginning must save: computing it is a forward of its own."""


@dataclass(slots=True)
class Known:
    """A text whose keys and values are there: prompts that begin like it go on from where they part."""

    ids: list[int] = field(default_factory=list)
    cache: Cache | None = None
    """Its first row."""

    def shared(self, prompt: Sequence[int]) -> int:
        """Return how many tokens of a prompt need not be computed; the last always is, for what comes behind it."""
        return min(_alike(self.ids, prompt), len(prompt) - 1) if self.cache is not None else 0

    def become(self, ids: Sequence[int], decoding: Decoding) -> None:
        """Hold the one text of a decoding instead, ids so far, however it ended; the last token has not gone through the model."""
        self.ids, self.cache = list(ids[:-1]), decoding.cache


@dataclass(slots=True)
class _Text:
    number: int
    prompt: Sequence[int]
    limit: int
    past: int = 0
    """Tokens, of the prompt and made, whose keys are there."""
    made: list[int] = field(default_factory=list)

    @property
    def places(self) -> int:
        return len(self.prompt) + self.limit


class Decoding:
    """Prompts on their way to texts. Make it and step it inside `incremental.continuing(model)`, while `busy`."""

    def __init__(
        self,
        model: Module,
        prompts: Sequence[Sequence[int]],
        limits: Sequence[int],
        *,
        choose: Chooser,
        ended: Callable[[Sequence[int]], bool],
        device: torch.device,
        known: Known | None = None,
        rows: int | None = None,
    ) -> None:
        """limits: how many tokens each prompt may get. ended: whether a text is complete. known: a text to go on from."""
        self.model, self.choose, self.ended, self.device = model, choose, ended, device
        self.most_rows = rows or ROWS.get(device.type, ROWS_ELSEWHERE)
        self.most_tokens = TOKENS.get(device.type, TOKENS_ELSEWHERE)
        texts = [_Text(n, prompt, limit) for n, (prompt, limit) in enumerate(zip(prompts, limits, strict=True))]
        self.waiting = deque(sorted(texts, key=lambda text: -text.places))  # the longest first: memory is known at once, and lengths are alike
        self.under_way: list[_Text] = []
        """Row by row; only the last may still lack a part of its prompt."""
        self.cache = Cache(0, 0)
        self.known = known or self._beginning(prompts)
        self.most_places = int(MEMORY_SHARE * free_bytes(device)) // max(1, incremental.proof(model).bytes_of_a_place)

    @property
    def busy(self) -> bool:
        """Whether any text is not done."""
        return bool(self.waiting or self.under_way)

    @torch.inference_mode()
    def step(self) -> list[tuple[int, int, bool]]:
        """Go one forward on; return the new tokens: the prompt's number, the token, and whether the text is done with it."""
        going = [text for text in self.under_way if text.made]
        ids = [text.made[-1] for text in going]
        wanted, makers = list(range(len(going))), list(going)
        pieces: list[Piece] = []
        lengths = [text.past for text in going]
        while (room := self.most_tokens - len(ids)) > 0:
            text = self.under_way[-1] if len(self.under_way) > len(going) + len(pieces) else self._admitted()
            if text is None:
                break
            part = text.prompt[text.past : text.past + room]
            pieces.append(Piece(len(going) + len(pieces), text.past, len(part)))
            ids.extend(part)
            text.past += len(part)
            if text.past == len(text.prompt):
                wanted.append(len(ids) - 1)
                makers.append(text)
        logits = incremental.logits(self.model, ids, Step(self.cache, lengths, pieces, self.device), wanted)
        for text in going:
            text.past += 1
        if not makers:
            return []
        found = []
        for text, token in zip(makers, self.choose(logits, [(text.number, len(text.made)) for text in makers]), strict=True):
            text.made.append(token)
            found.append((text.number, token, len(text.made) == text.limit or self.ended(text.made)))
        self._leave({number for number, _, done in found if done})
        return found

    def _admitted(self) -> _Text | None:
        """Return the next prompt with a row of its own, if there is one and memory for it."""
        if not self.waiting or len(self.under_way) == self.most_rows:
            return None
        text = self.waiting[0]
        rows, places = len(self.under_way) + 1, max(each.places for each in (*self.under_way, text))
        if rows > self.cache.rows or places > self.cache.places:
            if rows > 1 and rows * places > self.most_places:
                return None
            wanted = min(self.most_rows, len(self.under_way) + len(self.waiting), max(rows, self.most_places // places))
            self.cache = self.cache.resized(wanted, places, [each.past for each in self.under_way])
        self.under_way.append(self.waiting.popleft())
        if self.known.cache is not None and (shared := self.known.shared(text.prompt)):
            self.cache.take(self.known.cache, 0, rows - 1, shared)
            text.past = shared
        return text

    def _leave(self, done: set[int]) -> None:
        """Take texts out of their rows; the last rows move into the gaps, and one that still lacks a part of its prompt stays last."""
        lacking = self.under_way.pop() if not self.under_way[-1].made else None
        row_of_lacking = len(self.under_way)
        for row in range(len(self.under_way) - 1, -1, -1):
            if self.under_way[row].number in done:
                last = self.under_way.pop()
                if row < len(self.under_way):
                    self.under_way[row] = last
                    self.cache.take(self.cache, len(self.under_way), row, last.past)
        if lacking is not None:
            if row_of_lacking != len(self.under_way):
                self.cache.take(self.cache, row_of_lacking, len(self.under_way), lacking.past)
            self.under_way.append(lacking)

    def _beginning(self, prompts: Sequence[Sequence[int]]) -> Known:
        """Return the beginning that many prompts share, computed, if that is worth a forward."""
        if len(prompts) < 2:
            return Known()
        middle = sorted(list(prompt) for prompt in prompts)[len(prompts) // 2]
        lengths = sorted((min(_alike(middle, prompt), len(prompt) - 1) for prompt in prompts), reverse=True)
        saved, length = max(((n * length, length) for n, length in enumerate(lengths)), default=(0, 0))
        if saved < WORTH_SHARING:
            return Known()
        cache = Cache(1, length)
        for past in range(0, length, self.most_tokens):
            part = middle[past : min(past + self.most_tokens, length)]
            incremental.logits(self.model, part, Step(cache, [], [Piece(0, past, len(part))], self.device), [])
        return Known(middle[:length], cache)


def _alike(one: Sequence[int], two: Sequence[int]) -> int:
    """Return how many tokens two texts begin with alike."""
    most = min(len(one), len(two))
    return next((n for n in range(most) if one[n] != two[n]), most)
