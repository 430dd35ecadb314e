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
from weitiao.models.ragged import alike

FORWARD_COST = 48
"""Tokens of padding that one more forward of a step must save on a CPU to be worth starting."""
FORWARD_COST_COUPLED = 10**9
"""The same for rows that see each other: as few forwards as may be, because all are computed twice where there is more than one."""
FORWARD_COST_ELSEWHERE = 4096
"""The same on a GPU, which computes padding faster than it is told to."""


class Order:
    """Which rows stand in which micro-batch of which step, from their lengths alone."""

    def __init__(
        self,
        lengths: np.ndarray,
        *,
        batch_size: int,
        rows_per_step: int,
        seed: int,
        bucketing: bool,
        most_tokens: int | None,
        packed: bool = False,
        forward_cost: int = FORWARD_COST,
    ) -> None:
        """batch_size: rows in a micro-batch, at most. most_tokens: tokens of a micro-batch, at most; None where padding is computed.

        packed: whether batches themselves hold no padding: then only most_tokens divides a step.

        bucketing: divide a step into micro-batches of rows of like length. The rows of a step are drawn at random all the same:
        steps of like lengths learn worse (a token of a short row would weigh more than one of a long row, and the rows of a step
        would be alike), while the gradient of a step does not depend on how it is divided.
        """
        self.lengths, self.seed, self.most_tokens = lengths, seed, most_tokens
        self.rows_per_step, self.bucketing = rows_per_step, bucketing and not packed
        self.most_rows, self.forward_cost = rows_per_step if packed else batch_size, forward_cost
        self.steps_per_epoch = steps_per_epoch(len(lengths), rows_per_step)
        self.epoch = lru_cache(maxsize=2)(self._epoch)

    def step(self, step: int) -> list[np.ndarray]:
        """Return the rows of each micro-batch of an optimizer step, counted from 0 over all epochs."""
        epoch, offset = divmod(step, self.steps_per_epoch)
        rows = self.epoch(epoch)[offset]
        if self.bucketing:
            rows = rows[np.argsort(-self.lengths[rows], kind="stable")]
        if self.bucketing and self.most_tokens is None:
            return [rows[piece] for piece in alike(self.lengths[rows], most_rows=self.most_rows, cost=self.forward_cost)]
        return [rows[piece] for piece in divided(self.lengths[rows].tolist(), most_rows=self.most_rows, most_tokens=self.most_tokens)]

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        """Return the rows of each step of an epoch."""
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(len(self.lengths))
        return [order[start : start + self.rows_per_step] for start in range(0, len(order), self.rows_per_step)]


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
        device: str = "cpu",
        known: FrozenStates | None = None,
        unpadded_tokens: int | None = None,
    ) -> None:
        """features: what to train on. batch_size: rows in a micro-batch, at most; that times gradient_accumulation are the rows of a step.

        known: what frozen layers say about the features, given to every forward. unpadded_tokens: tokens of a forward, at most, where batches are
        padded for the head alone; None where padding is computed.

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
            most_tokens=(layout.most_tokens or sys.maxsize) if layout.packed else unpadded_tokens,
            packed=layout.packed,
            forward_cost=forward_cost(device, coupled=task.objective().coupled),
        )
        self.steps_per_epoch = self.order.steps_per_epoch

    def step(self, step: int) -> list[Batch]:
        """Return the micro-batches of an optimizer step, counted from 0 over all epochs."""
        layout = dataclasses.replace(self.layout, draw=step // self.steps_per_epoch + 1)
        return [self._batch(rows.tolist(), layout) for rows in self.order.step(step)]

    def _batch(self, chosen: Sequence[int], layout: Layout) -> Batch:
        batch = self.task.collate([self.features[n] for n in chosen], layout)
        return batch if self.known is None else self.known.attached(batch, chosen)


def forward_cost(device: str, *, coupled: bool) -> int:
    """Return the padding tokens that one more forward of a step must save. coupled: whether its rows see each other."""
    if coupled:
        return FORWARD_COST_COUPLED
    return FORWARD_COST if device.startswith("cpu") else FORWARD_COST_ELSEWHERE


def steps_per_epoch(rows: int, rows_per_step: int) -> int:
    """Return optimizer steps in one pass; the last one may be smaller."""
    return math.ceil(rows / rows_per_step)
