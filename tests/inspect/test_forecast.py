"""Sizes counted without weights are those of the real model, and a forecast is their arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny_language
from weitiao.core.contracts import Head
from weitiao.core.recipe import Recipe
from weitiao.inspect import forecast
from weitiao.inspect.forecast import Body, Forward, Ways, Work, kept_attention, terms
from weitiao.models import attention, dropout, load, locate, sizes
from weitiao.models.sizes import Attention, Counted
from weitiao.training.plan import facts
from weitiao.training.prepare import encode, prepare
from weitiao.training.workload import Division, Rows, forwards_of_steps, order_of

LENGTH = 24


def config_of(folder: Path, **changes: Any) -> tuple[Any, Head]:
    head = Head("AutoModelForSequenceClassification", {"num_labels": 2})
    config = load.configuration(locate.locate(str(folder)), head)
    for name, value in changes.items():
        setattr(config, name, value)
    return config, head


def counted(folder: Path, freeze: Callable[[Any], None] = lambda model: None, **changes: Any) -> Counted:
    model = load.skeleton(*config_of(folder, **changes))
    freeze(model)
    found = sizes.counted(model, length=LENGTH, training_mode=lambda model: model.train())
    assert found is not None
    return found


def test_products_are_counted_as_their_shapes_say(tiny_bert: Path) -> None:
    found = counted(tiny_bert)
    width, inner, layers = 32, 64, 3
    per_token = 2.0 * layers * (4 * width * width + 2 * width * inner)
    per_row = 2.0 * (width * width + 2 * width)  # pooler and classifier
    assert found.forward_flops == pytest.approx(per_token + per_row / LENGTH)
    assert found.backward_flops == pytest.approx(2 * found.forward_flops)
    assert len(found.calls) == layers and found.calls[0] == Attention(heads=4, groups=4, width=8, dropout=0.1, learns=True)


def test_a_frozen_layer_keeps_nothing_and_has_no_backward(tiny_bert: Path) -> None:
    def all_but_the_last(model: Any) -> None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("layer.2." in name or "classifier" in name)

    whole, some = counted(tiny_bert), counted(tiny_bert, all_but_the_last)
    assert some.forward_flops == whole.forward_flops
    assert some.backward_flops == pytest.approx(whole.backward_flops / 3, rel=0.25), "below the lowest trained product no gradient is passed on"
    assert some.kept_bytes < 0.5 * whole.kept_bytes
    assert [call.learns for call in some.calls] == [False, False, True]


@pytest.mark.parametrize("family", ["bert", "roberta", "llama", "gemma3"])
def test_what_is_counted_is_what_a_real_forward_keeps(family: str, tiny: Callable[[str], Path]) -> None:
    folder = tiny(family)
    config, head = config_of(folder)
    model: Any = load.weights(locate.locate(str(folder)), config, head, seed=1).model.train()
    if dropout.install(model):
        attention.install(model)
    parameters = {p.untyped_storage()._cdata for p in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage()._cdata not in parameters:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    ids = torch.randint(4, 40, (8, LENGTH))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        said = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.sum()
    happened = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert said.requires_grad
    found = counted(folder)
    forward = Forward(8 * LENGTH, 8 * LENGTH**2, 8 * LENGTH**2)
    assert found.kept_bytes * forward.tokens + kept_attention(found, forward, WAYS) == pytest.approx(happened, rel=0.15)


def test_a_model_that_cannot_be_counted_gets_a_forecast_from_its_sizes(tmp_path: Path, recipe_dict: dict[str, Any]) -> None:
    recipe = Recipe.load({**recipe_dict, "model": str(tiny_language.build(tmp_path / "t5", "t5"))})
    found = facts(recipe, *encode(prepare(recipe))).body
    assert found.counted.forward_operations == 40 * found.counted.layers and found.counted.kept_bytes > 0


def test_counting_leaves_the_configuration_as_it_was(recipe_dict: dict[str, Any]) -> None:
    recipe = Recipe.load(recipe_dict)
    prepared, encoded = encode(prepare(recipe))
    load.skeleton(prepared.config, prepared.recipe.task.head)  # which chooses an attention where none was named
    before = prepared.config.to_dict(), prepared.config._attn_implementation
    facts(recipe, prepared, encoded)
    assert (prepared.config.to_dict(), prepared.config._attn_implementation) == before


# ------------------------------------------------------------ arithmetic

COUNTED = Counted(
    kept=((1536.0, 50_000.0), (6144.0, 50_000.0)),
    kept_in_layer=15_000.0,
    width=384,
    layers=6,
    widest=6144.0,
    forward_flops=2.0e7,
    backward_flops=4.0e7,
    forward_bytes=3e5,
    backward_bytes=5e5,
    forward_operations=110,
    backward_operations=190,
    calls=(Attention(12, 12, 32, 0.1, True),) * 6,
)
BODY = Body(parameters=20_000_000, trainable=20_000_000, counted=COUNTED)
WAYS = Ways(tflops=0.2, evaluation_tflops=0.2, gigabytes_per_second=10.0, packed=False)
FORWARD = Forward(tokens=2048, squares=2048 * 64, kept_squares=2048 * 64)
WORK = Work(steps=100, forwards=(FORWARD,), tried_steps=1, largest=FORWARD)


def test_parts_add_up_to_the_peak() -> None:
    told = forecast.forecast(BODY, WORK, WAYS).as_dict()
    assert sum(told["parts"].values()) == pytest.approx(told["memory_gb"], abs=0.01)
    assert told["minutes"] * 60 == pytest.approx(100 * told["seconds_per_step"], rel=0.01)
    assert sum(told["seconds"].values()) == pytest.approx(told["total_minutes"] * 60, abs=0.5)


def test_memory_falls_with_each_way_to_save_it() -> None:
    def peak(work: Work = WORK, ways: Ways = WAYS, **body: Any) -> float:
        return forecast.forecast(replace(BODY, **body), work, ways).memory_gb

    half = replace(FORWARD, tokens=1024, squares=1024 * 64, kept_squares=1024 * 64)
    assert peak(replace(WORK, largest=half)) < peak()
    assert peak(ways=replace(WAYS, checkpointing=True)) < peak()
    assert peak(trainable=200_000) < peak()
    assert peak(ways=replace(WAYS, optimizer="sgd")) < peak(), "SGD keeps one state, AdamW two"


def test_time_is_proportional_to_tokens_and_checkpointing_takes_a_forward_more() -> None:
    one, two = terms(BODY, (FORWARD,), 1, WAYS), terms(BODY, (FORWARD, FORWARD), 1, WAYS)
    assert two["products"] == pytest.approx(2 * one["products"]) and two["optimizer"] == one["optimizer"]
    again = terms(BODY, (FORWARD,), 1, replace(WAYS, checkpointing=True))
    assert again["products"] == pytest.approx(one["products"] * 4 / 3)
    alone = terms(BODY, (FORWARD,), 0, WAYS, learns=False)
    assert alone["products"] == pytest.approx(one["products"] / 3) and alone["optimizer"] == 0


def test_attention_of_short_packed_documents_is_cheaper_than_of_one_long() -> None:
    long = replace(FORWARD, squares=2048.0**2, kept_squares=0.0)
    packed = replace(WAYS, packed=True)
    assert terms(BODY, (FORWARD,), 1, packed)["attention"] < terms(BODY, (long,), 1, packed)["attention"] / 20


def test_layers_that_are_passed_by_cost_nothing_in_steps_and_once_before_them() -> None:
    some = replace(BODY, counted=replace(COUNTED, calls=(Attention(12, 12, 32, 0.1, False),) * 4 + (Attention(12, 12, 32, 0.1, True),) * 2))
    whole, kept = terms(some, (FORWARD,), 1, WAYS), terms(replace(some, passed=4), (FORWARD,), 1, WAYS)
    assert whole["products"] - kept["products"] == pytest.approx(2048 * 2.0e7 * 4 / 6 / 0.2e12), "the backward is what it was"
    assert kept["attention"] < whole["attention"]
    assert terms(replace(some, passed=4), (FORWARD,), 0, WAYS, learns=False) == terms(some, (FORWARD,), 0, WAYS, learns=False), (
        "proof rows go through all layers"
    )
    work = replace(WORK, states=(FORWARD,) * 10)
    with_states, without = (forecast.forecast(replace(some, passed=4), w, WAYS).seconds["steps"] for w in (work, WORK))
    assert with_states - without == pytest.approx(10 * forecast.seconds_of(terms(some, (FORWARD,), 0, WAYS, learns=False)))


def test_words_that_do_not_occur_have_neither_gradient_nor_state() -> None:
    whole, small = (forecast.forecast(replace(BODY, resting=resting), WORK, WAYS).phases["steps"] for resting in (0, 9_000_000))
    assert whole["optimizer"] - small["optimizer"] == pytest.approx(9e6 * 8 / 1e9)
    assert terms(replace(BODY, resting=9_000_000), (FORWARD,), 1, WAYS)["optimizer"] == pytest.approx(terms(BODY, (FORWARD,), 1, WAYS)["optimizer"] * 11 / 20)


def test_a_shared_prefix_counts_once_in_a_pack() -> None:
    rows = Rows(np.full(8, 100), np.full(4, 100), np.full(4, 100), asked=0.5, shared=30)
    apart = Division(8, 8, 1024, False, 1, 64)
    one, other = (forwards_of_steps(rows, how, order_of(rows, how), [0])[0][0] for how in (apart, replace(apart, shares=True)))
    assert one.tokens == 800 and other.tokens == 30 + 8 * 70
    assert other.squares == 8 * 100**2 - 7 * 30**2 and other.asked == one.asked
