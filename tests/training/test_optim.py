"""Learning rates by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_language
import weitiao
from weitiao.core.recipe import Recipe
from weitiao.errors import NoTargets
from weitiao.models import load
from weitiao.training import optim
from weitiao.training.prepare import prepare


def rates(recipe: dict[str, Any], method: dict[str, Any], decay: float) -> dict[str, float]:
    """Return parameter -> learning rate as the optimizer has it at a rate of 1."""
    made = prepare(Recipe.load({**recipe, "method": method, "train": {**recipe["train"], "layer_decay": decay}}))
    model = made.recipe.method.apply(load.weights(made.located, made.config, made.recipe.task.head, seed=1).model)
    optimizer = optim.optimizer(optim.by_layer(made.recipe.method.groups(model), model, made.recipe.train.layer_decay), made.recipe.train)
    optim.set_learning_rate(optimizer, 1.0)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {names[id(p)]: float(group["lr"]) for group in optimizer.param_groups for p in group["params"]}
    assert found.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    return found


def test_the_rate_falls_by_the_factor_from_layer_to_layer(recipe_dict: dict[str, Any]) -> None:
    found = rates(recipe_dict, {"name": "full"}, 0.5)
    expected = {"classifier": 1.0, "pooler": 1.0, "layer.2.": 0.5, "layer.1.": 0.25, "layer.0.": 0.125, "embeddings": 0.0625}
    for name, rate in found.items():
        [place] = [place for place in expected if place in name]
        assert rate == pytest.approx(expected[place]), name


@pytest.mark.parametrize("method", [{"name": "lora", "r": 2}, {"name": "layers", "last": 2}], ids=["lora", "layers"])
def test_every_method_takes_a_decay(recipe_dict: dict[str, Any], method: dict[str, Any]) -> None:
    found = rates(recipe_dict, method, 0.5)
    by_place = {place: {rate for name, rate in found.items() if place in name} for place in ("classifier", "layer.2.", "layer.1.")}
    assert by_place == {"classifier": {1.0}, "layer.2.": {0.5}, "layer.1.": {0.25}}


def test_without_decay_the_groups_stay_as_the_method_made_them(recipe_dict: dict[str, Any]) -> None:
    assert set(rates(recipe_dict, {"name": "full"}, 1.0).values()) == {1.0}


def test_biases_are_spared_decay_of_weights_in_every_layer(recipe_dict: dict[str, Any]) -> None:
    made = prepare(Recipe.load(recipe_dict))
    model = made.recipe.method.apply(load.weights(made.located, made.config, made.recipe.task.head, seed=1).model)
    for group in optim.by_layer(made.recipe.method.groups(model), model, 0.9):
        assert {p.ndim > 1 for p in group.parameters} == {group.weight_decay_scale == 1.0}


def test_lower_layers_move_less(recipe_dict: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    from safetensors.torch import load_file

    def moved(decay: float) -> list[float]:
        train = {**recipe_dict["train"], "steps": 3, "epochs": 1, "layer_decay": decay, "warmup_ratio": 0.0, "optimizer": "adamw", "weight_decay": 0.0}
        report = weitiao.train({**recipe_dict, "train": train, "evaluate": {"best": False}}, out=f"run-{decay}")
        after = load_file(Path(report["artifact"]) / "model" / "model.safetensors")
        before = load_file(Path(recipe_dict["model"]) / "model.safetensors")
        pairs = [(after[f"bert.encoder.layer.{n}.attention.self.query.weight"], before[f"encoder.layer.{n}.attention.self.query.weight"]) for n in range(3)]
        return [float((now - then).abs().max()) for now, then in pairs]

    low, middle, top = moved(0.25)
    assert low < 0.5 * middle < 0.25 * top * 1.2
    assert max(moved(1.0)) < 2 * min(moved(1.0)), "AdamW moves each weight about as far as the rate allows"


def test_a_run_with_decay_goes_on_to_the_same_bits(recipe_dict: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file

    from weitiao.core.events import Stepped

    class PowerCut(BaseException):
        pass

    def cut(event: Any) -> None:
        if isinstance(event, Stepped) and event.step >= 3:
            raise PowerCut

    monkeypatch.chdir(tmp_path)
    train = {**recipe_dict["train"], "steps": 5, "epochs": 1, "layer_decay": 0.7, "save_every": 2}
    recipe = {**recipe_dict, "train": train, "evaluate": {"best": False}}
    whole = weitiao.train(recipe, out="whole")
    with pytest.raises(PowerCut):
        weitiao.train(recipe, out="cut", recorders=[cut])
    resumed = weitiao.train(recipe, out="cut")
    first, second = (load_file(Path(report["artifact"]) / "model" / "model.safetensors") for report in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_two_stacks_of_layers_have_no_order(tmp_path: Path) -> None:
    import transformers

    t5 = transformers.AutoModelForSeq2SeqLM.from_config(tiny_language.config("t5", 40))
    with pytest.raises(NoTargets, match=r"train\.layer_decay: T5ForConditionalGeneration has two stacks of layers"):
        optim.by_layer([], t5, 0.9)
