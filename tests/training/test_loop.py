from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import weitiao
from weitiao.core.contracts import Features, Layout, Loss, Term
from weitiao.core.recipe import Recipe
from weitiao.errors import Diverged
from weitiao.inspect.forecast import Body
from weitiao.models import load, sizes
from weitiao.parallel.single import Single
from weitiao.regularize.l1 import L1
from weitiao.regularize.l2 import L2
from weitiao.tasks.text_classification import TextClassification
from weitiao.training import loop, optim
from weitiao.training.loader import Loader
from weitiao.training.plan import Facts, make_plan
from weitiao.training.prepare import prepare
from weitiao.training.workload import Rows


def test_a_loss_is_divided_once_by_the_count_of_the_whole_step() -> None:
    half = Loss({"a": Term(torch.tensor(6.0), 2), "b": Term(torch.tensor(4.0), 1, coefficient=0.5)})
    assert half.value() == 6 / 2 + 0.5 * 4
    assert half.value({"a": 4, "b": 2}) == 6 / 4 + 0.5 * 4 / 2
    assert Loss({"a": Term(torch.tensor(0.0), 0)}).value() == 0


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=80), batch_size=st.integers(1, 9), accumulation=st.integers(1, 4), bucketing=st.booleans())
def test_an_epoch_sees_every_row_once_in_steps_of_the_right_size(lengths: list[int], batch_size: int, accumulation: int, bucketing: bool) -> None:
    features = [Features(str(n), [1] * length, 0) for n, length in enumerate(lengths)]
    task = TextClassification(labels=["a", "b"])

    def loader(seed: int) -> Loader:
        return Loader(features, task, layout=Layout(0), batch_size=batch_size, gradient_accumulation=accumulation, seed=seed, bucketing=bucketing)

    made = loader(1)
    seen = [[row for batch in made.step(step) for row in batch.rows] for step in range(2 * made.steps_per_epoch)]
    for epoch in (seen[: made.steps_per_epoch], seen[made.steps_per_epoch :]):
        assert sorted(row for step in epoch for row in step) == sorted(f.row for f in features)
        assert sum(len(step) != batch_size * accumulation for step in epoch) <= 1
    again = loader(1)
    assert [[row for batch in again.step(step) for row in batch.rows] for step in reversed(range(len(seen)))] == seen[::-1], "a step needs no step before it"


def test_bucketing_leaves_the_rows_of_every_step_as_they_are() -> None:
    random = np.random.default_rng(0)
    features = [Features(str(n), [1] * int(length), 0) for n, length in enumerate(random.lognormal(3, 0.8, 200) + 2)]
    task = TextClassification(labels=["a", "b"])
    sides = [Loader(features, task, layout=Layout(0), batch_size=16, gradient_accumulation=1, seed=1, bucketing=bucketing) for bucketing in (True, False)]
    for step in range(2 * sides[0].steps_per_epoch):
        divided, whole = ([batch.rows for batch in side.step(step)] for side in sides)
        assert len(whole) == 1 < len(divided) and sorted(row for rows in divided for row in rows) == sorted(whole[0])


def test_bucketing_pads_little_and_epochs_differ() -> None:
    random = np.random.default_rng(0)
    features = [Features(str(n), [1] * int(length), 0) for n, length in enumerate(random.lognormal(3, 0.8, 2000) + 2)]
    task = TextClassification(labels=["a", "b"])

    def waste(bucketing: bool) -> float:
        made = Loader(features, task, layout=Layout(0), batch_size=16, gradient_accumulation=2, seed=1, bucketing=bucketing)
        batches = [batch for step in range(made.steps_per_epoch) for batch in made.step(step)]
        return sum(b.inputs["input_ids"].numel() for b in batches) / sum(b.tokens for b in batches)

    assert waste(True) < 1.2 < 1.8 < waste(False)
    made = Loader(features, task, layout=Layout(0), batch_size=16, gradient_accumulation=1, seed=1, bucketing=True)
    assert made.step(0)[0].rows != made.step(made.steps_per_epoch)[0].rows


@pytest.mark.parametrize("bucketing", [False, True])
def test_forwards_without_padding_hold_so_many_tokens_and_the_same_rows_a_step(bucketing: bool) -> None:
    random = np.random.default_rng(0)
    features = [Features(str(n), [1] * int(length), 0) for n, length in enumerate(random.lognormal(3, 0.8, 200) + 2)]
    task = TextClassification(labels=["a", "b"])
    sides = [
        Loader(features, task, layout=Layout(0), batch_size=8, gradient_accumulation=4, seed=1, bucketing=bucketing, unpadded_tokens=most)
        for most in (120, None)
    ]
    for step in range(sides[0].steps_per_epoch):
        divided, padded = (sorted(row for batch in side.step(step) for row in batch.rows) for side in sides)
        assert divided == padded
        for batch in sides[0].step(step):
            assert len(batch.rows) <= 8 and (batch.tokens <= 120 or len(batch.rows) == 1)
            lengths = batch.inputs["attention_mask"].sum(1).tolist()
            assert not bucketing or lengths == sorted(lengths, reverse=True)


