"""Single weights: how they are chosen, that only they move, and what is kept of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

import tiny_language
import weitiao
from weitiao.core.contracts import IGNORED, Batch, Loss
from weitiao.core.contracts.loss import Term
from weitiao.core.events import Stepped
from weitiao.methods.subnetwork import Subnetwork
from weitiao.models import attention, gates, importance, precision, readout, woven
from weitiao.training import optim


class PowerCut(Exception):
    pass


class Likelihood:
    """What a language model's objective says: the negative log-likelihood of labels."""

    coupled = False

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"likelihood": 1.0}

    def __call__(self, model: Any, batch: Batch) -> Loss:
        return Loss({"likelihood": Term(readout.likelihood(model, batch)[0], float((batch.targets != IGNORED).sum()))})


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language.build(tmp_path_factory.mktemp("language") / "llama", "llama")


def loaded(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def rows() -> list[Batch]:
    torch.manual_seed(0)
    found = []
    for n, length in enumerate((5, 9, 7)):
        ids = torch.randint(7, 300, (1, length))
        found.append(Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, ids.roll(-1, 1), (str(n),), length))
    return found


def packed() -> Batch:
    alone = rows()
    inputs = {
        "input_ids": torch.cat([row.inputs["input_ids"] for row in alone], 1),
        "position_ids": torch.cat([torch.arange(row.tokens) for row in alone])[None],
    }
    return Batch(inputs, torch.cat([row.targets for row in alone], 1), ("0", "1", "2"), 21, (5, 9, 7))


def test_fisher_information_is_the_sum_of_squared_gradients_of_single_rows_packed_or_not(llama: Path) -> None:
    model = loaded(llama)
    names = [name for name, _ in model.named_parameters() if name.endswith("q_proj.weight")]
    expected = dict.fromkeys(names, 0)
    for row in rows():
        model.zero_grad()
        Likelihood()(model, row).value().backward()
        expected = {name: total + dict(model.named_parameters())[name].grad.square() for name, total in expected.items()}
    model.zero_grad()
    assert attention.install(model)
    for batches in (rows(), [packed()]):
        found = importance.of_entries(model, Likelihood(), batches, names, by="fisher", rows=100)
        for name in names:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-7)
    fewer = importance.of_entries(model, Likelihood(), rows(), names, by="fisher", rows=2)
    assert all((fewer[name] <= expected[name] + 1e-7).all() and not torch.allclose(fewer[name], expected[name]) for name in names)


def test_the_largest_weights_of_all_layers_together_are_chosen_to_the_number(llama: Path) -> None:
    model = loaded(llama)
    method = Subnetwork(by="magnitude", density=0.03)
    named = method._candidates(model)
    assert len(named) == 2 * 7
    every = torch.cat([weight.detach().abs().flatten() for weight in named.values()])
    limit = every.sort(descending=True).values[round(0.03 * len(every)) - 1]
    method.calibrate(model, Likelihood(), [])
    chosen = method.settled(model)
    assert sum(len(at) for at in chosen.values()) == round(0.03 * len(every))
    for name, weight in named.items():
        assert chosen[name].tolist() == (weight.detach().abs().flatten() >= limit).nonzero()[:, 0].tolist()


def test_only_chosen_weights_move_and_the_optimizer_holds_two_numbers_for_each(llama: Path) -> None:
    from weitiao.core.recipe import Train

    model, before = loaded(llama), dict(loaded(llama).named_parameters())
    method = Subnetwork(density=0.01)
    method.calibrate(model, Likelihood(), rows())
    places = method.settled(model)
    model = method.apply(model)
    groups = method.groups(model)
    assert len(groups) == 1 and groups[0].weight_decay_scale == 1.0
    optimizer = optim.optimizer(groups, Train())
    optim.set_learning_rate(optimizer, 1e-2)
    with precision.autocast("fp32", torch.device("cpu")):
        for row in rows():
            Likelihood()(model, row).value().backward()
    optimizer.step()
    count = sum(map(len, places.values()))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count
    assert sum(t.numel() for state in optimizer.state.values() for t in state.values() if t.ndim) == 2 * count
    for name, at in places.items():
        module, leaf = model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
        moved = (getattr(module, leaf) != before[name]).flatten().nonzero()[:, 0]
        assert set(moved.tolist()) <= set(at.tolist()) and len(moved) >= 0.9 * len(at)


