"""What task embedding promises beside every task: its rows see each other, so it is a step, not a row, that must not depend on batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tiny import BAD, DEVICE, FAMILIES, FILLER, GOOD, ROUNDING, sentences
from weitiao.core.contracts import Features
from weitiao.evaluation.predict import outputs
from weitiao.models import load
from weitiao.parallel.single import Single
from weitiao.training import coupled, loop, optim
from weitiao.training.loader import Loader

ONE = Single(DEVICE)
TASKS: dict[str, dict[str, Any]] = {
    "pairs": {},
    "both ways, prefixes": {"symmetric": True, "query_prefix": "one more ", "passage_prefix": "this day "},
    "first token": {"pooling": "cls"},
    "labels": {"pairs": "same_label"},
    "scores": {"pairs": "scored"},
}
METHODS = ({"name": "full"}, {"name": "layers", "last": 1}, {"name": "lora", "r": 4})


def records(task: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return rows in which a telling word says what belongs together; passages and negatives come twice, and in lists."""
    words = [*GOOD, *BAD]
    if task.get("pairs") == "same_label":
        return [{"text": text, "label": label} for text, label in sentences(count)]
    found = []
    for n in range(count):
        word, other, fill = words[n % len(words)], words[(n + 5) % len(words)], FILLER[n % len(FILLER)]
        if task.get("pairs") == "scored":
            found.append({"sentence1": f"{word} film {n}", "sentence2": f"the {word if n % 3 else other} story", "score": n % 3 + 0.5})
            continue
        positives = [f"the {word} story", f"a {word} night {n}"]
        row = {"query": f"{word} {fill} {n}", "positive": positives if n % 4 == 0 else positives[n % 2]}
        found.append(row | ({"negative": [f"a {other} day", f"its {fill} {n}"][: n % 3]} if n % 3 else {}))
    return found


@pytest.fixture
def case(prepared: Callable[..., Any], tmp_path: Any) -> Callable[..., Any]:
    """Return a function (family, task) -> (Prepared, model in fp32, features)."""

    def make(family: str, task: dict[str, Any], *, method: Any = "full", dropout: float = 0.0, count: int = 60) -> tuple[Any, torch.nn.Module, list[Features]]:
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, records(task, count))))
        source = {"name": "json", "train": str(tmp_path / "rows.jsonl")}
        made = prepared(family, task={"name": "embedding", **task}, data=source, train={"dropout": dropout}, method=method)
        model = made.recipe.method.apply(load.weights(made.located, made.config, made.recipe.task.head, seed=1).model.to(DEVICE))
        return made, model, made.recipe.task.encode(made.data.splits.train, made.tokenizer)

    return make


def loader(made: Any, features: list[Features], batch_size: int, accumulation: int, *, bucketing: bool = True) -> Loader:
    layout = made.tokenizer.layout()
    return Loader(features, made.recipe.task, layout=layout, batch_size=batch_size, gradient_accumulation=accumulation, seed=3, bucketing=bucketing)


def gradients(made: Any, model: torch.nn.Module, batches: list[Any]) -> tuple[float, dict[str, torch.Tensor]]:
    """Return loss and gradient of one optimizer step as the loop computes them."""
    model.zero_grad()
    loss = coupled.backward(model, made.recipe.task.objective(), batches, strategy=ONE, dtype="fp32")
    return float(loss), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_neither_micro_batches_nor_padding_nor_order_change_the_gradient_of_a_step(case: Callable[..., Any], family: str, task: dict[str, Any]) -> None:
    made, model, features = case(family, task)
    chosen = features[:12]
    batch = made.recipe.task.collate(chosen, made.tokenizer.layout()).to(DEVICE)
    model.zero_grad()
    loss = made.recipe.task.objective()(model, batch).value()
    loss.backward()
    whole = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert whole.keys() == {name for name, _ in model.named_parameters()} and any(gradient.any() for gradient in whole.values())
    for bucketing in (False, True):
        for batch_size, accumulation in ((12, 1), (6, 2), (4, 3), (1, 12)):
            batches = loader(made, chosen, batch_size, accumulation, bucketing=bucketing).step(0)
            assert len(batches) == accumulation
            value, found = gradients(made, model, batches)
            assert value == pytest.approx(loss.item(), rel=1e-5)
            for name, gradient in whole.items():
                torch.testing.assert_close(found[name], gradient, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_padding_and_batch_order_change_neither_vectors_nor_the_loss_of_a_split(case: Callable[..., Any], family: str, task: dict[str, Any]) -> None:
    made, model, features = case(family, task)
    said = [
        outputs(model, made.recipe.task, some, layout=made.tokenizer.layout(), strategy=ONE, batch_size=size)
        for some, size in ((features, 1), (features, len(features)), (features[::-1], 7))
    ]
    for again in (said[1].values, said[2].values[::-1]):
        for alone, together in zip(said[0].values, again, strict=True):
            torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert said[0].loss == pytest.approx(said[1].loss, rel=1e-4) == pytest.approx(said[2].loss, rel=1e-4)
    assert all(vectors.square().sum(-1).allclose(torch.ones(len(vectors)), atol=1e-5) for vectors in said[0].values)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["name"])
def test_eight_rows_are_learnt_by_what_is_declared_alone(case: Callable[..., Any], family: str, method: dict[str, Any]) -> None:
    made, model, features = case(family, {}, method=method)
    rows, few = made.data.splits.train[:8], features[:8]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = optim.optimizer(made.recipe.method.groups(model), made.recipe.train)
    done = list(
        loop.steps(
            model,
            made.recipe.task.objective(),
            loader(made, few, 4, 2),
            optimizer,
            loop.Schedule(1e-2 if method["name"] == "lora" else 3e-3, 5, 60, "linear"),
            method=made.recipe.method,
            strategy=ONE,
            start=0,
            seed=1,
            dtype="fp32",
            max_grad_norm=1.0,
        )
    )
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in model.named_parameters() if p.requires_grad}
    assert done[-1].loss < 0.3 * done[0].loss
    found = made.recipe.task.decode(outputs(model, made.recipe.task, few, layout=made.tokenizer.layout(), strategy=ONE, batch_size=8).values, few, rows)
    assert [p.value in row.target for p, row in zip(found, rows, strict=True)] == [True] * 8