@pytest.fixture
def begun(recipe_dict: dict[str, Any]) -> Callable[..., Any]:
    """Return a function that prepares a recipe and returns (Prepared, model, loader, optimizer)."""

    def begin(**sections: Any) -> Any:
        made = prepare(Recipe.load({**recipe_dict, **sections}))
        model = made.recipe.method.apply(load.weights(made.located, made.config, made.recipe.task.head, seed=1).model)
        features = made.recipe.task.encode(made.data.splits.train, made.tokenizer)
        loader = Loader(features, made.recipe.task, layout=Layout(0), batch_size=8, gradient_accumulation=1, seed=1, bucketing=True)
        return made, model, loader, optim.optimizer(made.recipe.method.groups(model), made.recipe.train)

    return begin


def go(made: Any, model: Any, loader: Any, optimizer: Any, *, steps: int, objective: Any = None, **others: Any) -> list[loop.Done]:
    return list(
        loop.steps(
            model,
            objective or made.recipe.task.objective(),
            loader,
            optimizer,
            loop.Schedule(1e-3, 0, steps, "constant"),
            method=made.recipe.method,
            strategy=Single(torch.device("cpu")),
            start=0,
            seed=1,
            dtype="fp32",
            **{"max_grad_norm": 1.0, **others},
        )
    )


