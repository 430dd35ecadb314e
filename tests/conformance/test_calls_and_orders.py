"""What chat with functions, knowledge or a text to ask about, and controlled generation, promise on models that continue text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_language
from tiny import sentences
from tiny_language import ANSWERS, THINGS
from weitiao.core.contracts import Batch
from weitiao.core.recipe import Recipe
from weitiao.evaluation import score
from weitiao.evaluation.predict import answered, outputs
from weitiao.models import attention, load
from weitiao.parallel.single import Single
from weitiao.training import loop, optim
from weitiao.training.loader import Loader
from weitiao.training.prepare import encode, prepare

CPU = Single(torch.device("cpu"))
FAMILIES = ("gpt2", "llama", "gemma3")


def calling(n: int) -> dict[str, Any]:
    """Return a conversation in which a function is called, in every third none."""
    thing, answer = THINGS[n % 12], ANSWERS[n % 12]
    asked = [{"role": "user", "content": f"{thing}?"}]
    last = [{"role": "assistant", "content": answer}]
    call = [{"role": "assistant", "tool_calls": [{"function": {"name": "see", "arguments": {"x": thing}}}]}, {"role": "tool", "content": answer}]
    return {"messages": [*asked, *(call if n % 3 else []), *last], "tools": [{"name": "see"}]}


def knowing(n: int) -> dict[str, Any]:
    """Return a dialogue as KdConv has them."""
    thing, answer = THINGS[n % 12], ANSWERS[n % 12]
    fact = {"name": thing, "attrname": "is", "attrvalue": answer}
    return {"messages": [{"message": f"{thing} {n}?"}, {"message": answer, "attrs": [fact]}, {"message": "sure?"}, {"message": "yes"}]}


def asking(n: int) -> dict[str, Any]:
    """Return a question about a text."""
    return {"question": f"{THINGS[n % 12]}?", "context": f"{n} {THINGS[n % 12]} {ANSWERS[n % 12]}.", "answers": [ANSWERS[n % 12], "or that"]}


def ordering(n: int) -> dict[str, Any]:
    """Return a text and its attribute."""
    text, label = sentences(60)[n]
    return {"text": text, "label": label}


CASES: dict[str, tuple[dict[str, Any], Callable[[int], dict[str, Any]]]] = {
    "calls": ({"name": "chat", "answer": "call", "max_length": 256}, calling),
    "knowledge": ({"name": "chat", "answer": "knowledge", "max_length": 200}, knowing),
    "questions about a text": ({"name": "chat", "max_length": 128}, asking),
    "orders": ({"name": "controlled_generation", "begin_words": 1, "max_length": 200}, ordering),
}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root, built = tmp_path_factory.mktemp("calls"), dict[str, Path]()

    def folder(family: str) -> Path:
        if family not in built:
            built[family] = tiny_language.build(root / family, family)
        return built[family]

    return folder


@pytest.fixture
def case(models: Callable[[str], Path], tmp_path: Path) -> Callable[..., Any]:
    """Return a function (family, kind, settings of the task) -> (Prepared, Encoded, model without dropout)."""

    def make(family: str, kind: str, **settings: Any) -> tuple[Any, Any, torch.nn.Module]:
        task, row = CASES[kind]
        (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row(n)) for n in range(48)))
        recipe = {
            "model": str(models(family)),
            "data": {"name": "json", "train": str(tmp_path / "rows.jsonl")},
            "task": {**task, **settings},
            "train": {"device": "cpu", "dtype": "fp32", "dropout": 0.0, "batch_size": 8, "weight_decay": 0.0},
        }
        made, encoded = encode(prepare(Recipe.load(recipe)))
        return made, encoded, load.weights(made.located, made.config, made.recipe.task.head, seed=1).model

    return make


def gradients(made: Any, model: torch.nn.Module, batches: list[Batch]) -> dict[str, torch.Tensor]:
    objective = made.recipe.task.objective()
    counts = loop.total_counts(objective, batches)
    model.zero_grad()
    for batch in batches:
        objective(model, batch).value(counts).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", CASES)
def test_neither_padding_nor_packing_nor_micro_batches_change_gradient_or_score(case: Callable[..., Any], family: str, kind: str) -> None:
    made, encoded, model = case(family, kind)
    few = encoded.train[:6]
    assert len(encoded.train) >= 30 and attention.install(model)
    layouts = [(made.tokenizer.layout(packed=packed, most_tokens=most), size) for packed, most, size in ((False, None, 6), (False, None, 2), (True, 300, 3))]
    found, scores = [], []
    for layout, size in layouts:
        loader = Loader(few, made.recipe.task, layout=layout, batch_size=size, gradient_accumulation=6 // size, seed=3, bucketing=True)
        found.append(gradients(made, model, loader.step(0)))
        scores.append(outputs(model, made.recipe.task, few, layout=layout, strategy=CPU, batch_size=size).values)
    for gradient, values in zip(found[1:], scores[1:], strict=True):
        torch.testing.assert_close(values, scores[0], rtol=1e-4, atol=1e-4)
        for name, expected in found[0].items():
            torch.testing.assert_close(gradient[name], expected, rtol=1e-4, atol=1e-5 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("family", ["llama", *(pytest.param(family, marks=pytest.mark.soak) for family in ("gpt2", "gemma3"))])
def test_calls_learnt_by_heart_are_made_with_name_and_arguments(case: Callable[..., Any], family: str) -> None:
    made, encoded, model = case(family, "calls", max_new_tokens=48)
    rows = made.data.splits.train[:6]
    few = [feature for feature in encoded.train if feature.row in {row.id for row in rows}]
    attention.install(model)
    loader = Loader(few, made.recipe.task, layout=made.tokenizer.layout(packed=True), batch_size=6, gradient_accumulation=1, seed=1, bucketing=True)
    optimizer = optim.optimizer(made.recipe.method.groups(model), made.recipe.train)
    how = {"method": made.recipe.method, "strategy": CPU, "start": 0, "seed": 1, "dtype": "fp32", "max_grad_norm": 1.0}
    for _ in loop.steps(model, made.recipe.task.objective(), loader, optimizer, loop.Schedule(5e-3, 8, 160, "linear"), **how):
        pass
    values = outputs(model, made.recipe.task, few, layout=made.tokenizer.layout(), strategy=CPU, batch_size=6).values
    predictions = answered(model, made.recipe.task, rows, made.recipe.task.decode(values, few, rows), made.tokenizer, most=None, strategy=CPU)
    found = {metric.name: score.value(metric, predictions, [row.target for row in rows]) for metric in made.recipe.task.metrics()}
    assert all((found[name] or 0) > 0.7 for name in ("tool_use_accuracy", "tool_name_accuracy", "tool_arguments_match")), [p.value for p in predictions]
