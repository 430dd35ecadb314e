"""What a model says about rows, in their order, at the speed of rows sorted by length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module

from weitiao.core.contracts import Features, Strategy, Task
from weitiao.models import precision


@dataclass(frozen=True)
class Said:
    """Outputs for features, in their order, and the mean loss where they have targets."""

    values: Tensor
    loss: float | None


def outputs(
    model: Module,
    task: Task,
    features: Sequence[Features],
    *,
    pad_id: int,
    strategy: Strategy,
    batch_size: int,
    dtype: str = "fp32",
    on_batch: Callable[[int], None] | None = None,
) -> Said:
    """Return what the model says about features, (n, k) in fp32 on the CPU.

    Rows are batched by length, longest first, so that memory is known after the first batch; padding is masked and
    does not change what comes out. on_batch gets the number of rows done after each batch.
    """
    order = sorted(range(len(features)), key=lambda n: -len(features[n]))
    values: Tensor | None = None
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    coefficients: dict[str, float] = {}
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), precision.autocast(dtype, strategy.device):
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                batch = task.collate([features[n] for n in chosen], pad_id).to(strategy.device)
                said = task.predict(model, batch)
                if values is None:
                    values = said.values.new_empty((len(features), *said.values.shape[1:]))
                values[torch.tensor(chosen)] = said.values
                for name, term in (said.loss.terms if said.loss else {}).items():
                    sums[name] = sums.get(name, 0.0) + float(term.sum)
                    counts[name] = counts.get(name, 0.0) + term.count
                    coefficients[name] = term.coefficient
                if on_batch is not None:
                    on_batch(start + len(chosen))
    finally:
        model.train(was_training)
    loss = sum(coefficients[name] * sums[name] / counts[name] for name in sums) if sums else None
    return Said(values if values is not None else torch.empty(0), loss)