def test_a_loss_that_is_not_finite_names_its_row_and_leaves_the_weights_alone(begun: Callable[..., Any]) -> None:
    made, model, loader, optimizer = begun()
    guilty = loader.step(2)[0].rows[5]
    inner = made.recipe.task.objective()

    class Poisoned:
        coupled = False

        def counts(self, batch: Any) -> dict[str, float]:
            return inner.counts(batch)

        def __call__(self, model: Any, batch: Any) -> Loss:
            [(name, term)] = inner(model, batch).terms.items()
            return Loss({name: Term(term.sum * (float("nan") if guilty in batch.rows else 1.0), term.count)})

    with pytest.raises(Diverged) as caught:
        go(made, model, loader, optimizer, steps=5, objective=Poisoned())
    assert caught.value.step == 3 and caught.value.rows == (guilty,)
    assert f"step 3: the loss of row {guilty} is not finite" in caught.value.message
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_run_that_diverges_says_so_and_keeps_its_last_checkpoint(recipe_dict: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe_dict["train"] |= {"learning_rate": 1e30, "optimizer": "sgd", "max_grad_norm": None, "save_every": 1, "warmup_ratio": 0.0}
    with pytest.raises(Diverged):
        weitiao.train(recipe_dict, out="run")
    from weitiao.core import files

    failure = files.read_json(tmp_path / "run" / "failure.json")
    assert failure["error"] == "Diverged" and failure["rows"] and failure["step"] >= 2
    assert not (tmp_path / "run" / "artifact").exists()


def test_penalties_are_what_their_formulas_say(begun: Callable[..., Any]) -> None:
    _, model, _, _ = begun()
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    flat = torch.cat([p.detach().flatten() for p in named.values() if p.ndim > 1])
    assert float(L2(weight=0.1).penalty(named).value().detach()) == pytest.approx(0.1 * float(flat.square().sum()) / 2, rel=1e-5)
    assert float(L1(weight=0.1).penalty(named).value().detach()) == pytest.approx(0.1 * float(flat.abs().sum()), rel=1e-5)


def test_penalties_shrink_weights_and_are_added_to_the_loss(begun: Callable[..., Any]) -> None:
    def norm(regularizers: list[Any]) -> tuple[float, float]:
        made, model, loader, optimizer = begun(train={"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "dropout": 0.0})
        done = go(made, model, loader, optimizer, steps=10, regularizers=regularizers, max_grad_norm=None)
        return float(sum(p.detach().abs().sum() for p in model.parameters() if p.ndim > 1)), float(done[0].loss)

    plain, loss = norm([])
    for regularizer in (L1(weight=0.1), L2(weight=1.0)):
        smaller, larger_loss = norm([regularizer])
        assert smaller < plain and larger_loss > loss


def test_biases_and_norms_do_not_decay(begun: Callable[..., Any]) -> None:
    _, model, _, optimizer = begun(train={"weight_decay": 0.3})
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert decay[id(parameter)] == (0.3 if parameter.ndim > 1 else 0.0), name


def test_the_gradient_of_a_class_weighted_step_is_that_of_torchs_weighted_mean(begun: Callable[..., Any]) -> None:
    made, model, loader, _ = begun(task={"name": "text_classification", "max_length": 32, "class_weights": {"pos": 3.0}}, train={"dropout": 0.0})
    [batch] = loader.step(0)
    weights = torch.tensor([made.recipe.task.class_weights[label] for label in made.recipe.task.labels])
    expected = torch.nn.functional.cross_entropy(model(**batch.inputs).logits, batch.targets, weight=weights)
    assert float(made.recipe.task.objective()(model, batch).value()) == pytest.approx(float(expected), rel=1e-5)


def test_the_loop_follows_a_plain_reference_loop_of_torch(begun: Callable[..., Any]) -> None:
    made, model, loader, optimizer = begun(train={"dropout": 0.0, "weight_decay": 0.0})
    done = go(made, model, loader, optimizer, steps=6)
    _, reference, loader, _ = begun(train={"dropout": 0.0, "weight_decay": 0.0})
    plain = torch.optim.AdamW(reference.parameters(), lr=1e-3, weight_decay=0.0, foreach=False)
    for step in range(6):
        [batch] = loader.step(step)
        loss = torch.nn.functional.cross_entropy(reference(**batch.inputs).logits, batch.targets)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        plain.step()
        plain.zero_grad()
        assert float(done[step].loss) == pytest.approx(float(loss.detach()), rel=1e-5)
        assert float(done[step].gradient_norm) == pytest.approx(float(norm), rel=1e-4)


def test_the_loop_takes_the_same_steps_however_a_step_is_cut(begun: Callable[..., Any]) -> None:
    def trained(batch_size: int, accumulation: int) -> dict[str, torch.Tensor]:
        weighted = {"name": "text_classification", "max_length": 32, "class_weights": {"pos": 3.0}}
        made, model, loader, optimizer = begun(task=weighted, train={"dropout": 0.0, "optimizer": "sgd", "momentum": 0.0})
        cut = Loader(loader.features, made.recipe.task, layout=Layout(0), batch_size=batch_size, gradient_accumulation=accumulation, seed=1, bucketing=True)
        go(made, model, cut, optimizer, steps=4, regularizers=[L2(weight=0.01)])
        return {name: p.detach() for name, p in model.named_parameters()}

    whole = trained(12, 1)
    for batch_size, accumulation in ((6, 2), (4, 3)):
        for name, parameter in trained(batch_size, accumulation).items():
            torch.testing.assert_close(parameter, whole[name], rtol=1e-5, atol=1e-6)


FACTS = Facts(
    data="d",
    rows={"train": 1000, "dev": 100, "test": 100},
    windows=1000,
    split="test",
    split_said="",
    selected_on_same_rows=False,
    metric="accuracy",
    tokens={"mean": 30, "p95": 60, "longest": 60, "share_past_limit": 0.25},
    lengths=Rows(np.array([10, 20, 30, 60] * 250), np.full(100, 20), np.full(100, 20), head_is_new=True),
    body=Body(
        parameters=20_000_000,
        trainable=20_000_000,
        counted=sizes.guessed(in_layers=10_000_000, learnt_share=1.0, width=384, layers=6, heads=12),
    ),
    device="cpu",
    dtype="fp32",
    precision={"fp32_tflops": 0.3, "bf16_tflops": 0.1, "gigabytes_per_second": 10.0},
    threads=2,
)


def plan(**sections: Any) -> Any:
    return make_plan(Recipe.load({"model": "m", "data": {"name": "csv", "train": "a.csv"}, "task": "text_classification", **sections}), FACTS)


def test_a_plan_is_arithmetic() -> None:
    made = plan(train={"batch_size": 16, "gradient_accumulation": 2, "epochs": 2.5, "warmup_ratio": 0.1})
    assert (made.rows_per_step, made.steps_per_epoch, made.steps, made.warmup_steps) == (32, 32, 80, 8)
    assert (made.evaluate_every, made.save_every, made.learning_rate, made.best) == (32, 32, 5e-5, "accuracy")
    assert plan(train={"steps": 7}).steps == 7 and plan(train={"steps": 7}).evaluate_every == 7
    assert plan(evaluate={"best": False}).best is None
    assert any("25.0% of the training rows are longer" in note for note in made.notes)


def test_a_forecast_grows_with_the_work() -> None:
    base = plan().forecast
    assert plan(train={"epochs": 6}).forecast["minutes"] == pytest.approx(2 * base["minutes"], rel=0.1)
    assert plan(train={"batch_size": 128}).forecast["memory_gb"] > base["memory_gb"]
