"""A model as it is, measured on the rows of a recipe: nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from weitiao.core.events import Event, Phase, Recorder
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Skipped
from weitiao.errors import BadValue
from weitiao.evaluation import limits
from weitiao.evaluation.evaluate import scored
from weitiao.inspect.rows import read_untuned
from weitiao.models import load
from weitiao.parallel.single import Single
from weitiao.training.judge import Judge
from weitiao.training.prepare import encode, prepare


def measure(recipe: Recipe, *, recorders: Sequence[Recorder] = ()) -> dict[str, Any]:
    """Return metrics with intervals of a recipe's model before any training, on the rows that would prove the result; `data.test` is enough.

    Raises BadValue where the model brings no head for the task, and what `train` raises for rows, tokenizer and model.
    """
    tell = _teller(recorders)
    tell(Phase("reading rows"))
    made, encoded = encode(prepare(recipe, read=read_untuned), tell)
    tell(Phase(f"loading {recipe.model_name}"))
    loaded = load.weights(made.located, made.config, made.recipe.task.head, seed=recipe.train.seed)
    if loaded.head_is_new and not recipe.task.reads_out:
        raise BadValue(
            f"evaluate: {recipe.model_name} has no trained head for {recipe.task.name}, so there is nothing to measure.",
            hint="Train the recipe, and evaluate its artifact.",
        )
    strategy = Single(made.device)
    judge = Judge(made, encoded, made.tokenizer.layout(), strategy, tell)
    tell(Phase("measuring the model as it is"))
    _, predictions = judge.proof(strategy.wrap(loaded.model), tuned=False)
    rows, data, task = made.data.proof, made.data, made.recipe.task
    found = scored(task, rows, predictions, said=data.splits.said, skipped=data.splits.skipped.get("test", Skipped()))
    notes = [*made.notes, *([loaded.note] if loaded.note else []), *task.rests_on(rows), *limits.too_long(task, encoded.proof)]
    return {"model": recipe.model_name, "task": task.name, **found, "notes": notes, "hashes": {"recipe": recipe.fingerprint, **found["hashes"]}}


def _teller(recorders: Sequence[Recorder]) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        for recorder in recorders:
            recorder(event)

    return tell
