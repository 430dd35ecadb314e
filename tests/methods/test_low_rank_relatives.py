"""AdaLoRA, VeRA, IA3 and the other adapters of PEFT: what trains, how the rank falls, and what PEFT itself says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

import tiny_language
import weitiao
from weitiao.core.events import Stepped
from weitiao.errors import BadValue, NoTargets
from weitiao.methods.adalora import AdaLoRA
from weitiao.methods.ia3 import IA3
from weitiao.methods.peft import Peft
from weitiao.methods.vera import VeRA
from weitiao.models import ranks

WIDTH, INNER, LAYERS = 32, 64, 3


class PowerCut(Exception):
    pass


def body(folder: Path) -> Any:
    return transformers.AutoModel.from_pretrained(folder)


def trained(model: Any) -> dict[str, int]:
    return {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}


def test_ia3_trains_as_many_factors_as_its_paper_counts(tiny_bert: Path) -> None:
    found = trained(IA3().apply(body(tiny_bert)))
    assert sum(found.values()) == LAYERS * (2 * WIDTH + INNER) and len(found) == 3 * LAYERS
    grouped = trained(IA3().apply(tiny_language.model("llama")))
    assert sum(grouped.values()) == 2 * (2 * WIDTH // 2 + INNER), "two of four heads have keys and values"
    both = trained(IA3().apply(tiny_language.model("t5")))
    assert sum(both.values()) == 2 * (2 * WIDTH + INNER) + 2 * (4 * WIDTH + INNER), "the decoder attends twice"
    with pytest.raises(NoTargets, match="'q_proj' matches no linear layer"):
        IA3(target_modules=["q_proj"]).apply(body(tiny_bert))


def test_vera_trains_two_vectors_a_layer(tiny_bert: Path) -> None:
    found = trained(VeRA(r=16, target_modules=["query", "value"]).apply(body(tiny_bert)))
    assert sum(found.values()) == 2 * LAYERS * (16 + WIDTH)


def test_the_penalty_of_adalora_is_that_of_peft() -> None:
    model = tiny_language.model("llama")
    ours = AdaLoRA(init_r=4, target_r=2, orth_reg_weight=0.3).apply(model)
    ids = torch.arange(8, 20)[None]
    with torch.no_grad():
        plain = ours(input_ids=ids, labels=ids).loss
        theirs = ranks.tuner(ours)(input_ids=ids, labels=ids).loss
    torch.testing.assert_close(AdaLoRA(orth_reg_weight=0.3).penalty(ours).value().detach(), theirs - plain)
    assert AdaLoRA(orth_reg_weight=0).penalty(ours) is None


def test_the_rank_of_adalora_falls_to_the_budget_and_stays_there() -> None:
    method = AdaLoRA(init_r=6, target_r=2, tinit_ratio=0.2, tfinal_ratio=0.3, target_modules=["q_proj", "v_proj"])
    model = method.apply(tiny_language.model("llama"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    ids = torch.arange(8, 28).view(2, 10)
    found = []
    for step in range(1, 21):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        method.after_step(model, step, 20)
        optimizer.zero_grad(set_to_none=True)
        found.append(sum(ranks.left(model).values()))
    assert len(ranks.left(model)) == 4
    assert found[:4] == [24] * 4, "nothing is taken away in the first fifth"
    assert found[13:] == [8] * 7, "nor in the last three tenths"
    assert found == sorted(found, reverse=True) and len(set(found)) > 4


@pytest.mark.soak
def test_a_run_with_adalora_goes_on_to_the_same_bits_and_opens_in_peft(recipe_dict: dict[str, Any], tmp_path: Path) -> None:
    asked = recipe_dict | {"method": {"name": "adalora", "init_r": 4, "target_r": 2}, "evaluate": {"every": 4, "best": False}}
    asked["train"] = {**recipe_dict["train"], "epochs": 1, "save_every": 4}
    whole = weitiao.train(asked, out=tmp_path / "whole")

    def cut(event: Any) -> None:
        if isinstance(event, Stepped) and event.step >= 6:
            raise PowerCut

    with pytest.raises(PowerCut):
        weitiao.train(asked, out=tmp_path / "cut", recorders=[cut])
    resumed = weitiao.train(asked, out=tmp_path / "cut")
    first, second = (load_file(Path(report["artifact"]) / "adapter" / "adapter_model.safetensors") for report in (whole, resumed))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    kept = [tensor.shape[0] for name, tensor in first.items() if name.endswith("lora_E")]
    assert len(kept) == LAYERS * 6 and sum(kept) == 2 * len(kept), "what was taken away is not written"
    ids = torch.arange(4, 14)[None]
    plain = peft.AutoPeftModelForSequenceClassification.from_pretrained(Path(whole["artifact"]) / "adapter", num_labels=2).eval()
    with torch.inference_mode():
        torch.testing.assert_close(plain(ids).logits, weitiao.load(whole["artifact"]).model(ids).logits, rtol=1e-4, atol=1e-5)


def test_weights_of_a_step_before_the_last_allocation_keep_their_ranks(tiny_bert: Path, tmp_path: Path) -> None:
    method = AdaLoRA(init_r=4, target_r=1, target_modules=["query"])
    model = method.apply(body(tiny_bert))
    with torch.no_grad():  # as if the best weights, with all ranks, had been put back after the end
        for name, parameter in model.named_parameters():
            if "lora_E" in name:
                parameter.normal_()
    ids = torch.arange(4, 14)[None]
    expected = model.eval()(ids).last_hidden_state
    config = ranks._config(ranks.tuner(model))
    config.rank_pattern = {name: [True, False, False, False] for name in ranks._singular(model)}
    from weitiao.core.contracts import Head

    method.save(model, tmp_path)
    opened = method.load(tmp_path, Head("AutoModel", {})).eval()
    torch.testing.assert_close(opened(ids).last_hidden_state, expected)


def test_what_peft_does_not_take_is_one_sentence(tiny_bert: Path) -> None:
    def refused(**settings: Any) -> str:
        with pytest.raises(BadValue) as caught:
            Peft(**settings).apply(body(tiny_bert))
        return caught.value.message

    assert "Did you mean 'loha'" in refused(type="lohaa")
    assert refused(type="prompt_tuning") == "method.type: 'prompt_tuning' is not put into linear layers."
    assert refused(type="LoRA") == "method.type: LoRA is a method of its own."
    assert "loha has no setting 'rank'" in refused(type="loha", configuration={"rank": 3})
    assert refused(type="loha", configuration={"task_type": "x"}).endswith("task_type is not set here.")
    with pytest.raises(ValueError, match="rank is only taken away"):
        AdaLoRA(init_r=4, target_r=8)
    with pytest.raises(ValueError, match="leave no steps"):
        AdaLoRA(tinit_ratio=0.5, tfinal_ratio=0.5)
