"""Word embeddings that train only the words there are.

Rows of text hold a part of a model's vocabulary, often a small one: 4,000 rows of SST-2 hold a fourth of MiniLM's words.
The other words get no gradient, yet a dense embedding gives them a gradient of zeros, two moments of Adam and a pass of the
optimizer at every step. Here the words that occur are a matrix of their own while training runs; the others stay where they
are, and feel only the weight decay. What is learnt is the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Embedding, Module, Parameter

WORTHWHILE = 0.75
"""Share of the vocabulary above which the detour is not worth it."""


class SmallEmbedding(Embedding):
    """An embedding whose `weight` holds only the words of the training rows, (words, width)."""

    place: Tensor
    """(vocabulary,): where a word stands in `weight`; -1 where it occurs in no training row."""
    whole: Tensor
    """(vocabulary, width): the words that do not occur, as they were at the start; rows of the others are out of date."""
    faded: float
    """What weight decay has left of the words that do not occur."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the vectors of ids; in evaluation of those too that occur in no training row."""
        at = self.place[input]
        padding = None if self.padding_idx is None else int(self.small_padding)
        found = F.embedding(at.clamp_min(0), self.weight, padding)
        if self.training:
            return found
        return torch.where((at >= 0).unsqueeze(-1), found, F.embedding(input, self.whole) * self.faded)

    small_padding: int


def words(model: Module, ids: Iterable[int]) -> int | None:
    """Return how many words the word embedding is left with for these ids; None where it must stay whole, or most words occur.

    It can be left with some where it trains and nothing else uses its weights: an output embedding that is tied to it has a
    gradient for every word.
    """
    any_model: Any = model
    embedding = any_model.get_input_embeddings()
    if type(embedding) is not Embedding or not embedding.weight.requires_grad or embedding.max_norm is not None or embedding.sparse:
        return None
    if sum(parameter is embedding.weight for _, parameter in model.named_parameters(remove_duplicate=False)) != 1:
        return None
    occurring = len(_with_padding(embedding, ids))
    return occurring if occurring <= WORTHWHILE * embedding.num_embeddings else None


def resting(model: Module, occurring: int | None) -> int:
    """Return how many parameters of the word embedding take no part in training where only so many words occur; None: it stays whole."""
    if occurring is None:
        return 0
    any_model: Any = model
    embedding: Embedding = any_model.get_input_embeddings()
    return (embedding.num_embeddings - occurring) * embedding.embedding_dim


def _with_padding(embedding: Embedding, ids: Iterable[int]) -> list[int]:
    return sorted({*ids, *(() if embedding.padding_idx is None else (embedding.padding_idx,))})


def shrink(model: Module, ids: Iterable[int]) -> SmallEmbedding:
    """Leave only the words with these ids in the model's word embedding, and return it; `words` tells whether that can be done."""
    any_model: Any = model
    embedding: Embedding = any_model.get_input_embeddings()
    seen, padding, weight = _with_padding(embedding, ids), embedding.padding_idx, embedding.weight
    words = torch.tensor(seen, device=weight.device)
    embedding.__class__ = SmallEmbedding
    small: Any = embedding
    small.words = words
    small.place = torch.full((embedding.num_embeddings,), -1, device=weight.device)
    small.place[words] = torch.arange(len(seen), device=weight.device)
    small.small_padding = 0 if padding is None else int(small.place[padding])
    small.whole, small.faded = weight.detach(), 1.0
    embedding.weight = Parameter(weight.detach()[words].clone())
    result: SmallEmbedding = small
    return result


def fade(embedding: SmallEmbedding, learning_rates: Iterable[float], weight_decay: float) -> None:
    """Let the words that do not occur feel the decay of steps at these learning rates (AdamW, arXiv:1711.05101)."""
    left = 1.0
    for rate in learning_rates:
        left *= 1.0 - rate * weight_decay
    embedding.faded = left


def grow(embedding: SmallEmbedding) -> None:
    """Put the whole vocabulary back, what was learnt and what decay left of the rest: a plain embedding again."""
    small: Any = embedding
    whole = small.whole * small.faded
    whole[small.words] = small.weight.detach()
    for name in ("words", "place", "small_padding", "whole", "faded"):
        delattr(small, name)
    small.__class__ = Embedding
    embedding.weight = Parameter(whole)
