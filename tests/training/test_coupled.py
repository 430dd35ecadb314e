"""Steps whose rows see each other: one loss a step, the memory of a micro-batch, and nothing lost when it is cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import weitiao
from tiny import BAD, DEVICE, FILLER, GOOD
from weitiao.core.events import Stepped
from weitiao.core.recipe import Recipe
from weitiao.errors import Conflict
from weitiao.models import dropout, load
from weitiao.parallel.single import Single
from weitiao.training import coupled
from weitiao.training.loader import Loader
from weitiao.training.plan import facts, make_plan
from weitiao.training.prepare import encode, prepare

ONE = Single(DEVICE)


class PowerCut(BaseException):
    """Nothing after this line runs."""


@pytest.fixture
def pairs(tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A recipe on 90 queries with a positive, some with a negative."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for n in range(90):
        word, other = (GOOD + BAD)[n % 16], (GOOD + BAD)[(n + 3) % 16]
        row = {"query": f"{word} {FILLER[n % 7]} {n}", "positive": f"the {word} story {n}"}
        rows.append(row | ({"negative": f"a {other} day {n}"} if n % 3 else {}))
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {
        "model": str(tiny("bert")),
        "data": {"name": "json", "train": str(tmp_path / "pairs.jsonl")},
        "task": {"name": "embedding", "max_length": 32},
        "method": {"name": "full"},
        "train": {"epochs": 1, "batch_size": 4, "gradient_accumulation": 3, "learning_rate": 3e-3, "dtype": "fp32", "device": str(DEVICE)},
    }


@pytest.fixture
def step(pairs: dict[str, Any]) -> Callable[..., Any]:
    """Return a function (batch_size, accumulation, settings...) -> (objective, model, batches of the first step)."""

    def make(batch_size: int, accumulation: int, *, seed: int = 1, **sections: Any) -> Any:
        made = prepare(Recipe.load({**pairs, **sections}))
        model = made.recipe.method.apply(load.weights(made.located, made.config, made.recipe.task.head, seed=seed).model.to(DEVICE))
        dropout.install(model)
        features = made.recipe.task.encode(made.data.splits.train, made.tokenizer)
        loader = Loader(
            features,
            made.recipe.task,
            layout=made.tokenizer.layout(),
            batch_size=batch_size,
            gradient_accumulation=accumulation,
            seed=1,
            bucketing=True,
        )
        return made.recipe.task.objective(), model.train(), loader.step(0)

    return make


def taken(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_with_dropout_the_gradient_is_that_of_one_graph_over_the_same_masks(step: Callable[..., Any], checkpointing: bool) -> None:
    objective, model, batches = step(3, 4, train={"dropout": 0.3})
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    torch.manual_seed(5)
    loss = coupled.backward(model, objective, batches, strategy=ONE, dtype="fp32")
    found = taken(model)
    model.zero_grad()
    torch.manual_seed(5)
    states = []
    for batch, seed in zip(batches, torch.randint(0, 2**62, (len(batches),)).tolist(), strict=True):
        torch.manual_seed(seed)
        states.append(objective.states(model, batch.to(DEVICE)))
    expected = objective.joint(torch.cat(states), torch.cat([batch.targets for batch in batches]).to(DEVICE)).value()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for name, gradient in taken(model).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6)
    model.zero_grad()
    torch.manual_seed(6)
    assert coupled.backward(model, objective, batches, strategy=ONE, dtype="fp32") != loss, "other masks, another loss"


def test_a_step_of_one_micro_batch_computes_nothing_twice(step: Callable[..., Any]) -> None:
    for size, number, forwards in ((12, 1, 1), (4, 3, 5)):
        objective, model, batches = step(size, number)
        called: list[bool] = []
        model.register_forward_pre_hook(lambda *_, called=called: called.append(torch.is_grad_enabled()))
        coupled.backward(model, objective, batches, strategy=ONE, dtype="fp32")
        assert len(called) == forwards and called.count(True) == number, "each micro-batch has one graph"


def test_a_step_holds_the_graph_of_one_micro_batch_at_a_time(step: Callable[..., Any]) -> None:
    def most_kept(size: int, number: int) -> int:
        objective, model, batches = step(size, number)
        held, most = 0, 0

        class Kept:
            def __init__(self, tensor: torch.Tensor) -> None:
                nonlocal held, most
                self.tensor, self.bytes = tensor, tensor.numel() * tensor.element_size()
                held += self.bytes
                most = max(most, held)

            def __del__(self) -> None:
                nonlocal held
                held -= self.bytes

        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            coupled.backward(model, objective, batches, strategy=ONE, dtype="fp32")
        return most

    assert most_kept(4, 12) < 0.3 * most_kept(48, 1)


def test_a_run_takes_the_same_steps_however_they_are_cut(pairs: dict[str, Any]) -> None:
    def weights(batch_size: int, accumulation: int) -> dict[str, torch.Tensor]:
        changed = {**pairs["train"], "batch_size": batch_size, "gradient_accumulation": accumulation, "dropout": 0.0, "optimizer": "sgd", "learning_rate": 0.05}
        report = weitiao.train(pairs, train=changed, out=f"{batch_size}x{accumulation}", evaluate={"best": False})
        return dict(load_file(Path(report["artifact"]) / "model" / "model.safetensors"))

    whole = weights(12, 1)
    for batch_size, accumulation in ((6, 2), (1, 12)):
        for name, tensor in weights(batch_size, accumulation).items():
            torch.testing.assert_close(tensor, whole[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [{"name": "full"}, {"name": "layers", "last": 1}, {"name": "lora", "r": 4, "lora_dropout": 0.2}], ids=lambda m: m["name"])
def test_a_run_killed_at_a_step_goes_on_to_the_same_bits(pairs: dict[str, Any], method: dict[str, Any]) -> None:
    pairs |= {"method": method, "evaluate": {"every": 3, "patience": None}}
    pairs["train"] |= {"save_every": 2, "dropout": 0.2}
    whole = weitiao.train(pairs, out="whole")
    file = "adapter/adapter_model.safetensors" if method["name"] == "lora" else "model/model.safetensors"
    expected = load_file(Path(whole["artifact"]) / file)
    assert whole["steps"] == 6

    def cut(event: Any) -> None:
        if isinstance(event, Stepped) and event.step >= 3:
            raise PowerCut

    with pytest.raises(PowerCut):
        weitiao.train(pairs, out="cut", recorders=[cut])
    resumed = weitiao.train(pairs, out="cut")
    found = load_file(Path(resumed["artifact"]) / file)
    assert found.keys() == expected.keys() and all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert resumed["metrics"] == whole["metrics"] and resumed["curves"] == whole["curves"] and resumed["baselines"] == whole["baselines"]


def test_frozen_layers_are_computed_once_with_the_same_steps(pairs: dict[str, Any]) -> None:
    pairs |= {"method": {"name": "layers", "last": 1}, "evaluate": {"best": "loss", "patience": None}}
    pairs["train"] |= {"epochs": 2}
    known, anew = (weitiao.train(pairs, train={"cache_features": kept}, out=f"kept-{kept}") for kept in (True, False))
    assert known["plan"]["cached_layers"] == 2 and anew["plan"]["cached_layers"] == 0
    assert not any("cache_features" in note for note in known["notes"])
    for curve in ("train_loss", "dev_loss"):
        for (_, a), (_, b) in zip(known["curves"][curve], anew["curves"][curve], strict=True):
            assert a == pytest.approx(b, rel=1e-4)


def test_a_step_of_one_row_is_refused_before_weights_are_loaded(pairs: dict[str, Any], cli: Callable[..., Any], write_recipe: Callable[..., Path]) -> None:
    pairs["train"] |= {"batch_size": 1, "gradient_accumulation": 1}
    with pytest.raises(Conflict, match="a step of one row has nothing to compare it with, and embedding learns by comparing"):
        weitiao.train(pairs, out="one")
    assert not Path("one").exists()
    said = cli("train", write_recipe(pairs), "--plan")
    assert said.code == 2 and "hint: Set train.batch_size or train.gradient_accumulation higher" in said.err and "Traceback" not in said.err


def test_the_forecast_counts_the_forwards_that_a_cut_step_takes_twice(pairs: dict[str, Any]) -> None:
    def seconds(batch_size: int, accumulation: int) -> list[float]:
        recipe = Recipe.load({**pairs, "train": {**pairs["train"], "batch_size": batch_size, "gradient_accumulation": accumulation}})
        known = facts(recipe, *encode(prepare(recipe)))
        assert known.coupled
        return [make_plan(recipe, of).forecast["seconds_per_step"] for of in (known, replace(known, coupled=False))]

    whole, cut = seconds(12, 1), seconds(4, 3)
    assert whole[0] == whole[1] and 1.05 < cut[0] / cut[1] < 1.4, "two of three forwards are taken twice"


def test_in_bf16_every_weight_gets_about_the_gradient_of_one_batch(step: Callable[..., Any]) -> None:
    found = []
    for size, number in ((12, 1), (4, 3)):
        objective, model, batches = step(size, number, train={"dropout": 0.0})
        coupled.backward(model, objective, batches, strategy=ONE, dtype="bf16")
        assert taken(model).keys() == dict(model.named_parameters()).keys()
        found.append(torch.cat([gradient.flatten() for gradient in taken(model).values()]))
    assert torch.nn.functional.cosine_similarity(*found, dim=0) > 0.98
