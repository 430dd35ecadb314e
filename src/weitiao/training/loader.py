"""Which rows make which optimizer step: a function of the seed and the step, of nothing else."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from weitiao.core.contracts import Batch, Features, Layout, Task
from weitiao.models.frozen import FrozenStates
from weitiao.models.layout import divided, lengths

BUCKET_STEPS = 50
"""Rows are sorted by length within this many steps' worth of shuffled rows: padding stays near 10 %, order stays random."""


class Order:
    """Which rows stand in which micro-batch of which step, from their lengths alone."""

    def __init__(self, lengths: np.ndarray, *, batch_size: int, rows_per_step: int, seed: int, bucketing: bool, most_tokens: int | None) -> None:
        """batch_size: rows in a micro-batch. most_tokens: tokens of a micro-batch where packed, which alone divides a step then; None where padded."""
        self.lengths, self.seed, self.most_tokens = lengths, seed, most_tokens
        self.rows_per_step, self.bucketing = rows_per_step, bucketing and most_tokens is None
        self.most_rows = batch_size if most_tokens is None else rows_per_step
        self.steps_per_epoch = steps_per_epoch(len(lengths), rows_per_step)
        self.epoch = lru_cache(maxsize=2)(self._epoch)

    def step(self, step: int) -> list[np.ndarray]:
        """Return the rows of each micro-batch of an optimizer step, counted from 0 over all epochs."""
        epoch, offset = divmod(step, self.steps_per_epoch)
        rows = self.epoch(epoch)[offset]
        rows = rows[np.argsort(-self.lengths[rows], kind="stable")] if self.bucketing else rows
        return [rows[piece] for piece in divided(self.lengths[rows].tolist(), most_rows=self.most_rows, most_tokens=self.most_tokens)]

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        """Return the rows of each step of an epoch."""
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(len(self.lengths))
        size = self.rows_per_step
        if not self.bucketing:
            return [order[start : start + size] for start in range(0, len(order), size)]
        steps = []
        for start in range(0, len(order), size * BUCKET_STEPS):
            bucket = order[start : start + size * BUCKET_STEPS]
            bucket = bucket[np.argsort(self.lengths[bucket], kind="stable")]
            steps += [bucket[at : at + size] for at in range(0, len(bucket), size)]
        return [steps[n] for n in random.permutation(len(steps))]


class Loader:
    """Batches of any step, on demand. The rows of a step do not depend on how it is cut into micro-batches."""

    def __init__(
        self,
        features: Sequence[Features],
        task: Task,
        *,
        layout: Layout,
        batch_size: int,
        gradient_accumulation: int,
        seed: int,
        bucketing: bool,
        known: FrozenStates | None = None,
    ) -> None:
        """features: what to train on. batch_size: rows in a micro-batch; gradient_accumulation: micro-batches in a step.

        known: what frozen layers say about the features, given to every forward.

        Packed batches hold no padding, so rows of any length go together and only layout.most_tokens divides a step.
        """
        self.features, self.task, self.layout = features, task, layout
        self.known = known
        self.order = Order(
            lengths(features),
            batch_size=batch_size,
            rows_per_step=batch_size * gradient_accumulation,
            seed=seed,
            bucketing=bucketing,
            most_tokens=(layout.most_tokens or sys.maxsize) if layout.packed else None,
        )
        self.steps_per_epoch = self.order.steps_per_epoch

    def step(self, step: int) -> list[Batch]:
        """Return the micro-batches of an optimizer step, counted from 0 over all epochs."""
        layout = dataclasses.replace(self.layout, draw=step // self.steps_per_epoch + 1)
        return [self._batch(rows.tolist(), layout) for rows in self.order.step(step)]

    def _batch(self, chosen: Sequence[int], layout: Layout) -> Batch:
        batch = self.task.collate([self.features[n] for n in chosen], layout)
        return batch if self.known is None else self.known.attached(batch, chosen)


def steps_per_epoch(rows: int, rows_per_step: int) -> int:
    """Return optimizer steps in one pass; the last one may be smaller."""
    return math.ceil(rows / rows_per_step)
