"""LoRA on a base that is held in 4 or 8 bits."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_language
import weitiao
from weitiao.errors import MissingExtra, NoTargets
from weitiao.methods.lora import LoRA
from weitiao.methods.qlora import QLoRA
from weitiao.models import quantized, split

SETTINGS = [{}, {"quant_type": "fp4", "double_quant": False}, {"bits": 8}]


def ids() -> torch.Tensor:
    return torch.arange(8, 28).view(2, 10)


def llama() -> Any:
    """Return a small Llama whose rows are as long as a block of 4-bit weights: of shorter ones bitsandbytes keeps less on a CPU."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=200, pad_token_id=0, bos_token_id=1, eos_token_id=2, **sizes))


def bytes_in_layers(model: Any) -> int:
    return sum(p.numel() * p.element_size() for name, p in model.named_parameters() if ".layers." in name and "lora_" not in name and p.ndim > 1)


@pytest.mark.parametrize("settings", SETTINGS, ids=["nf4", "fp4", "int8"])
def test_the_base_takes_few_bits_and_says_nearly_the_same(settings: dict[str, Any]) -> None:
    plain = llama().eval()
    before, whole = plain(input_ids=ids()).logits.detach(), bytes_in_layers(plain)
    model = QLoRA(r=2, **settings).apply(plain).eval()
    after = model(input_ids=ids()).logits.detach()
    assert 0 < (after - before).abs().max() < (0.05 if settings.get("bits") == 8 else 0.3) * before.abs().max()
    bits = settings.get("bits", 4)
    assert bytes_in_layers(model) == whole * bits // 32
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {name for name, _ in model.named_parameters() if "lora_" in name}


def test_the_update_gets_the_gradient_that_it_has_beside_the_same_numbers_in_full() -> None:
    import bitsandbytes

    torch.manual_seed(0)
    model = QLoRA(r=2).apply(llama())
    full = LoRA(r=2).apply(llama())
    for (_, few, adapter), (_, plain, _) in zip(split.layers(model), split.layers(full), strict=True):
        held = few.get_base_layer().weight
        plain.get_base_layer().weight.data.copy_(bitsandbytes.functional.dequantize_4bit(held.data, held.quant_state))
        for side in ("lora_A", "lora_B"):
            torch.nn.init.normal_(getattr(few, side)[adapter].weight, std=0.1)
            getattr(plain, side)[adapter].weight.data.copy_(getattr(few, side)[adapter].weight.data)
    for one in (model, full):
        one.train()(input_ids=ids(), labels=ids()).loss.backward()
    expected = {name: p.grad for name, p in full.named_parameters() if p.grad is not None}
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("bits", [4, pytest.param(8, marks=pytest.mark.soak)])
def test_a_run_learns_and_its_artifact_says_the_same_when_read_back(recipe_dict: dict[str, Any], tmp_path: Path, bits: int) -> None:
    asked = recipe_dict | {"method": {"name": "qlora", "r": 8, "bits": bits}}
    asked["train"] = {**recipe_dict["train"], "epochs": 6, "learning_rate": 3e-3}
    report = weitiao.train(asked, out=tmp_path / "run")
    assert report["metrics"]["accuracy"]["after"]["value"] >= 0.75 and report["opens_with"]["needs"] == "weitiao"
    lines = [json.loads(line) for line in (tmp_path / "run" / "predictions" / "after.jsonl").read_text().splitlines()]
    again = weitiao.evaluate(report["artifact"])
    assert again["metrics"]["accuracy"]["value"] == pytest.approx(report["metrics"]["accuracy"]["after"]["value"])
    assert len(lines) == again["metrics"]["accuracy"]["n"]
    assert "weitiao.load" in (Path(report["artifact"]) / "README.md").read_text()


def test_without_its_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtra, match="needs the package bitsandbytes") as caught:
        QLoRA().apply(llama())
    assert "weitiao[qlora]" in caught.value.hint


def test_a_model_without_plain_linear_layers_is_refused() -> None:
    with pytest.raises(NoTargets, match="no plain linear layers to hold in 4 bits"):
        quantized.quantize(tiny_language.model("gpt2"), bits=4, quant_type="nf4", double_quant=True)
