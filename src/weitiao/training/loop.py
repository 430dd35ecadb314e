"""The steps: forward, backward, optimizer. A generator; whoever consumes it logs, evaluates and saves."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from weitiao.core.contracts import Batch, Features, Method, Objective, Regularizer, Strategy, is_coupled
from weitiao.errors import Diverged
from weitiao.models import precision
from weitiao.training import coupled, optim
from weitiao.training.loader import Loader


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the learning rate runs."""

    peak: float
    warmup: int
    total: int
    kind: str

    def at(self, step: int) -> float:
        """Return the learning rate of a step counted from 0."""
        return optim.learning_rate(step, peak=self.peak, warmup=self.warmup, total=self.total, schedule=self.kind)


@dataclass(frozen=True, slots=True)
class Done:
    """One optimizer step that was taken. Tensors are not read here: reading waits for the device."""

    step: int
    """Steps taken so far, this one included."""
    loss: Tensor
    gradient_norm: Tensor
    learning_rate: float
    tokens: int
    examples: int
    seconds: float


def steps(
    model: Module,
    objective: Objective,
    loader: Loader,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    *,
    method: Method,
    strategy: Strategy,
    start: int,
    seed: int,
    dtype: str,
    max_grad_norm: float | None,
    regularizers: Sequence[Regularizer] = (),
) -> Iterator[Done]:
    """Yield after every optimizer step from `start` to the schedule's end.

    The gradient of a step is that of sum over rows / count over rows, whatever the micro-batches: counts are summed
    before the first backward, and rows that see each other have one loss for the whole step (`coupled.py`). Everything
    random in a step follows from (seed, step), so a resumed run needs no generator states. Raises Diverged, naming rows,
    before a gradient that is not finite reaches the weights.
    """
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    parameters = list(named.values())
    for step in range(start, schedule.total):
        began = time.perf_counter()
        torch.manual_seed(seed * 1_000_003 + step)
        method.training_mode(model)
        batches = loader.step(step)
        rate = schedule.at(step)
        optim.set_learning_rate(optimizer, rate)
        if is_coupled(objective):
            loss = coupled.backward(model, objective, batches, strategy=strategy, dtype=dtype)
        else:
            loss = backward(model, objective, batches, strategy=strategy, dtype=dtype)
        for penalty in penalties(method, regularizers, model, named):
            torch.autograd.backward(penalty)
            loss += penalty.detach()
        for regularizer in regularizers:
            regularizer.edit_gradients(named)
        norm = strategy.clip(parameters, max_grad_norm)
        if not torch.isfinite(norm):
            optimizer.zero_grad(set_to_none=True)
            raise diverged(model, objective, batches, loader, step=step, strategy=strategy, dtype=dtype)
        optimizer.step()
        method.after_step(model, step + 1, schedule.total)
        optimizer.zero_grad(set_to_none=True)
        tokens, examples = sum(batch.tokens for batch in batches), sum(len(batch.rows) for batch in batches)
        yield Done(step + 1, loss, norm, rate, tokens, examples, time.perf_counter() - began)


def backward(model: Module, objective: Objective, batches: Sequence[Batch], *, strategy: Strategy, dtype: str) -> Tensor:
    """Add the gradient of an optimizer step to that of the weights, one micro-batch after the other, and return the loss."""
    counts = strategy.sum(total_counts(objective, batches))
    loss = torch.zeros((), device=strategy.device)
    for number, batch in enumerate(batches):
        with strategy.no_sync(model, last=number == len(batches) - 1):
            with precision.autocast(dtype, strategy.device):
                value = objective(model, batch.to(strategy.device)).value(counts)
            torch.autograd.backward(value)
        loss += value.detach()
    return loss


def total_counts(objective: Objective, batches: Sequence[Batch]) -> dict[str, float]:
    """Return the counts of an optimizer step, summed over its micro-batches."""
    totals: dict[str, float] = {}
    for batch in batches:
        for name, count in objective.counts(batch).items():
            totals[name] = totals.get(name, 0.0) + count
    return totals


def penalties(method: Method, regularizers: Sequence[Regularizer], model: Module, named: Mapping[str, Parameter]) -> Iterator[Tensor]:
    """Yield the terms on the weights, once per optimizer step."""
    own = method.penalty(model)
    for loss in (own, *(regularizer.penalty(named) for regularizer in regularizers)):
        if loss is not None:
            yield loss.value()


def diverged(model: Module, objective: Objective, batches: Sequence[Batch], loader: Loader, *, step: int, strategy: Strategy, dtype: str) -> Diverged:
    """Return the error for a step whose gradient is not finite, naming the rows whose own loss is not finite."""
    rows = list(dict.fromkeys(row for batch in batches for row in batch.rows))
    windows: dict[str, list[Features]] = {row: [] for row in rows}
    for feature in loader.features:
        if feature.row in windows:
            windows[feature.row].append(feature)
    model.eval()
    guilty = []
    with torch.inference_mode(), precision.autocast(dtype, strategy.device):
        for row in rows:
            alone = loader.task.collate(windows[row], loader.layout).to(strategy.device)
            if not torch.isfinite(objective(model, alone).value()):
                guilty.append(row)
    if guilty and len(guilty) < len(rows):
        where = f"the loss of row {', '.join(guilty[:5])} is not finite"
    else:
        where = f"the gradient over rows {', '.join(rows[:5])}{' ...' if len(rows) > 5 else ''} is not finite"
    error = Diverged(
        f"step {step + 1}: {where}. The weights were not touched.",
        hint="Look at those rows; lower train.learning_rate, raise train.warmup_ratio, or set train.dtype=fp32.",
    )
    error.step, error.rows = step + 1, tuple(guilty or rows)
    return error
