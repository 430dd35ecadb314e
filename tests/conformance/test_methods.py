"""What every method promises, on every family of models."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny import DEVICE, FAMILIES
from weitiao.core import registry
from weitiao.core.contracts import Capability
from weitiao.errors import NoTargets
from weitiao.evaluation.predict import outputs
from weitiao.models import attention, dropout, load
from weitiao.parallel.single import Single
from weitiao.training import loop, optim
from weitiao.training.loader import Loader

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "lora": [
        {},
        {"r": 4, "use_rslora": True, "target_modules": r".*(query|q_proj|in_proj|query_proj)"},
        {"r": 4, "init_lora_weights": "pissa"},
        {"r": 4, "init_lora_weights": "olora", "loraplus_lr_ratio": 4},
        {"r": 4, "lora_fa": True, "init_lora_weights": "gaussian"},
    ],
    "qlora": [{"r": 4}, {"r": 4, "bits": 8}, {"r": 4, "quant_type": "fp4", "double_quant": False}],
    "adapter": [{}, {"form": "houlsby", "bottleneck_size": 8}, {"form": "parallel", "reduction_factor": 4}],
    "prompt_tuning": [{"num_virtual_tokens": 5}, {"num_virtual_tokens": 6, "init_text": "the good film"}],
    "prefix_tuning": [{"num_virtual_tokens": 5}, {"num_virtual_tokens": 5, "prefix_projection": True}],
    "p_tuning": [{"num_virtual_tokens": 5}, {"num_virtual_tokens": 5, "encoder_reparameterization_type": "LSTM"}],
    "peft": [{"type": "loha"}, {"type": "HRA", "configuration": {"r": 4}}, {"type": "oft", "configuration": {"oft_block_size": 8}}, {"type": "boft"}],
    "vera": [{}, {"r": 8, "target_modules": r".*(query|q_proj|in_proj|query_proj)"}],
    "attention_heads": [{}, {"heads": [[0, 1], [2, 0], [2, 1]]}, {"most_important": 5}],
    "subnetwork": [{"by": by, "density": 0.02} for by in ("fisher", "gradient", "movement", "gates", "magnitude", "random")],
    "combined": [
        {"methods": ["norm", {"name": "lora", "r": 4}]},
        {"methods": [{"name": "adapter", "form": "parallel", "reduction_factor": 4}, "ia3"]},
        {"methods": [{"name": "prompt_tuning", "num_virtual_tokens": 5}, {"name": "layers", "last": 1}]},
    ],
    "layers": [{}, {"first": 1}, {"range": [1, 1], "embeddings": True}, {"pattern": "query|q_proj"}, {"last": 3, "head": False}],
}
"""Settings worth trying besides the defaults."""
CASES = [{"name": name, **settings} for name in registry.names("method") for settings in VARIANTS.get(name, [{}])]
REFUSED = {
    ("bitfit", "llama"): "no biases",
    ("bitfit", "gemma3"): "no biases",
    ("prefix_tuning", "deberta"): "cannot be given keys and values",
}
"""Method and family that cannot go together -> words of the reason that the plan gives."""
THIN = {
    "bitfit": "deberta",
    "norm": "gemma3",
    "adapter": "roberta",
    "qlora": "llama",
    "attention_heads": "llama",
    "subnetwork": "bert",
    "ia3": "roberta",
    "vera": "gemma3",
    "adalora": "llama",
    "peft": "bert",
    "prompt_tuning": "bert",
    "p_tuning": "llama",
    "prefix_tuning": "roberta",
    "combined": "llama",
}
"""Method -> the family that its first variant is tried on in the quick half; the soak tries every one on every family. Others are quick everywhere."""
ONE = Single(DEVICE)


def cells(*, refused: bool = False) -> list[Any]:
    """Return family and method of every cell of the matrix."""
    found = []
    for family, case in itertools.product(FAMILIES, CASES):
        name = case["name"]
        if ((name, family) in REFUSED) == refused:
            first = next(other for other in CASES if other["name"] == name)
            thin = name in THIN or {"init_lora_weights", "lora_fa"} & case.keys()
            quick = not thin or (THIN.get(name) == family and case == first) or refused
            found.append(pytest.param(family, case, id=" ".join([family, *map(str, case.values())]), marks=() if quick else pytest.mark.soak))
    return found


def model_of(prepared: Any) -> torch.nn.Module:
    return load.weights(prepared.located, prepared.config, prepared.recipe.task.head, seed=1).model.to(DEVICE)


def features_of(prepared: Any, count: int = 16) -> list[Any]:
    return prepared.recipe.task.encode(prepared.data.splits.train[:count], prepared.tokenizer)


def applied(prepared: Any, model: torch.nn.Module) -> torch.nn.Module:
    """Return the model as a run has it before its first step: the method has seen data, and marked what trains."""
    recipe = prepared.recipe
    batches = [recipe.task.collate(features_of(prepared, 8), prepared.tokenizer.layout())]
    recipe.method.calibrate(model, recipe.task.objective(), batches)
    return recipe.method.apply(model)


def said(prepared: Any, model: torch.nn.Module, features: list[Any]) -> torch.Tensor:
    return outputs(model, prepared.recipe.task, features, layout=prepared.tokenizer.layout(), strategy=ONE, batch_size=8).values


def train(prepared: Any, model: torch.nn.Module, features: list[Any], *, steps: int, rate: float = 1e-2) -> list[float]:
    recipe = prepared.recipe
    loader = Loader(features, recipe.task, layout=prepared.tokenizer.layout(), batch_size=8, gradient_accumulation=1, seed=1, bucketing=True)
    optimizer = optim.optimizer(recipe.method.groups(model), recipe.train)
    done = loop.steps(
        model,
        recipe.task.objective(),
        loader,
        optimizer,
        loop.Schedule(rate, 0, steps, "constant"),
        method=recipe.method,
        strategy=ONE,
        start=0,
        seed=1,
        dtype="fp32",
        max_grad_norm=1.0,
    )
    return [float(step.loss) for step in done]


@pytest.mark.parametrize(("family", "method"), cells())
def test_only_declared_tensors_move_all_of_them_move_and_the_loss_falls(prepared: Callable[..., Any], family: str, method: dict[str, Any]) -> None:
    made = prepared(family, method=method, train={"weight_decay": 0.0, "dropout": 0.0})
    model = applied(made, model_of(made))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    declared = {name for name, p in model.named_parameters() if p.requires_grad}
    grouped = [name for group in made.recipe.method.groups(model) for name in group.names]
    assert sorted(grouped) == sorted(declared), "the optimizer gets exactly what is declared"
    losses = train(made, model, features_of(made, 8), steps=30)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    emptied = {name for name, p in model.named_parameters() if ".lora_E." in name and not p.any()}
    assert moved | emptied == declared, "all but what AdaLoRA took every rank from"
    if method.get("head", True):
        assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize(("family", "method"), cells())
def test_the_output_is_unchanged_at_the_start_where_the_method_says_so(prepared: Callable[..., Any], family: str, method: dict[str, Any]) -> None:
    made = prepared(family, method=method)
    if Capability.IDENTITY_AT_START not in made.recipe.method.capabilities:
        pytest.skip("the method does not say so")
    model, features = model_of(made), features_of(made)
    before = said(made, model, features)
    model = applied(made, model)
    dropout.install(model)
    attention.install(model)
    made.recipe.method.training_mode(model)
    assert torch.equal(said(made, model, features), before)


@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_layers_run_as_in_prediction(prepared: Callable[..., Any], family: str) -> None:
    made = prepared(family, method={"name": "layers", "last": 1})
    model = applied(made, model_of(made))
    made.recipe.method.training_mode(model)
    for name, module in model.named_modules():
        parameters = list(module.parameters())
        if "layer" in name and parameters and "head" not in name:
            assert module.training == any(p.requires_grad for p in parameters) or not list(module.children())


@pytest.mark.parametrize(("family", "method"), cells(refused=True))
def test_what_cannot_go_together_is_refused_without_weights_and_with_the_reason(prepared: Callable[..., Any], family: str, method: dict[str, Any]) -> None:
    made = prepared(family, method=method)
    with pytest.raises(NoTargets, match=REFUSED[method["name"], family]):
        made.recipe.method.apply(load.skeleton(made.config, made.recipe.task.head))


@pytest.mark.parametrize("thin", [True, pytest.param(False, marks=pytest.mark.soak)], ids=["thin slice", "every cell"])
def test_what_is_saved_predicts_the_same_in_a_fresh_process_with_plain_transformers(prepared: Callable[..., Any], tmp_path: Path, thin: bool) -> None:
    expected: dict[str, Any] = {}
    for number, cell in enumerate(cells()):
        family, method = cell.values
        if thin == bool(cell.marks):
            continue
        made = prepared(family, method=method)
        model = applied(made, model_of(made))
        dropout.install(model)
        attention.install(model)
        features = features_of(made, 8)
        train(made, model, features, steps=3)
        folder = tmp_path / f"{family}-{number}"
        made.recipe.method.save(model, folder)
        logits = said(made, model, features)
        kind = made.recipe.method.folder
        if not made.recipe.method.capabilities & {Capability.ADDITION, Capability.QUANTIZED}:
            opens = {"auto_class": "AutoModelForSequenceClassification", "num_labels": logits.shape[1], "delta": delta_of(made.recipe.method), "folder": kind}
            expected[str(folder)] = {"opens": opens, "ids": [f.input_ids for f in features], "logits": logits.tolist()}
        opened = made.recipe.method.load(folder, made.recipe.task.head).to(DEVICE)
        made.tokenizer.suit(opened)
        torch.testing.assert_close(said(made, opened, features), logits, rtol=0, atol=1e-5)
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    code = """
import json, os, sys, torch
from weitiao.core import snippets
for folder, case in json.load(open(sys.argv[1])).items():
    os.chdir(folder)
    lines = [line for line in snippets._opened(case["opens"], {}) if "okenizer = " not in line]
    names = {}
    exec("\\n".join(lines), names)
    for ids, logits in zip(case["ids"], case["logits"]):
        with torch.no_grad():
            got = names["model"].eval()(input_ids=torch.tensor([ids])).logits[0]
        torch.testing.assert_close(got, torch.tensor(logits), rtol=1e-4, atol=1e-5, msg=lambda m: folder + m)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "expected.json")], check=True, timeout=240)


def delta_of(method: Any) -> str:
    return "entries" if Capability.ENTRIES in method.capabilities else "tensors"
