"""What every task promises, whatever the batches look like."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tiny import FAMILIES, sentences
from weitiao.core.contracts import Batch
from weitiao.evaluation import score
from weitiao.evaluation.predict import outputs
from weitiao.models import load
from weitiao.parallel.single import Single
from weitiao.training import loop, optim
from weitiao.training.loader import Loader

CPU = Single(torch.device("cpu"))
TASKS: list[dict[str, Any]] = [
    {"name": "text_classification"},
    {"name": "text_classification", "class_weights": "balanced", "label_smoothing": 0.1},
    {"name": "text_classification", "problem_type": "multi_label_classification", "label_separator": "|"},
    {"name": "text_classification", "problem_type": "regression"},
    {"name": "text_pair"},
    {"name": "text_pair", "problem_type": "regression"},
    {"name": "relation_extraction", "markers": ["0", "1", "2", "3"]},
]
IDS = ["single label", "weighted and smoothed", "multi-label", "regression", "pairs", "regression of pairs", "relations"]


def record(task: dict[str, Any], text: str) -> dict[str, Any]:
    """Return a text as a task wants it."""
    words = text.split()
    if task["name"] == "text_pair":
        return {"sentence1": words[0], "sentence2": " ".join(words[1:])}
    if task["name"] == "relation_extraction":
        return {"tokens": words, "head": [0, 1], "tail": [len(words) - 1, len(words)]}
    return {"text": text}


@pytest.fixture
def case(prepared: Callable[..., Any], tmp_path: Any) -> Callable[..., Any]:
    """Return a function (family, task) -> (Prepared, model in fp32 without dropout, features)."""

    def make(family: str, task: dict[str, Any], **train: Any) -> tuple[Any, torch.nn.Module, list[Any]]:
        lines = []
        for n, (text, label) in enumerate(sentences(60)):
            if task.get("problem_type") == "regression":
                label = str((1.0 if label == "pos" else -1.0) + 0.01 * n)
            elif task.get("problem_type") == "multi_label_classification":
                label = "|".join([label] * (n % 5 > 0) + ["odd"] * (n % 3 == 0))
            elif n % 6 == 0:
                label = "rare"
            lines.append(json.dumps({**record(task, text), "label": label}))
        (tmp_path / "task.json").write_text("\n".join(lines))
        made = prepared(family, task=task, data={"name": "json", "train": str(tmp_path / "task.json")}, train={"dropout": 0.0, **train}, method="full")
        model = made.recipe.method.apply(load.weights(made.located, made.config, made.recipe.task.head, seed=1).model)
        return made, model, made.recipe.task.encode(made.data.splits.train, made.tokenizer)

    return make


def gradients(made: Any, model: torch.nn.Module, batches: list[Batch]) -> dict[str, torch.Tensor]:
    """Return the gradient of one optimizer step over micro-batches, as the loop computes it."""
    objective = made.recipe.task.objective()
    counts = loop.total_counts(objective, batches)
    model.zero_grad()
    for batch in batches:
        objective(model, batch).value(counts).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_splitting_a_step_into_micro_batches_does_not_change_the_gradient(case: Callable[..., Any], family: str, task: dict[str, Any]) -> None:
    made, model, features = case(family, task)
    model.eval()
    whole: dict[str, torch.Tensor] = {}
    for bucketing in (False, True):
        for batch_size, accumulation in ((12, 1), (6, 2), (4, 3), (3, 4), (1, 12)):
            loader = Loader(
                features[:12],
                made.recipe.task,
                layout=made.tokenizer.layout(),
                batch_size=batch_size,
                gradient_accumulation=accumulation,
                seed=3,
                bucketing=bucketing,
            )
            batches = loader.step(0)
            assert len(batches) == accumulation and sorted(row for batch in batches for row in batch.rows) == sorted(f.row for f in features[:12])
            found = gradients(made, model, batches)
            whole = whole or found
            for name, gradient in whole.items():
                torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_padding_and_batch_order_change_nothing(case: Callable[..., Any], family: str, task: dict[str, Any]) -> None:
    made, model, features = case(family, task)
    alone = outputs(model, made.recipe.task, features, layout=made.tokenizer.layout(), strategy=CPU, batch_size=1)
    together = outputs(model, made.recipe.task, features, layout=made.tokenizer.layout(), strategy=CPU, batch_size=len(features))
    backwards = outputs(model, made.recipe.task, features[::-1], layout=made.tokenizer.layout(), strategy=CPU, batch_size=7)
    torch.testing.assert_close(together.values, alone.values, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(backwards.values.flip(0), alone.values, rtol=1e-4, atol=1e-5)
    assert together.loss == pytest.approx(alone.loss, rel=1e-4)


@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_targets_survive_encoding_collating_and_decoding(case: Callable[..., Any], task: dict[str, Any]) -> None:
    made, _, features = case("bert", task)
    fitted, rows = made.recipe.task, made.data.splits.train
    batch = fitted.collate(features, made.tokenizer.layout())
    assert batch.rows == tuple(row.id for row in rows)
    assert batch.tokens == sum(len(f) for f in features) == int(batch.inputs["attention_mask"].sum())
    kind = getattr(fitted, "problem_type", "single_label_classification")
    perfect = (
        batch.targets[:, None]
        if kind == "regression"
        else 20 * batch.targets - 10
        if kind.startswith("multi")
        else torch.eye(len(fitted.labels))[batch.targets] * 20
    )
    found = fitted.decode(perfect, features, rows)
    decoded = [p.value for p in found]
    for value, row in zip(decoded, rows, strict=True):
        assert (
            (set(value) == set(row.target)) if kind.startswith("multi") else value == pytest.approx(row.target) if kind == "regression" else value == row.target
        )
    for metric in fitted.metrics():
        best = 1.0 if metric.higher_is_better else 0.0
        value = float(metric.value(score.total(metric.statistics(found, [row.target for row in rows]))))
        assert value == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_eight_rows_can_be_learnt_by_heart(case: Callable[..., Any], family: str, task: dict[str, Any]) -> None:
    made, model, features = case(family, task)
    few = features[:8]
    loader = Loader(few, made.recipe.task, layout=made.tokenizer.layout(), batch_size=8, gradient_accumulation=1, seed=1, bucketing=True)
    optimizer = optim.optimizer(made.recipe.method.groups(model), made.recipe.train)
    for _ in loop.steps(
        model,
        made.recipe.task.objective(),
        loader,
        optimizer,
        loop.Schedule(3e-3, 10, 150, "linear"),
        method=made.recipe.method,
        strategy=CPU,
        start=0,
        seed=1,
        dtype="fp32",
        max_grad_norm=1.0,
    ):
        pass
    predictions = made.recipe.task.decode(
        outputs(model, made.recipe.task, few, layout=made.tokenizer.layout(), strategy=CPU, batch_size=8).values, few, made.data.splits.train[:8]
    )
    targets = {row.id: row.target for row in made.data.splits.train}
    for prediction in predictions:
        target = targets[prediction.id]
        if isinstance(target, float):
            assert prediction.value == pytest.approx(target, abs=0.3)
        elif isinstance(target, tuple):
            assert sorted(prediction.value) == sorted(target)
        else:
            assert prediction.value == target
