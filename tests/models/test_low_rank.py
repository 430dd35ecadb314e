from __future__ import annotations

import copy
from typing import Any

import peft
import pytest
import torch

from weitiao.models import low_rank


@pytest.fixture
def layers() -> tuple[Any, Any]:
    """PEFT's layer, and the same with our forward."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 20), torch.nn.Linear(20, 5, bias=False))
    theirs = peft.inject_adapter_in_model(peft.LoraConfig(r=3, lora_alpha=7, target_modules=["0", "1"], init_lora_weights=False), model)
    ours = copy.deepcopy(theirs)
    low_rank.install(ours)
    assert all(type(layer) is low_rank.LowRankLinear for layer in ours)
    return theirs, ours


def test_output_and_gradients_are_those_of_peft(layers: tuple[Any, Any]) -> None:
    values = torch.randn(2, 7, 12)
    found = []
    for model in layers:
        x = values.clone().requires_grad_()
        out = model(x)
        out.square().sum().backward()
        found.append((out.detach(), x.grad, {name: p.grad for name, p in model.named_parameters() if p.requires_grad}))
    (a, da, pa), (b, db, pb) = found
    torch.testing.assert_close(b, a)
    torch.testing.assert_close(db, da, rtol=1e-5, atol=1e-4)
    assert pa.keys() == pb.keys() and len(pa) == 4
    for name in pa:
        torch.testing.assert_close(pb[name], pa[name], rtol=1e-5, atol=1e-4)


def test_whatever_is_unusual_is_left_to_peft(layers: tuple[Any, Any]) -> None:
    theirs, ours = layers
    x = torch.randn(4, 12)
    for layer in (*theirs, *ours):
        layer.enable_adapters(False)
    torch.testing.assert_close(ours(x), theirs(x))
    for layer in (*theirs, *ours):
        layer.enable_adapters(True)
        layer.merge()
    torch.testing.assert_close(ours(x), theirs(x))
    for layer in (*theirs, *ours):
        layer.unmerge()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(x).dtype == theirs(x).dtype == torch.bfloat16
        torch.testing.assert_close(ours(x), theirs(x), rtol=0.05, atol=0.05)
    ours[0].lora_dropout["default"] = torch.nn.Dropout(0.5)
    torch.manual_seed(1)
    assert not torch.equal(ours.train()(x), ours(x))


def test_before_the_first_step_the_output_is_the_base_layers_to_the_bit() -> None:
    base = torch.nn.Sequential(torch.nn.Linear(12, 20))
    x = torch.randn(9, 12)
    expected = base(x)
    model = peft.inject_adapter_in_model(peft.LoraConfig(r=4, target_modules=["0"]), base)
    low_rank.install(model)
    assert torch.equal(model(x), expected)
