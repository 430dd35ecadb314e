"""LoRA's ways to begin, to divide rank, and to let its two matrices learn at different rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

import tiny_language
import weitiao
from weitiao.core.events import Stepped
from weitiao.methods.lora import LoRA
from weitiao.models import split
from weitiao.training import optim

SPLITTING = ("pissa", "olora")


class PowerCut(Exception):
    pass


def ids() -> torch.Tensor:
    return torch.arange(8, 28).view(2, 10)


def weight_of(layer: Any) -> torch.Tensor:
    weight = layer.get_base_layer().weight.detach()
    return weight.t() if layer.fan_in_fan_out else weight


def assert_resumed_to_the_same_bits(asked: dict[str, Any], whole: dict[str, Any], out: Path) -> None:
    """Train once more, cut off at the sixth step, go on with other random numbers at hand, and compare the adapters."""

    def cut(event: Any) -> None:
        if isinstance(event, Stepped) and event.step >= 6:
            raise PowerCut

    with pytest.raises(PowerCut):
        weitiao.train(asked, out=out, recorders=[cut])
    torch.manual_seed(99)
    resumed = weitiao.train(asked, out=out)
    first, second = (load_file(Path(report["artifact"]) / "adapter" / "adapter_model.safetensors") for report in (whole, resumed))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", SPLITTING)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_split_weight_says_at_first_what_the_whole_one_said(kind: str, family: str) -> None:
    model = tiny_language.model(family).eval()
    before = model(input_ids=ids()).logits.detach()
    whole = {name: module.weight.detach().clone() for name, module in model.named_modules() if hasattr(module, "weight")}
    found = LoRA(r=4, init_lora_weights=kind, lora_alpha=6).apply(model).eval()
    torch.testing.assert_close(found(input_ids=ids()).logits.detach(), before, rtol=1e-4, atol=1e-5)
    seen = 0
    for name, layer, adapter in split.layers(found):
        original = whole[name].t() if layer.fan_in_fan_out else whole[name]
        rest = weight_of(layer)
        assert not torch.allclose(rest, original)
        down, up = layer.lora_A[adapter].weight.detach(), layer.lora_B[adapter].weight.detach()
        torch.testing.assert_close(rest + layer.scaling[adapter] * up @ down, original, rtol=1e-5, atol=1e-6)
        if kind == "pissa":
            values = torch.linalg.svdvals(original)
            torch.testing.assert_close(torch.linalg.svdvals(rest)[0], values[4], rtol=1e-3, atol=1e-5)  # the nearest of rank 4 is taken out
        else:
            torch.testing.assert_close(up.t() @ up, torch.eye(4), rtol=1e-4, atol=1e-5)
        seen += 1
    assert seen == 7 * 2 if family == "llama" else seen > 0


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True, "rank_pattern": {"query": 2}, "alpha_pattern": {"value": 5}}], ids=["plain", "patterns"])
def test_an_adapter_of_a_split_weight_fits_the_untouched_base_in_plain_peft(recipe_dict: dict[str, Any], tmp_path: Path, settings: dict[str, Any]) -> None:
    asked = recipe_dict | {"method": {"name": "lora", "r": 3, "init_lora_weights": "pissa", **settings}, "evaluate": {"best": False}}
    asked["train"] = {**recipe_dict["train"], "epochs": 1, "save_every": 4}
    whole = weitiao.train(asked, out=tmp_path / "whole")
    folder = Path(whole["artifact"]) / "adapter"
    plain = peft.AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=2).eval()
    assert plain.peft_config["default"].r == 6
    tokens = torch.arange(4, 14)[None]
    with torch.inference_mode():
        torch.testing.assert_close(plain(tokens).logits, weitiao.load(whole["artifact"]).model(tokens).logits, rtol=1e-4, atol=1e-5)
    assert_resumed_to_the_same_bits(asked, whole, tmp_path / "cut")


def test_layers_may_have_ranks_of_their_own() -> None:
    found = LoRA(r=2, rank_pattern={"q_proj": 4, r".*\.0\.mlp\.up_proj": 8}, alpha_pattern={"q_proj": 8}, lora_alpha=2).apply(tiny_language.model("llama"))
    ranks = {name: (layer.r[adapter], layer.scaling[adapter]) for name, layer, adapter in split.layers(found)}
    assert ranks["model.layers.0.self_attn.q_proj"] == ranks["model.layers.1.self_attn.q_proj"] == (4, 2.0)
    assert ranks["model.layers.0.mlp.up_proj"][0] == 8 and ranks["model.layers.1.mlp.up_proj"] == (2, 1.0)


def test_the_second_matrix_learns_as_much_faster_as_asked() -> None:
    method = LoRA(r=2, loraplus_lr_ratio=16)
    model = method.apply(tiny_language.model("llama"))
    groups = method.groups(model)
    rates = {name: group.learning_rate_scale for group in groups for name in group.names}
    assert rates.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(rate == (16 if ".lora_B." in name else 1) for name, rate in rates.items()) and set(rates.values()) == {1, 16}
    slower = optim.by_layer(groups, model, 0.5)
    assert {group.learning_rate_scale for group in slower} == {0.5, 0.25, 8.0, 4.0}


def test_the_first_matrix_stays_as_it_was_drawn_and_the_second_gets_its_gradient(recipe_dict: dict[str, Any], tmp_path: Path) -> None:
    found: dict[bool, dict[str, torch.Tensor]] = {}
    for frozen in (False, True):
        torch.manual_seed(3)
        model = LoRA(r=2, lora_fa=frozen).apply(tiny_language.model("llama"))
        for _, layer, adapter in split.layers(model):
            torch.nn.init.normal_(layer.lora_B[adapter].weight, std=0.1, generator=torch.Generator().manual_seed(1))
        model(input_ids=ids(), labels=ids()).loss.backward()
        found[frozen] = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert {name for name in found[False] if ".lora_A." not in name} == found[True].keys()
    for name, gradient in found[True].items():
        torch.testing.assert_close(gradient, found[False][name])
    asked = recipe_dict | {"method": {"name": "lora", "r": 3, "lora_fa": True}, "evaluate": {"best": False}}
    asked["train"] = {**recipe_dict["train"], "epochs": 1, "save_every": 4}
    whole = weitiao.train(asked, out=tmp_path / "whole")
    assert_resumed_to_the_same_bits(asked, whole, tmp_path / "cut")


def test_biases_train_beside_the_update_and_are_stored_with_it(recipe_dict: dict[str, Any], tmp_path: Path) -> None:
    asked = recipe_dict | {"method": {"name": "lora", "r": 2, "bias": "all"}, "evaluate": {"best": False}}
    asked["train"] = {**recipe_dict["train"], "epochs": 1}
    report = weitiao.train(asked, out=tmp_path / "run")
    folder = Path(report["artifact"]) / "adapter"
    ours = weitiao.load(report["artifact"]).model
    plain = peft.AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=2).eval()
    base = dict(plain.get_base_model().named_parameters())
    moved = [name for name, tensor in load_file(folder / "adapter_model.safetensors").items() if name.endswith(".bias")]
    assert len(moved) >= sum(name.endswith(".bias") for name in base if "classifier" not in name)
    tokens = torch.arange(4, 14)[None]
    with torch.inference_mode():
        torch.testing.assert_close(plain(tokens).logits, ours(tokens).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"init_lora_weights": "pissa", "use_dora": True},
        {"init_lora_weights": "olora", "lora_fa": True},
        {"adapter": "somewhere", "init_lora_weights": "gaussian"},
        {"adapter": "somewhere", "rank_pattern": {"query": 2}},
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="does not go with|those of the adapter"):
        LoRA(**settings)
