"""Heads of attention: which entries belong to one, which heads matter, and that nothing else moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny_language
from weitiao.core.contracts import Batch, Loss
from weitiao.core.contracts.loss import Term
from weitiao.errors import NoTargets
from weitiao.methods.attention_heads import AttentionHeads
from weitiao.models import checkpointing, heads, importance, readout, woven

FAMILIES = ("gpt2", "llama", "qwen3", "gemma3", "opt", "bart", "t5", "bert", "deberta")
WIDTH = 32


def fused(family: str) -> Any:
    settings = {"vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64, "pad_token_id": 0}
    configs = {
        "gpt_neox": lambda: transformers.GPTNeoXConfig(**settings),
        "bloom": lambda: transformers.BloomConfig(vocab_size=90, hidden_size=32, n_layer=1, n_head=4),
        "phi3": lambda: transformers.Phi3Config(**settings, num_key_value_heads=2),
        "modernbert": lambda: transformers.ModernBertConfig(**settings, global_attn_every_n_layers=1, reference_compile=False),
    }
    torch.manual_seed(0)
    return transformers.AutoModel.from_config(configs[family]()).eval()


def batch_of(model: Any, rows: int = 2) -> Batch:
    ids = torch.arange(8, 8 + 10 * rows).view(rows, 10)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids.flip(1)
    return Batch(inputs, None, tuple(map(str, range(rows))), ids.numel())


def said(model: Any) -> torch.Tensor:
    """Return a number in which every value of the last hidden states has its own share."""
    states = readout.hidden_states(model, batch_of(model))
    return (states * torch.linspace(-1, 1, states.numel()).view_as(states)).sum()


def heard(model: Any, output: str) -> torch.Tensor:
    """Return what goes into an output projection: the heads' words, side by side."""
    inputs: list[torch.Tensor] = []
    handle = model.get_submodule(output).register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    with torch.no_grad():
        readout.hidden_states(model, batch_of(model))
    handle.remove()
    return inputs[0]


@pytest.mark.parametrize("family", [*FAMILIES, "gpt_neox", "bloom", "phi3", "modernbert"])
def test_moving_the_entries_of_a_head_changes_what_this_head_says_and_no_other(family: str) -> None:
    model = tiny_language.model(family) if family in FAMILIES else fused(family)
    first = heads.attentions(model)[0]
    assert first.heads == 4 and first.groups == (2 if family in ("llama", "qwen3", "gemma3", "phi3") else 4)
    shared = first.heads // first.groups
    chosen = set(range(shared, 2 * shared))  # all heads of the second group, so keys and values move too
    before = heard(model, first.output)
    parts = first.parts(model, chosen)
    named = dict(model.named_parameters())
    of_output = parts.pop(f"{first.output}.weight")
    assert of_output.at.tolist() == [n * first.width + w for n in sorted(chosen) for w in range(first.width)]
    assert sum(woven.entries(named[n], p.at, p.axis).numel() for n, p in parts.items() if n.endswith("weight")) == WIDTH * first.width * (shared + 2)
    for projection in {first.query.module, first.key.module, first.value.module}:
        with torch.no_grad():
            for leaf in ("weight", "bias"):
                name = f"{projection}.{leaf}"
                if name in parts:
                    part = parts[name]
                    change = torch.empty_like(woven.entries(named[name], part.at, part.axis))
                    named[name].index_add_(part.axis, part.at, torch.linspace(-0.5, 1, change.numel()).view_as(change))
    moved = (heard(model, first.output) - before).abs().flatten(0, -2).view(-1, first.heads, first.width).amax((0, 2))
    assert {n for n, difference in enumerate(moved.tolist()) if difference > 1e-6} == chosen


