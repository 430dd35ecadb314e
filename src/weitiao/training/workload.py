"""From the lengths of rows to the forwards of a run: what stands together in a step, as the loader will make it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from weitiao.core.contracts import Features, Task
from weitiao.evaluation.baseline import MOST_ROWS
from weitiao.evaluation.predict import PADDED_TOKENS
from weitiao.inspect.forecast import Forward, Work, kept_square
from weitiao.models.decode import ROWS
from weitiao.models.frozen import TOKENS
from weitiao.models.layout import divided, lengths, shared_prefix
from weitiao.training.loader import FORWARD_COST, Order

TRIED = 200
"""Steps of an epoch that are looked at, at most, and as many forwards of an evaluation: they stand for the others."""
SAMPLED = 500
"""Rows of which the share of asked tokens is taken, at most."""


@dataclass(frozen=True)
class Rows:
    """What of the rows matters for time and memory."""

    train: np.ndarray
    """Tokens of each feature."""
    dev: np.ndarray
    proof: np.ndarray
    asked: float = 0.0
    """Share of the tokens whose likelihood is asked for."""
    head_is_new: bool = False
    """Whether before is a linear head on the untouched model."""
    answers: int = 0
    """Proof rows for which answers are generated, before and after."""
    new_tokens: int = 0
    """Tokens of an answer, at most."""
    shared: int = 0
    """Tokens that rows begin with alike, nothing being asked at them."""


@dataclass(frozen=True)
class Division:
    """How steps and evaluations are divided into forwards."""

    rows_per_step: int
    batch_size: int
    pack_tokens: int | None
    """Tokens of a forward, at most; None where padding is computed."""
    bucketing: bool
    seed: int
    evaluation_rows: int
    shares: bool = False
    """Whether what packed rows begin with alike is computed once."""
    keeps: bool = False
    """Whether what frozen layers say is computed once for all epochs."""
    forward_cost: int = FORWARD_COST
    """Padding tokens that one more forward of a step must save."""
    unpads: bool = False
    """Whether batches are padded for the head alone."""

    @property
    def packed(self) -> bool:
        """Whether batches themselves hold no padding."""
        return self.pack_tokens is not None and not self.unpads


def rows_of(task: Task, train: Sequence[Features], dev: Sequence[Features], proof: Sequence[Features], *, head_is_new: bool) -> Rows:
    """Return what of the rows matters."""
    chosen = np.unique(np.linspace(0, len(train) - 1, SAMPLED).astype(int))
    some = [train[n] for n in chosen.tolist()]
    asked = sum(sum(task.trained_tokens(item)) for item in some) / max(sum(map(len, some)), 1)
    answers = min(task.generated_rows, len(proof)) * task.generation.samples if task.generation else 0
    new_tokens = task.generation.max_new_tokens if task.generation else 0
    shared = shared_prefix(some) if task.packs else 0
    return Rows(lengths(train), lengths(dev), lengths(proof), asked, head_is_new, answers, new_tokens, shared)


def order_of(rows: Rows, how: Division) -> Order:
    """Return the order in which the loader of a run takes the rows."""
    return Order(
        rows.train,
        batch_size=how.batch_size,
        rows_per_step=how.rows_per_step,
        seed=how.seed,
        bucketing=how.bucketing,
        most_tokens=how.pack_tokens,
        packed=how.packed,
        forward_cost=how.forward_cost,
    )


def work_of(rows: Rows, how: Division, *, steps: int, evaluations: int, need: Callable[[Forward], float]) -> Work:
    """Return what a run asks of its model. need: the bytes that a forward keeps, by which the largest is chosen."""
    order = order_of(rows, how)
    tried = forwards_of_steps(rows, how, order, _tried(order, steps))
    together = [forward for step in tried for forward in step]
    limit = how.pack_tokens if how.packed else PADDED_TOKENS
    before = rows.train[np.unique(np.linspace(0, len(rows.train) - 1, MOST_ROWS).astype(int))] if rows.head_is_new else rows.proof[:0]
    probed = evaluation(np.concatenate([before, rows.proof]), rows, how, limit=None) if rows.head_is_new else ()
    proof = evaluation(rows.proof, rows, how, limit=limit)
    return Work(
        steps=steps,
        forwards=tuple(together),
        tried_steps=len(tried),
        largest=max(together, key=need),
        before=probed if rows.head_is_new else proof,
        after=proof,
        dev=evaluation(rows.dev, rows, how, limit=limit),
        evaluations=evaluations,
        generated=-(-rows.answers // ROWS["cpu"]) * rows.new_tokens,
        states=evaluation(np.concatenate([rows.train, rows.dev]), rows, how, limit=TOKENS) if how.keeps else (),
    )


def forwards_of_steps(rows: Rows, how: Division, order: Order, steps: Sequence[int]) -> list[list[Forward]]:
    """Return the forwards of each of these steps."""
    return [[_forward(rows.train[piece], rows, how) for piece in order.step(step)] for step in steps]


def longest_steps(order: Order, count: int, *, within: int) -> list[int]:
    """Return the steps of the first epoch, or of its first `within` steps, that need most memory: those with the largest forward, the largest first."""

    def size(rows: np.ndarray) -> tuple[float, float]:
        lengths = order.lengths[rows].astype(float)
        together = min(lengths.sum(), float(order.most_tokens)) if order.most_tokens else lengths.max() * min(len(rows), order.most_rows)
        return float(together), float((lengths**2).sum())

    sizes = [size(rows) for rows in order.epoch(0)[:within]]
    return sorted(range(len(sizes)), key=lambda step: sizes[step], reverse=True)[:count]


def evaluation(lengths: np.ndarray, rows: Rows, how: Division, *, limit: int | None) -> tuple[Forward, ...]:
    """Return the forwards that measure rows of these lengths, longest first."""
    longest_first = np.sort(lengths)[::-1]
    pieces = divided(longest_first.tolist(), most_rows=how.evaluation_rows, most_tokens=limit)
    return tuple(_forward(longest_first[piece], rows, how) for piece in pieces)


def _tried(order: Order, steps: int) -> list[int]:
    """Return the steps that are looked at: some of the first epoch, evenly, and the one with the longest row."""
    first = min(order.steps_per_epoch, steps)
    chosen = set(np.unique(np.linspace(0, first - 1, TRIED).astype(int)).tolist())
    longest = [float(order.lengths[rows].max()) for rows in order.epoch(0)[:first]]
    return sorted({*chosen, int(np.argmax(longest))})


def _forward(lengths: np.ndarray, rows: Rows, how: Division) -> Forward:
    real = float(lengths.sum())
    asked = rows.asked * real
    if not (how.packed or how.unpads):
        longest = float(lengths.max(initial=0))
        tokens, squares = len(lengths) * longest, len(lengths) * longest**2
        return Forward(tokens, squares, squares, asked)
    again = rows.shared * (len(lengths) - 1) if how.shares else 0  # tokens that stand once instead of in every row
    squares, kept = float((lengths.astype(float) ** 2).sum()), sum(kept_square(length) for length in lengths.tolist())
    return Forward(real - again, squares - rows.shared * again, max(0.0, kept - rows.shared * again), asked)