def test_in_bf16_the_base_is_cast_and_the_chosen_weights_are_not(llama: Path) -> None:
    model = loaded(llama)
    method = Subnetwork(density=0.05)
    method.calibrate(model, Likelihood(), rows())
    model = method.apply(model)
    expected = float(Likelihood()(model, rows()[0]).value().detach())
    precision.cast_frozen(model, torch.bfloat16)
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    with precision.autocast("bf16", torch.device("cpu")):
        value = Likelihood()(model, rows()[0]).value()
    value.backward()
    assert float(value.detach()) == pytest.approx(expected, rel=0.03)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters() if p.requires_grad)


def test_a_run_cut_short_goes_on_with_the_weights_that_it_had_chosen_and_writes_only_these(recipe_dict: dict[str, Any], tmp_path: Path) -> None:
    asked = recipe_dict | {"method": {"name": "subnetwork", "rows": 40}, "evaluate": {"every": 4}}
    asked["train"] = {**recipe_dict["train"], "epochs": 1, "save_every": 4}
    whole = weitiao.train(asked, out=tmp_path / "whole")

    def cut(event: Any) -> None:
        if isinstance(event, Stepped) and event.step >= 6:
            raise PowerCut

    with pytest.raises(PowerCut):
        weitiao.train(asked, out=tmp_path / "cut", recorders=[cut])
    assert len(list((tmp_path / "cut" / "state").glob("*/settled.safetensors"))) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Subnetwork, "calibrate", lambda *_: pytest.fail("a resumed run looks at no data"))
        resumed = weitiao.train(asked, out=tmp_path / "cut")
    files = [Path(report["artifact"]) / "delta" / "delta.safetensors" for report in (whole, resumed)]
    first, second = map(load_file, files)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    chosen = {name.removesuffix(".values"): tensor for name, tensor in first.items() if name.endswith(".values")}
    base = dict(transformers.AutoModel.from_pretrained(asked["model"]).named_parameters())
    candidates = sum(p.numel() for name, p in base.items() if ".layer." in name and p.ndim == 2)
    assert sum(len(tensor) for tensor in chosen.values()) == round(0.005 * candidates)
    assert {first[f"{name}.at.flat"].dtype for name in chosen} == {torch.int32}
    opened = dict(weitiao.load(whole["artifact"]).model.named_parameters())
    for name, values in chosen.items():
        flat = opened[name].detach().flatten()
        assert torch.equal(flat[first[f"{name}.at.flat"].long()], values)
        assert int((flat != base[name.removeprefix("bert.")].flatten()).sum()) <= len(values)
    assert not any(woven.of_parameter(weitiao.load(whole["artifact"]).model, name) for name in opened), "a loaded model is a plain one"


# ------------------------------------------------------------ gates


class Distance:
    """How far a linear layer is from another."""

    coupled = False

    def __init__(self, wanted: torch.Tensor) -> None:
        self.wanted = wanted

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"distance": 1.0}

    def __call__(self, model: Any, batch: Batch) -> Loss:
        told = batch.inputs["input_ids"].float()
        return Loss({"distance": Term((model[0](told) - told @ self.wanted.T).square().sum(), float(len(told)))})


def test_gates_find_the_weights_that_a_task_wants_changed_and_leave_the_model_as_it_was() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 10, bias=False))
    before = model[0].weight.detach().clone()
    changed = torch.randperm(120)[:9]
    wanted = before.clone()
    wanted.view(-1)[changed] += 0.5
    batches = [Batch({"input_ids": torch.randn(64, 12)}, None, tuple(map(str, range(64))), 64) for _ in range(4)]
    found = gates.of_entries(model, Distance(wanted), iter(batches), ["0.weight"], steps=120, seed=1)
    assert set(found["0.weight"].flatten().topk(9).indices.tolist()) == set(changed.tolist())
    again = gates.of_entries(model, Distance(wanted), iter(batches), ["0.weight"], steps=120, seed=1)
    assert torch.equal(again["0.weight"], found["0.weight"])
    assert type(model[0]) is torch.nn.Linear and torch.equal(model[0].weight, before) and model[0].weight.requires_grad
    assert [name for name, _ in model.named_parameters()] == ["0.weight"]


def test_a_gate_costs_what_the_paper_says() -> None:
    gate = gates._Gated(torch.zeros(3), torch.Generator())
    with torch.no_grad():
        gate.gate.copy_(torch.tensor([-20.0, 0.0, 20.0]))
        gate.difference.fill_(2.0)
    assert float(gate.open()) == pytest.approx(0 + 0.5 + 1, abs=1e-6)  # the chance of more than 0: sigmoid(0 - log(1.5 / 1.5))
    assert gate.expected().tolist() == pytest.approx([0.0, 0.0, 2.0], abs=1e-5)
