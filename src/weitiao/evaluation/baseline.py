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
    train: tuple[Sequence[Row], Sequence[Features]],
    proof: Sequence[Features],
    *,
    layout: Layout,
    strategy: Strategy,
    batch_size: int,
    seed: int,
    on_batch: Callable[[int, int], None] | None = None,
) -> list[Any]:
    """Return predictions for `proof` of a linear head on the mean of the untouched body's last hidden states.

    The head is fitted on at most MOST_ROWS training rows, drawn by `seed`.
    """
    rows, features = train
    chosen = np.sort(np.random.default_rng(seed).permutation(len(features))[:MOST_ROWS])
    together = [features[n] for n in chosen] + list(proof)
    states = _mean_states(model, task, together, layout=layout, strategy=strategy, batch_size=batch_size, on_batch=on_batch)
    return task.probe(states[: len(chosen)], [rows[n] for n in chosen], states[len(chosen) :], seed=seed)


def _mean_states(
    model: Module, task: Task, features: Sequence[Features], *, layout: Layout, strategy: Strategy, batch_size: int, on_batch: Callable[[int, int], None] | None
) -> np.ndarray:
    body: Any = getattr(model, str(model.base_model_prefix))
    order = sorted(range(len(features)), key=lambda n: -len(features[n]))
    found: np.ndarray | None = None
    model.eval()
    with torch.inference_mode(), precision.autocast("fp32", strategy.device):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = task.collate([features[n] for n in chosen], layout).to(strategy.device)
            states = body(**batch.inputs).last_hidden_state.float()
            mask = batch.inputs["attention_mask"].unsqueeze(-1).float()
            mean = ((states * mask).sum(1) / mask.sum(1)).cpu().numpy()
            if found is None:
                found = np.empty((len(features), mean.shape[1]), dtype=np.float32)
            found[chosen] = mean
            if on_batch is not None:
                on_batch(start + len(chosen), len(features))
    return found if found is not None else np.empty((0, 0), dtype=np.float32)
