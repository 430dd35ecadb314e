"""Bottleneck adapters: where they stand, how many parameters they have, and that every family takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny_language
from weitiao.core.contracts import Batch
from weitiao.errors import BadValue, NoTargets
from weitiao.methods.adapter import Adapter
from weitiao.models import bottleneck, checkpointing, frozen, head, readout
from weitiao.models.anatomy import anatomy

WIDTH = 32
FORMS = ("houlsby", "pfeiffer", "parallel")


def batch_of(model: Any) -> Batch:
    ids = torch.arange(8, 28).view(2, 10)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids.flip(1)
    return Batch(inputs, None, ("a", "b"), 20)


def said(model: Any) -> torch.Tensor:
    """Return a number that every value of the last hidden states has its own share in: their squares add up to a constant behind a norm."""
    states = readout.hidden_states(model, batch_of(model))
    return (states * torch.linspace(-1, 1, states.numel()).view_as(states)).sum()


def warm(model: Any) -> None:
    """Let adapters add something, as after some steps."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if bottleneck.PREFIX in name:
                parameter.normal_(0, 0.3)


@pytest.mark.parametrize(
    "family", [family if family in ("gpt2", "gemma3", "bart", "t5", "bert") else pytest.param(family, marks=pytest.mark.soak) for family in tiny_language.EVERY]
)
def test_every_family_takes_every_form_unchanged_at_the_start_and_every_adapter_gets_a_gradient_with_checkpointing_too(family: str) -> None:
    for form in FORMS:
        model = tiny_language.model(family)
        layers = len(anatomy(model).layers)
        with torch.no_grad():  # with a gradient for T5's bias of positions torch takes another attention
            expected = readout.hidden_states(model, batch_of(model))
        model = Adapter(form=form, bottleneck_size=4, activation="tanh").apply(model)  # four rectifiers may all be dead
        with torch.no_grad():
            assert torch.equal(readout.hidden_states(model, batch_of(model)), expected)
        adapters = [name for name, module in model.named_modules() if isinstance(module, bottleneck.Bottleneck)]
        cross = 2 if model.config.is_encoder_decoder and form == "houlsby" else 0
        assert len(adapters) == (2 if form == "houlsby" else 1) * layers + cross
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        assert sum(p.numel() for p in trained.values()) == len(adapters) * (2 * WIDTH * 4 + 4 + WIDTH)
        warm(model)
        said(model).backward()
        plain = {name: p.grad.clone() for name, p in trained.items()}
        assert all(gradient.abs().sum() > 0 for gradient in plain.values())
        model.zero_grad()
        checkpointing.enable(model.train())
        said(model).backward()
        for name, parameter in trained.items():
            torch.testing.assert_close(parameter.grad, plain[name], rtol=1e-4, atol=1e-4 * float(plain[name].abs().max()))


def test_the_forms_compute_what_their_papers_say(tiny_bert: Path) -> None:
    found = {}
    for form in FORMS:
        model = transformers.AutoModel.from_pretrained(tiny_bert, num_hidden_layers=1).eval()
        base = transformers.AutoModel.from_pretrained(tiny_bert, num_hidden_layers=1).eval()
        model = Adapter(form=form, bottleneck_size=4, activation="tanh").apply(model)  # four rectifiers may all be dead
        warm(model)
        layer, own = base.encoder.layer[0], model.encoder.layer[0]
        ids = torch.arange(4, 12)[None]
        x = base.embeddings(ids)
        attended = layer.attention.self(x)[0]
        f = {name.removeprefix("bottleneck_"): module for name, module in own.named_children() if name.startswith("bottleneck_")}
        a = layer.attention.output.dense(attended)
        a = a + f["attention"](a) if form == "houlsby" else a
        h = layer.attention.output.LayerNorm(a + x)
        n = layer.output.dense(layer.intermediate(h))
        if form == "houlsby":
            n = n + f["feed_forward"](n)
        elif form == "parallel":
            assert f["parallel"].scaling == 4.0
            n = n + f["parallel"](h)
        z = n + h
        norm = layer.output.LayerNorm
        expected = norm(z + f["layer"](norm(z))) if form == "pfeiffer" else norm(z)
        found[form] = model(ids).last_hidden_state
        torch.testing.assert_close(found[form], expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found["houlsby"], found["pfeiffer"], atol=1e-2)


def test_bad_settings_are_one_sentence(tiny_bert: Path) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    with pytest.raises(NoTargets, match=r"method.layers: there is no layer 3, the model has 3"):
        Adapter(layers=[0, 3]).apply(model)
    with pytest.raises(BadValue, match=r"method.bottleneck_size: a bottleneck of 64 is wider than the model, which has 32"):
        Adapter(bottleneck_size=64).apply(model)
    with pytest.raises(NoTargets, match="the list is empty"):
        Adapter(layers=[]).apply(model)


def test_only_chosen_layers_get_adapters_and_layers_below_them_can_be_kept(tiny: Callable[[str], Path]) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        tiny("bert"), num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model = Adapter(layers=[2], form="houlsby").apply(model)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained - head.new_parameters(model) and all(".layer.2." in name for name in trained - head.new_parameters(model))
    model.train()
    assert frozen.prefix(model) == (2, False)
