"""What can be had without tuning: the honest thing to compare with where the head is new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import Module

from weitiao.core.contracts import Features, Layout, Strategy, Task
from weitiao.core.rows import Row
from weitiao.models import precision

MOST_ROWS = 4000
"""Rows the linear head is fitted on, at most."""


def head_only(
    model: Module,
    task: Task,
    train: Sequence[Features],
    proof: tuple[Sequence[Row], Sequence[Features]],
    *,
    layout: Layout,
    strategy: Strategy,
    batch_size: int,
    seed: int,
    on_batch: Callable[[int, int], None] | None = None,
) -> list[Any]:
    """Return predictions for the proof rows of a linear head on the untouched body's last hidden states.

    The head is fitted on at most MOST_ROWS training rows or windows, drawn by `seed`.
    """
    rows, features = proof
    chosen = [train[n] for n in np.sort(np.random.default_rng(seed).permutation(len(train))[:MOST_ROWS])]
    states = states_of(model, task, [*chosen, *features], layout=layout, strategy=strategy, batch_size=batch_size, on_batch=on_batch)
    values = task.probe(states[: len(chosen)], chosen, states[len(chosen) :], seed=seed)
    return [prediction.value for prediction in task.decode(values, features, rows)]


def states_of(
    model: Module, task: Task, features: Sequence[Features], *, layout: Layout, strategy: Strategy, batch_size: int, on_batch: Callable[[int, int], None] | None
) -> list[np.ndarray]:
    """Return for each feature what of the body's last hidden states a linear head looks at, (m, width)."""
    body: Any = getattr(model, str(model.base_model_prefix))
    order = sorted(range(len(features)), key=lambda n: -len(features[n]))
    found = [np.empty((0, 0), dtype=np.float32)] * len(features)
    model.eval()
    with torch.inference_mode(), precision.autocast("fp32", strategy.device):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = task.collate([features[n] for n in chosen], layout).to(strategy.device)
            states = body(**batch.inputs).last_hidden_state.float()
            for n, state in zip(chosen, task.probed(states, batch), strict=True):
                found[n] = state.cpu().numpy()
            if on_batch is not None:
                on_batch(start + len(chosen), len(features))
    return found
