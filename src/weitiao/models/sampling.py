"""Which token comes next: the most probable one, or one drawn so that a text depends on its prompt and the seed alone.

Each prompt has random numbers of its own, drawn from the seed and its tokens, one per token of its answer. Who else is in
the batch, and when a row enters or leaves it, changes none of them. (Logits of different batches differ in their last
bits, which decides between tokens only where two are equally good to that many digits.)
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from weitiao.core.contracts import Generation

MOST_PROBABLE = 1024
"""Tokens that are sorted first: where they have probability top_p together, the whole vocabulary need not be."""


class Chooser:
    """The next tokens of many prompts. Equal prompts of one call get different random numbers."""

    def __init__(self, prompts: Sequence[Sequence[int]], generation: Generation, *, seed: int) -> None:
        self._generation = generation
        self._uniform: list[list[float]] = []
        if generation.temperature > 0:
            times = Counter[bytes]()
            for prompt in prompts:
                ids = array("q", prompt).tobytes()
                self._uniform.append(_uniform(seed, ids, times[ids], generation.max_new_tokens))
                times[ids] += 1

    def __call__(self, logits: Tensor, who: Sequence[tuple[int, int]]) -> list[int]:
        """Return a token per row of logits, (rows, vocabulary); who: for each row the prompt's number and which of its tokens this is."""
        if self._generation.temperature <= 0:
            return logits.argmax(-1).tolist()
        uniform = torch.tensor([self._uniform[number][nth] for number, nth in who], dtype=torch.float64, device=logits.device)
        return drawn(torch.softmax(logits / self._generation.temperature, -1), uniform, self._generation.top_p).tolist()


def drawn(probabilities: Tensor, uniform: Tensor, top_p: float) -> Tensor:
    """Return for each row of probabilities, (rows, vocabulary), the token at which their running sum passes a number in [0, 1).

    Only the most probable tokens that have probability top_p together take part (Holtzman et al., 2019, arXiv:1904.09751).
    """
    tokens = None
    if top_p < 1:
        most = min(MOST_PROBABLE, probabilities.shape[-1])
        kept, tokens = probabilities.topk(most)
        if bool((kept.sum(-1) < top_p).any()):
            kept, tokens = probabilities.sort(descending=True)
        probabilities = kept.masked_fill(kept.cumsum(-1) - kept >= top_p, 0)
    sums = probabilities.cumsum(-1, dtype=torch.float64)
    found = torch.searchsorted(sums, (uniform * sums[:, -1])[:, None], right=True).clamp_(max=sums.shape[-1] - 1)
    return (found if tokens is None else tokens.gather(-1, found))[:, 0]


def _uniform(seed: int, ids: bytes, times: int, count: int) -> list[float]:
    digest = hashlib.blake2b(ids, digest_size=7, key=f"{seed} {times}".encode()).digest()
    return torch.rand(count, generator=torch.Generator().manual_seed(int.from_bytes(digest, "big")), dtype=torch.float64).tolist()
