"""Which rows make which optimizer step: a function of the seed and the step, of nothing else."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from weitiao.core.contracts import Batch, Features, Layout, Task
from weitiao.models.frozen import Known
from weitiao.models.layout import divided, lengths

BUCKET_STEPS = 50
"""Rows are sorted by length within this many steps' worth of shuffled rows: padding stays near 10 %, order stays random."""


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
        known: Known | None = None,
    ) -> None:
        """features: what to train on. batch_size: rows in a micro-batch; gradient_accumulation: micro-batches in a step.

        known: what frozen layers say about the features, given to every forward.

        Packed batches hold no padding, so rows of any length go together and only layout.most_tokens divides a step.
        """
        self.features, self.task, self.layout = features, task, layout
        self.batch_size, self.rows_per_step = batch_size, batch_size * gradient_accumulation
        self.known = known
        self.seed, self.bucketing = seed, bucketing and not layout.packed
        self.lengths = lengths(features)
        self.steps_per_epoch = steps_per_epoch(len(features), self.rows_per_step)
        self._order = lru_cache(maxsize=2)(self._epoch)

    def step(self, step: int) -> list[Batch]:
        """Return the micro-batches of an optimizer step, counted from 0 over all epochs."""
        epoch, offset = divmod(step, self.steps_per_epoch)
        rows = self._order(epoch)[offset]
        rows = rows[np.argsort(-self.lengths[rows], kind="stable")] if self.bucketing else rows
        layout = dataclasses.replace(self.layout, draw=epoch + 1)
        most_rows = self.rows_per_step if layout.packed else self.batch_size
        pieces = divided(self.lengths[rows].tolist(), most_rows=most_rows, most_tokens=layout.most_tokens if layout.packed else None)
        return [self._batch(rows[piece].tolist(), layout) for piece in pieces]

    def _batch(self, chosen: Sequence[int], layout: Layout) -> Batch:
        batch = self.task.collate([self.features[n] for n in chosen], layout)
        return batch if self.known is None else self.known.attached(batch, chosen)

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(len(self.features))
        size = self.rows_per_step
        if not self.bucketing:
            return [order[start : start + size] for start in range(0, len(order), size)]
        steps = []
        for start in range(0, len(order), size * BUCKET_STEPS):
            bucket = order[start : start + size * BUCKET_STEPS]
            bucket = bucket[np.argsort(self.lengths[bucket], kind="stable")]
            steps += [bucket[at : at + size] for at in range(0, len(bucket), size)]
        return [steps[n] for n in random.permutation(len(steps))]


def steps_per_epoch(rows: int, rows_per_step: int) -> int:
    """Return optimizer steps in one pass; the last one may be smaller."""
    return math.ceil(rows / rows_per_step)
