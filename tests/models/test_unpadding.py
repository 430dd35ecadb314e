"""Batches whose padding the body does not compute, and the attention of rows of like length."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny import DEVICE
from weitiao.core.contracts import Batch
from weitiao.models import attention, checkpointing, dropout, ragged, unpadding
from weitiao.models.anatomy import body_of
from weitiao.models.ragged import alike

LENGTHS = (9, 8, 8, 5, 2)


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 200), min_size=1, max_size=9), most_rows=st.integers(1, 9), cost=st.integers(0, 300))
def test_rows_are_divided_at_the_least_cost_of_all_divisions(lengths: list[int], most_rows: int, cost: int) -> None:
    sizes = np.array(lengths)

    def price(pieces: list[slice]) -> int:
        return sum((piece.stop - piece.start) * max(lengths[piece]) + cost for piece in pieces)

    found = alike(sizes, most_rows=most_rows, cost=cost)
    assert [n for piece in found for n in range(len(lengths))[piece]] == list(range(len(lengths)))
    every = []
    for cuts in itertools.product([False, True], repeat=len(lengths) - 1):
        ends = [*(n for n, cut in enumerate(cuts, 1) if cut), len(lengths)]
        if all(end - start <= most_rows for start, end in itertools.pairwise([0, *ends])):
            every.append([slice(start, end) for start, end in itertools.pairwise([0, *ends])])
    assert price(found) == min(map(price, every))


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=12).map(tuple))
def test_pieces_hold_every_token_once_and_the_way_back_is_the_way_there(lengths: tuple[int, ...]) -> None:
    values = torch.randn(sum(lengths), 3, requires_grad=True)
    found = torch.cat([piece.unpadded(piece.padded(values)) for piece in ragged.pieces(lengths)])
    assert torch.equal(found, values)
    weights = torch.randn_like(found)
    (found * weights).sum().backward()
    assert torch.equal(values.grad, weights)
    for piece in ragged.pieces(lengths):
        rows = piece.padded(values.detach())
        assert rows.shape == (len(piece.lengths), piece.longest, 3)
        for row, length in zip(rows, piece.lengths, strict=True):
            assert torch.count_nonzero(row[length:]) == 0 and torch.count_nonzero(row[:length]) > 0


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 4])
def test_attention_of_rows_of_like_length_is_that_of_each_alone(causal: bool, window: int | None) -> None:
    query = torch.randn(1, 4, sum(LENGTHS), 8)
    key, value = (torch.randn(1, 2, sum(LENGTHS), 8) for _ in range(2))
    together = attention._padded(query, key, value, LENGTHS, 0.3, 0.0, window, None, causal)
    start = 0
    for length in LENGTHS:
        alone = [tensor[:, :, start : start + length] for tensor in (query, key, value)]
        seen = attention.visible(length, window, causal, query.device) if causal or window else None
        expected = attention._plain(*alone, seen, 0.3, 0.0, None)
        torch.testing.assert_close(together[:, start : start + length], expected)
        start += length


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("attend", ["packed", "padded"])
def test_a_step_trains_on_shapes_that_an_evaluation_was_the_first_to_ask_for(attend: str, causal: bool, window: int | None) -> None:
    lengths = (13, 11, 6, 300)  # in no other test: what is remembered of them is made here

    def attended() -> torch.Tensor:
        query, key, value = (torch.randn(1, 4, sum(lengths), 8, requires_grad=True) for _ in range(3))
        if attend == "packed":
            found: torch.Tensor = attention._Packed.apply(query[0], key[0], value[0], lengths, 0, 0.3, window, causal)
            return found
        return attention._padded(query, key, value, lengths, 0.3, 0.0, window, None, causal)

    for remembered in (ragged.places, ragged.is_token, attention._seen_in, attention._unseen):
        remembered.cache_clear()
    with torch.inference_mode():
        attended()
    attended().sum().backward()


def bert(**settings: Any) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 200, "num_labels": 3}
    model = BertForSequenceClassification(BertConfig(**sizes, **settings)).to(DEVICE)
    assert attention.install(model)
    return model


def batch() -> Batch:
    mask = (torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(1, 200, mask.shape) * mask
    return Batch({"input_ids": ids, "attention_mask": mask, "token_type_ids": (ids % 2) * mask}, None, (), sum(LENGTHS)).to(DEVICE)


def test_layers_see_tokens_alone_and_the_head_sees_rows() -> None:
    model, inputs = bert().eval(), batch().inputs
    expected = model(**inputs).logits
    seen: list[tuple[int, ...]] = []
    model.bert.encoder.layer[0].register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape)))
    assert unpadding.works(model)
    seen.clear()
    installed = unpadding.Unpadding(model)
    torch.testing.assert_close(model(**inputs).logits, expected)
    with unpadding.paused(model):
        torch.testing.assert_close(model(**inputs).logits, expected)
    installed.remove()
    torch.testing.assert_close(model(**inputs).logits, expected)
    padded = (len(LENGTHS), max(LENGTHS), 32)
    assert seen == [(1, sum(LENGTHS), 32), padded, padded] and "forward" not in vars(body_of(model))


def test_activations_that_are_computed_again_see_the_same_rows() -> None:
    model, inputs = bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train(), batch().inputs
    model(**inputs).logits.square().sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    checkpointing.enable(model)
    unpadding.Unpadding(model)
    model(**inputs).logits.square().sum().backward()
    for name, gradient in expected.items():
        torch.testing.assert_close(dict(model.named_parameters())[name].grad, gradient, rtol=1e-4, atol=1e-5)


def test_a_batch_without_padding_goes_through_as_it_is() -> None:
    model = bert().eval()
    ids = torch.randint(1, 200, (4, 7), device=DEVICE)
    unpadding.Unpadding(model)
    seen: list[tuple[int, ...]] = []
    model.bert.encoder.layer[0].register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape)))
    model(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert seen == [(4, 7, 32)]


def test_dropout_of_attention_is_as_frequent_as_it_should_be() -> None:
    model = bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.3).train()
    dropout.install(model)
    unpadding.Unpadding(model)
    inputs = batch().inputs
    with torch.no_grad():
        drawn = torch.stack([model(**inputs).logits for _ in range(300)])
        model.eval()
        settled = model(**inputs).logits
    torch.manual_seed(1)
    one = model.train()(**inputs).logits
    torch.manual_seed(1)
    assert torch.equal(model(**inputs).logits, one), "the same seed, the same masks"
    spread = drawn.std(0)
    assert bool((spread > 0).all()) and bool(((drawn.mean(0) - settled).abs() < 6 * spread / 300**0.5 + 0.05 * spread + 1e-3).all())


def test_relative_positions_are_not_left_to_an_attention_that_knows_none() -> None:
    from transformers import DebertaV2Config, DebertaV2Model

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 200, "relative_attention": True}
    model = DebertaV2Model(DebertaV2Config(**sizes))
    attention.install(model)
    assert attention.has_relative_positions(model) and not unpadding.works(model)
