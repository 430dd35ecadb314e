"""Several methods at once: all that any of them trains trains, is written, and comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import weitiao
from tiny import sentences, write_csv
from weitiao.core.contracts import Head
from weitiao.core.recipe import Recipe
from weitiao.errors import BadValue, NoTargets, RecipeError
from weitiao.methods.combined import Combined
from weitiao.models import checkpointing, load

MAM = [{"name": "prefix_tuning", "num_virtual_tokens": 4}, {"name": "adapter", "form": "parallel", "bottleneck_size": 6}]
LISTS: dict[str, tuple[str, list[Any]]] = {
    "MAM": ("bert", MAM),
    "biases and LoRA": ("bert", ["bitfit", {"name": "lora", "r": 4}]),
    "norms and prompts": ("llama", ["norm", {"name": "prompt_tuning", "num_virtual_tokens": 4}]),
    "a layer and LoRA": ("llama", [{"name": "lora", "r": 4}, {"name": "layers", "last": 1}]),
    "biases and norms": ("roberta", ["bitfit", "norm"]),
    "adapters and AdaLoRA": ("gemma3", [{"name": "adalora", "init_r": 4, "target_r": 2}, {"name": "adapter", "bottleneck_size": 4}]),
}
HEAD = Head("AutoModelForSequenceClassification", {"num_labels": 3, "problem_type": "single_label_classification"})


def fresh(folder: Path) -> Any:
    model = load.weights(*_located(folder), HEAD, seed=1).model
    model.config.pad_token_id = model.config.pad_token_id or 0
    return model


def _located(folder: Path) -> Any:
    from weitiao.models.locate import locate

    located = locate(str(folder))
    return located, load.configuration(located, HEAD)


def said(model: Any) -> torch.Tensor:
    ids = torch.arange(5, 17).view(2, 6)
    out: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return out


def trained(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", LISTS)
def test_all_of_them_train_with_checkpointing_too_and_what_is_written_says_the_same(tiny: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    family, methods = LISTS[name]
    method = Combined(methods=methods)
    model = method.apply(fresh(tiny(family)))
    torch.manual_seed(1)
    with torch.no_grad():  # as after some steps
        for parameter in trained(model).values():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.train()
    for checkpointed in (False, True):
        if checkpointed:
            checkpointing.enable(model)
        model.zero_grad()
        torch.nn.functional.cross_entropy(said(model), torch.tensor([0, 2])).backward()
        without = [name for name, p in trained(model).items() if p.grad is None or not p.grad.any()]
        assert not without
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    model.eval()
    method.save(model, tmp_path)
    opened = method.load(tmp_path, HEAD).eval()
    opened.config.pad_token_id = model.config.pad_token_id
    torch.testing.assert_close(said(opened), said(model), rtol=0, atol=1e-5)
    assert "base_layer" not in " ".join(load_file(tmp_path / "delta" / "delta.safetensors"))


@pytest.mark.parametrize("name", LISTS)
def test_there_train_as_many_parameters_as_in_all_of_them(tiny: Callable[[str], Path], name: str) -> None:
    family, methods = LISTS[name]
    combined = Combined(methods=methods)
    together = trained(combined.apply(fresh(tiny(family))))
    every = [one.apply(fresh(tiny(family))) for one in combined.methods]
    body = [{name: p.numel() for name, p in trained(model).items() if "modules_to_save" not in name and not _of_head(name)} for model in every]
    shared = sum(count for key, count in body[0].items() if key in body[1])  # biases of norms are biases and of norms
    assert sum(p.numel() for key, p in together.items() if "modules_to_save" not in key and not _of_head(key)) == sum(map(sum, map(dict.values, body))) - shared


def _of_head(name: str) -> bool:
    return name.startswith(("classifier", "score", "bert.pooler"))


def test_the_first_names_the_learning_rate_and_the_others_keep_their_ratio_to_it(tiny: Callable[[str], Path]) -> None:
    method = Combined(methods=["bitfit", {"name": "lora", "r": 4, "loraplus_lr_ratio": 4}])
    model = method.apply(fresh(tiny("bert")))
    assert method.usual_rate == method.methods[0].usual_rate == 1e-3
    scales = {name: group.learning_rate_scale for group in method.groups(model) for name in group.names}
    ratio = method.methods[1].usual_rate / 1e-3
    assert scales["bert.encoder.layer.0.output.dense.base_layer.bias"] == 1.0
    assert scales["bert.encoder.layer.0.output.dense.lora_A.default.weight"] == pytest.approx(ratio)
    assert scales["bert.encoder.layer.0.output.dense.lora_B.default.weight"] == pytest.approx(4 * ratio)


def test_a_list_in_a_recipe_trains_seals_and_opens(recipe_dict: dict[str, Any], tmp_path: Path) -> None:
    rows = write_csv(tmp_path / "rows.csv", sentences(80))
    report = weitiao.train(recipe_dict | {"method": MAM, "data": {"name": "csv", "train": str(rows)}}, out=tmp_path / "run")
    artifact = Path(report["artifact"])
    assert (artifact / "adapter").is_dir() and (artifact / "delta").is_dir()
    assert report["opens_with"]["needs"] == "weitiao" and report["method"] == "prefix_tuning + adapter"
    opened = weitiao.load(artifact)
    assert [method.name for method in opened.artifact.method.methods] == ["prefix_tuning", "adapter"]
    assert opened.predict(["the good film"])


@pytest.mark.parametrize(
    ("methods", "says"),
    [
        (["lora"], "to combine methods takes two at least"),
        (["lora", "lora"], "lora stands in the list twice"),
        (["lora", "full"], "full goes together with nothing: it trains every weight already"),
        (["bitfit", "subnetwork"], "subnetwork goes together with nothing: it trains entries of tensors"),
        (["lora", "ia3"], "lora and ia3 are adapters in PEFT's format, and a model has one of these"),
        (["bitfit", "qlora"], "qlora goes together with nothing: it holds the base in few bits"),
        (["bitfit", {"name": "combined", "methods": ["norm", "lora"]}], "it is a list itself"),
        (["bitfit", "lroa"], "method.methods.1.name: there is no method 'lroa'"),
        (["bitfit", {"name": "lora", "rnak": 3}], "method.methods.1.rnak: lora has no setting 'rnak'"),
    ],
)
def test_senseless_lists_are_refused_with_the_reason(recipe_dict: dict[str, Any], methods: list[Any], says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.load(recipe_dict | {"method": methods})
    assert says in caught.value.message, caught.value.message


def test_one_that_adds_nothing_is_refused(tiny: Callable[[str], Path]) -> None:
    with pytest.raises(NoTargets, match="norm trains nothing here that the others do not train already"):
        Combined(methods=[{"name": "layers", "first": 3, "embeddings": True}, "norm"]).apply(fresh(tiny("bert")))
    with pytest.raises(BadValue, match="bottleneck"):
        Combined(methods=["norm", {"name": "adapter", "bottleneck_size": 999}]).apply(fresh(tiny("bert")))
