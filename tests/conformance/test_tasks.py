"""What every task promises, whatever the batches look like."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tiny import BAD, DEVICE, FAMILIES, FILLER, GOOD, choices, questions, sentences
from weitiao.core.contracts import Batch
from weitiao.evaluation import score
from weitiao.evaluation.predict import outputs
from weitiao.models import attention, load, unpadding
from weitiao.parallel.single import Single
from weitiao.training import loop, optim
from weitiao.training.loader import Loader

ONE = Single(DEVICE)
TASKS: list[dict[str, Any]] = [
    {"name": "text_classification"},
    {"name": "text_classification", "class_weights": "balanced", "label_smoothing": 0.1},
    {"name": "text_classification", "problem_type": "multi_label_classification", "label_separator": "|"},
    {"name": "text_classification", "problem_type": "regression"},
    {"name": "text_pair"},
    {"name": "text_pair", "problem_type": "regression"},
    {"name": "relation_extraction", "markers": ["0", "1", "2", "3"]},
    {"name": "token_classification"},
    {"name": "token_classification", "max_length": 9, "overlap": 3, "class_weights": {"FINE": 2.0}, "label_smoothing": 0.1},
    {"name": "token_classification", "scheme": "plain"},
    {"name": "question_answering", "doc_stride": 4},
    {"name": "question_answering", "doc_stride": 4, "no_answer": True},
    {"name": "multiple_choice"},
    {"name": "multiple_choice", "score": "likelihood", "prompt": "{question} was {option}"},
]
IDS = [
    *("single label", "weighted and smoothed", "multi-label", "regression", "pairs", "regression of pairs", "relations"),
    *("entities", "entities in windows", "plain tags"),
    *("answers in a text", "answers or none", "options by head", "options by likelihood"),
]


def record(task: dict[str, Any], text: str) -> dict[str, Any]:
    """Return a text as a task wants it."""
    words = text.split()
    if task["name"] == "text_pair":
        return {"sentence1": words[0], "sentence2": " ".join(words[1:])}
    if task["name"] == "relation_extraction":
        return {"tokens": words, "head": [0, 1], "tail": [len(words) - 1, len(words)]}
    return {"text": text}


def labelled(task: dict[str, Any]) -> list[dict[str, Any]]:
    """Return sixty rows with a label, labels or a number."""
    rows = []
    for n, (text, label) in enumerate(sentences(60)):
        if task.get("problem_type") == "regression":
            label = str((1.0 if label == "pos" else -1.0) + 0.01 * n)
        elif task.get("problem_type") == "multi_label_classification":
            label = "|".join([label] * (n % 5 > 0) + ["odd"] * (n % 3 == 0))
        elif n % 6 == 0:
            label = "rare"
        rows.append({**record(task, text), "label": label})
    return rows


def tagged(count: int) -> list[dict[str, Any]]:
    """Return sentences with good and bad things, one or two words long, among fillers."""
    rng = random.Random(0)
    rows = []
    for n in range(count):
        tokens, tags = [str(n)], ["O"]
        for _ in range(1 + n % 4):
            kind, words = rng.choice([("FINE", GOOD), ("POOR", BAD)])
            length = rng.randint(1, 2)
            tokens += [rng.choice(FILLER), *rng.choices(words, k=length)]
            tags += ["O", f"B-{kind}", *[f"I-{kind}"] * (length - 1)]
        rows.append({"tokens": tokens, "tags": tags})
    return rows


ROWS: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {
    "token_classification": lambda task: tagged(60),
    "question_answering": lambda task: questions(60, answerable=0.7 if task.get("no_answer") else 1.0, longest=40),
    "multiple_choice": lambda task: choices(60),
}
"""Task -> rows that a tiny model can learn, where they are no texts with labels."""
DECODERS = ("llama", "gemma3")


@pytest.fixture
def case(prepared: Callable[..., Any], tmp_path: Any) -> Callable[..., Any]:
    """Return a function (family, task) -> (Prepared, model in fp32 without dropout, features)."""

    def make(family: str, task: dict[str, Any], **train: Any) -> tuple[Any, torch.nn.Module, list[Any]]:
        if task.get("score") == "likelihood" and family not in DECODERS:
            pytest.skip("an encoder continues no text")
        rows = ROWS.get(task["name"], labelled)(task)
        file = tmp_path / "task.json"
        file.write_text(json.dumps(rows))
        made = prepared(family, task=task, data={"name": "json", "train": str(file)}, train={"dropout": 0.0, **train}, method="full")
        model = made.recipe.method.apply(load.weights(made.located, made.config, made.recipe.task.head, seed=1).model.to(DEVICE))
        return made, model, made.recipe.task.encode(made.data.splits.train, made.tokenizer)

    return make


def same(said: Any, other: Any) -> None:
    """Assert that outputs are the same up to rounding: a tensor, or a list of tensors of their own sizes."""
    for a, b in zip(said, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def gradients(made: Any, model: torch.nn.Module, batches: list[Batch]) -> dict[str, torch.Tensor]:
    """Return the gradient of one optimizer step over micro-batches, as the loop computes it."""
    objective = made.recipe.task.objective()
    counts = loop.total_counts(objective, batches)
    model.zero_grad()
    for batch in batches:
        objective(model, batch.to(DEVICE)).value(counts).backward()
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
            assert len(batches) >= accumulation if bucketing else len(batches) == accumulation
            assert sorted(row for batch in batches for row in batch.rows) == sorted(f.row for f in features[:12])
            found = gradients(made, model, batches)
            whole = whole or found
            for name, gradient in whole.items():
                torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(DEVICE.type != "cpu", reason="padding is computed on a GPU")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_leaving_out_padding_does_not_change_the_gradient(case: Callable[..., Any], family: str, task: dict[str, Any]) -> None:
    made, model, features = case(family, task)
    assert not made.recipe.task.packs
    model.eval()
    sides = [
        Loader(
            features[:12], made.recipe.task, layout=made.tokenizer.layout(), batch_size=12, gradient_accumulation=1, seed=3, bucketing=True, unpadded_tokens=n
        )
        for n in (None, 60)
    ]
    expected = gradients(made, model, sides[0].step(0))
    attention.install(model)
    assert unpadding.works(model) == (family != "deberta")
    unpadding.Unpadding(model)
    found = gradients(made, model, sides[1].step(0))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_padding_and_batch_order_change_nothing(case: Callable[..., Any], family: str, task: dict[str, Any]) -> None:
    made, model, features = case(family, task)
    alone = outputs(model, made.recipe.task, features, layout=made.tokenizer.layout(), strategy=ONE, batch_size=1)
    together = outputs(model, made.recipe.task, features, layout=made.tokenizer.layout(), strategy=ONE, batch_size=len(features))
    backwards = outputs(model, made.recipe.task, features[::-1], layout=made.tokenizer.layout(), strategy=ONE, batch_size=7)
    same(together.values, alone.values)
    same(list(backwards.values)[::-1], alone.values)
    assert together.loss == pytest.approx(alone.loss, rel=1e-4)


def perfect(fitted: Any, batch: Batch, features: list[Any], rows: Any) -> Any:
    """Return the outputs of a model that is right about everything."""
    if fitted.name == "token_classification":  # at the words of the window before too, where nothing is asked
        tags = {row.id: row.target for row in rows}
        right = [[fitted.labels.index(tags[f.row][place]) if place >= 0 else 0 for place in f.places] for f in features]
        return [torch.eye(len(fitted.labels))[torch.tensor(line)] * 20 for line in right]
    if fitted.name == "question_answering":
        return [torch.nn.functional.one_hot(t, len(f)).T * 20.0 for f, t in zip(features, batch.targets, strict=True)]
    if fitted.name == "multiple_choice":
        return [torch.eye(lines)[target] * 20 for lines, target in zip(batch.lines or (), batch.targets, strict=True)]
    kind = getattr(fitted, "problem_type", "single_label_classification")
    if kind == "regression":
        return batch.targets[:, None]
    return 20 * batch.targets - 10 if kind.startswith("multi") else torch.eye(len(fitted.labels))[batch.targets] * 20


@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_targets_survive_encoding_collating_and_decoding(case: Callable[..., Any], task: dict[str, Any]) -> None:
    made, _, features = case("llama" if task.get("score") == "likelihood" else "bert", task)
    fitted, rows = made.recipe.task, made.data.splits.train
    batch = fitted.collate(features, made.tokenizer.layout())
    assert batch.rows == tuple(f.row for f in features) and list(dict.fromkeys(batch.rows)) == [row.id for row in rows]
    assert batch.tokens == sum(len(f) for f in features) == int(batch.inputs["attention_mask"].sum())
    found = fitted.decode(perfect(fitted, batch, features, rows), features, rows)
    for prediction, row in zip(found, rows, strict=True):
        assert fitted.closeness(prediction, row) == pytest.approx(1.0)
    for metric in fitted.metrics():
        value = score.value(metric, found, [row.target for row in rows])
        assert value == pytest.approx(1.0 if metric.higher_is_better else 0.0, abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_eight_rows_can_be_learnt_by_heart(case: Callable[..., Any], family: str, task: dict[str, Any]) -> None:
    made, model, features = case(family, task)
    rows = made.data.splits.train[:8]
    few = [feature for feature in features if feature.row in {row.id for row in rows}]
    loader = Loader(few, made.recipe.task, layout=made.tokenizer.layout(), batch_size=len(few), gradient_accumulation=1, seed=1, bucketing=True)
    optimizer = optim.optimizer(made.recipe.method.groups(model), made.recipe.train)
    for _ in loop.steps(
        model,
        made.recipe.task.objective(),
        loader,
        optimizer,
        loop.Schedule(3e-3, 10, 150, "linear"),
        method=made.recipe.method,
        strategy=ONE,
        start=0,
        seed=1,
        dtype="fp32",
        max_grad_norm=1.0,
    ):
        pass
    said = outputs(model, made.recipe.task, few, layout=made.tokenizer.layout(), strategy=ONE, batch_size=8)
    for prediction, row in zip(made.recipe.task.decode(said.values, few, rows), rows, strict=True):
        assert prediction.id == row.id
        assert made.recipe.task.closeness(prediction, row) >= (0.7 if isinstance(row.target, float) else 1.0)