def test_a_head_of_keys_that_others_share_stays_until_all_of_them_are_chosen() -> None:
    first = heads.attentions(tiny_language.model("llama"))[0]
    one, both = (first.parts(tiny_language.model("llama"), chosen) for chosen in ({2}, {2, 3}))
    assert {name.split(".")[-2] for name in one} == {"q_proj", "o_proj"}
    assert {name.split(".")[-2] for name in both} == {"q_proj", "k_proj", "v_proj", "o_proj"}


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_gradients_are_those_of_the_whole_model_at_the_chosen_entries_with_checkpointing_too(family: str) -> None:
    pairs = [(0, 1), (1, 2), (1, 3)]
    found = []
    for checkpointed in (False, True):
        model = AttentionHeads(heads=pairs).apply(tiny_language.model(family))
        if checkpointed:
            checkpointing.enable(model.train())
        said(model).backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    whole = tiny_language.model(family)
    said(whole).backward()
    named = dict(whole.named_parameters())
    for name, gradient in found[0].items():
        place = woven.of_parameter(model, name)
        assert place is not None
        expected = woven.entries(named[place[0]].grad, place[1].at, place[1].axis)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


class Summed:
    """The sum of some hidden states, row by row: a loss that needs no head."""

    coupled = False

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"sum": len(batch.rows)}

    def __call__(self, model: Any, batch: Batch) -> Loss:
        states = readout.hidden_states(model, batch)
        return Loss({"sum": Term(states[..., :5].sum(), len(batch.rows))})


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_importance_of_a_head_is_the_gradient_by_a_factor_on_what_it_says(family: str) -> None:
    model = tiny_language.model(family)
    found = heads.attentions(model)
    scores = importance.of_heads(model, Summed(), [batch_of(model, 3)], found, rows=10)
    factors = [torch.ones(attention.heads, requires_grad=True) for attention in found]

    def scaled(number: int) -> Any:
        width = found[number].width
        return lambda module, args: (args[0] * factors[number].repeat_interleave(width),)

    for number, attention in enumerate(found):
        model.get_submodule(attention.output).register_forward_pre_hook(scaled(number))
    totals = [torch.zeros(attention.heads) for attention in found]
    for row in importance.single(batch_of(model, 3)):
        for total, gradient in zip(totals, torch.autograd.grad(Summed()(model, row).value(), factors), strict=True):
            total += gradient.abs()
    for number, total in enumerate(totals):
        torch.testing.assert_close(scores[number], total / total.norm(), rtol=1e-4, atol=1e-5)
    assert all(p.grad is None and p.requires_grad for p in model.parameters()), "looking leaves no trace"
    method = AttentionHeads(most_important=3)
    fresh = tiny_language.model(family)
    method.calibrate(fresh, Summed(), [batch_of(fresh, 3)])
    best = {(number, head) for number, total in enumerate(totals) for head in range(4) if (scores >= scores.flatten().sort().values[-3])[number, head]}
    assert {(number, head) for number, chosen in method._chosen(found, fresh).items() for head in chosen} == best


def test_all_heads_of_bert_are_as_many_parameters_as_their_projections(tiny_bert: Path) -> None:
    model = AttentionHeads().apply(transformers.AutoModel.from_pretrained(tiny_bert))
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    assert sum(trained.values()) == 3 * (4 * WIDTH * WIDTH + 3 * WIDTH)
    assert not any(name.endswith("_part") for name in trained), "what is chosen whole trains as it is"


def test_bad_choices_are_one_sentence(tiny: Callable[[str], Path]) -> None:
    def refused(**settings: Any) -> str:
        with pytest.raises(NoTargets) as caught:
            AttentionHeads(**settings).apply(transformers.AutoModel.from_pretrained(tiny("bert")))
        return caught.value.message

    assert refused(heads=[[3, 0]]) == "method.heads: there is no attention 3, the model has 3."
    assert refused(heads=[[1, 4]]) == "method.heads: attention 1 has no head 4, but 4 heads."
    assert refused(heads=[]) == "method.heads: the list is empty."
    assert refused(most_important=13) == "method.most_important: 13 heads were asked for, and the model has 12."
    with pytest.raises(ValueError, match="exclude each other"):
        AttentionHeads(heads="all", most_important=2)
