"""A few steps on the longest batches: what they take takes the place of what sizes promise."""

from __future__ import annotations

from statistics import median

import torch
from torch.nn import Module

from weitiao.core.contracts import Batch, Method, Objective, Strategy
from weitiao.core.plan import Plan
from weitiao.core.recipe import Recipe
from weitiao.inspect.forecast import seconds_of
from weitiao.models import load, precision, unpadding
from weitiao.parallel.single import Single
from weitiao.training import loop, memory, optim
from weitiao.training.build import trainable
from weitiao.training.loader import Loader
from weitiao.training.plan import facts, make_plan, promised, revised_by_probe, shown
from weitiao.training.prepare import Prepared, encode, prepare
from weitiao.training.workload import longest_steps

STEPS = 3
"""Steps of a probe. The first one warms up and does not count for time."""


def plan(recipe: Recipe) -> Plan:
    """Return the plan of a recipe, its forecast measured: the model is loaded and takes a few steps; no folder is made.

    With `batch_size: auto` micro-batches are halved until the longest fits. Raises WeitiaoError, OutOfMemory where nothing fits.
    """
    prepared, encoded = encode(prepare(recipe))
    known = facts(recipe, prepared, encoded)
    memory.forget_peak()
    model = Single(prepared.device).wrap(load.weights(prepared.located, prepared.config, prepared.recipe.task.head, seed=recipe.train.seed).model)
    known = shown(known, prepared.recipe, model)
    made = make_plan(recipe, known)
    torch.set_num_threads(made.threads)
    if made.packing:
        from weitiao.models import attention

        attention.install(model)
    objective = prepared.recipe.task.objective()
    for regularizer in recipe.regularize:
        objective = regularizer.wrap(objective)
    loader = _loader(prepared, encoded.train, made)
    recipe.method.calibrate(model, objective, loader.step(0))
    model, _ = trainable(model, recipe.method, made)
    if made.unpadding:
        unpadding.Unpadding(model)
    while True:
        loader = _loader(prepared, encoded.train, made)
        steps = longest_steps(loader.order, STEPS, within=made.steps)
        try:
            seconds = _seconds(model, objective, _Chosen(loader, steps), recipe, made, Single(prepared.device))
            break
        except (MemoryError, RuntimeError) as error:
            if not memory.is_out_of_memory(error):
                raise
        smaller = memory.smaller(made) if recipe.train.batch_size == "auto" else None
        if smaller is None:
            raise memory.out_of_memory(0, memory.next_setting(recipe, made), None)
        model.zero_grad(set_to_none=True)
        made = smaller
    paces = [took / seconds_of(work) for took, work in zip(seconds, promised(recipe, known, made, steps), strict=True)]
    return revised_by_probe(recipe, known, made, pace=median(paces[1:] or paces), memory_gb=memory.peak_gb(prepared.device))


def longest_first(model: Module, objective: Objective, loader: Loader, *, method: Method, strategy: Strategy, dtype: str) -> None:
    """Take a forward and a backward of the largest micro-batch, and leave the model as it was: memory that runs out does so now, not in an hour."""
    [step] = longest_steps(loader.order, 1, within=loader.steps_per_epoch)
    batch: Batch = max(loader.step(step), key=lambda batch: batch.inputs["input_ids"].numel())
    method.training_mode(model)
    with precision.autocast(dtype, strategy.device):
        value = objective(model, batch.to(strategy.device)).value(objective.counts(batch))
    torch.autograd.backward(value)
    model.zero_grad(set_to_none=True)


def _seconds(model: Module, objective: Objective, loader: Loader, recipe: Recipe, made: Plan, strategy: Strategy) -> list[float]:
    """Return the seconds of each step: forward, backward, optimizer. The weights are not to be used afterwards."""
    groups = optim.by_layer(recipe.method.groups(model), model, recipe.train.layer_decay)
    taken = loop.steps(
        model,
        objective,
        loader,
        optim.optimizer(groups, recipe.train),
        loop.Schedule(made.learning_rate, made.warmup_steps, len(loader.order.epoch(0)), recipe.train.schedule),
        method=recipe.method,
        strategy=strategy,
        start=0,
        seed=recipe.train.seed,
        dtype=made.dtype,
        max_grad_norm=recipe.train.max_grad_norm,
        regularizers=recipe.regularize,
    )
    assert isinstance(loader, _Chosen)
    return [next(taken).seconds for _ in loader.chosen]


def _loader(prepared: Prepared, features: object, made: Plan) -> Loader:
    return Loader(
        features,  # type: ignore[arg-type]
        prepared.recipe.task,
        layout=prepared.tokenizer.layout(packed=made.packing, most_tokens=made.pack_tokens, shares=made.share_prefix),
        batch_size=made.batch_size,
        gradient_accumulation=made.rows_per_step // made.batch_size,
        seed=prepared.recipe.train.seed,
        bucketing=made.bucketing,
        device=made.device,
        unpadded_tokens=made.pack_tokens if made.unpadding else None,
    )


class _Chosen(Loader):
    """A loader of chosen steps of another."""

    def __init__(self, loader: Loader, chosen: list[int]) -> None:
        self.__dict__.update(loader.__dict__)
        self.chosen = chosen

    def step(self, step: int) -> list[Batch]:
        """Return the micro-batches of a chosen step, counted from 0."""
        return super().step(self.chosen[step])
