"""What a model says about rows, in their order, at the speed of rows sorted by length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from weitiao.core import fingerprint
from weitiao.core.contracts import Features, Layout, Prediction, Strategy, Task, TextReader
from weitiao.core.rows import Row
from weitiao.models import generate, precision
from weitiao.models.frozen import FrozenStates
from weitiao.models.layout import divided, lengths
from weitiao.models.tokens import Tokenizer

PADDED_TOKENS = 4096
"""Tokens of a padded batch, at most, about: long rows go through in smaller batches. More would only need more memory on a CPU."""


@dataclass(frozen=True)
class Said:
    """Outputs for features, in their order, and the mean loss where they have targets."""

    values: Tensor | list[Tensor]
    """(n, k); a list of (m, k) where something is said about every token, or about every line of a row."""
    loss: float | None


def outputs(
    model: Module,
    task: Task,
    features: Sequence[Features],
    *,
    layout: Layout,
    strategy: Strategy,
    batch_size: int,
    dtype: str = "fp32",
    on_batch: Callable[[int], None] | None = None,
    known: FrozenStates | None = None,
) -> Said:
    """Return what the model says about features, in fp32 on the CPU.

    Rows are batched by length, longest first, so that memory is known after the first batch; padding is masked and
    does not change what comes out. known: what frozen layers say about them, if known. on_batch gets the number of rows done after each batch.
    """
    every = lengths(features)
    order = np.argsort(-every, kind="stable").tolist()
    values: Tensor | list[Tensor] | None = None
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    coefficients: dict[str, float] = {}
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), precision.autocast(dtype, strategy.device):
            for piece in divided(every[order].tolist(), most_rows=batch_size, most_tokens=layout.most_tokens if layout.packed else PADDED_TOKENS):
                chosen = order[piece]
                batch = task.collate([features[n] for n in chosen], layout)
                if known is not None:
                    batch = known.attached(batch, chosen)
                said = task.predict(model, batch.to(strategy.device))
                values = _placed(values, said.values, chosen, len(features))
                for name, term in (said.loss.terms if said.loss else {}).items():
                    sums[name] = sums.get(name, 0.0) + float(term.sum)
                    counts[name] = counts.get(name, 0.0) + term.count
                    coefficients[name] = term.coefficient
                if on_batch is not None:
                    on_batch(piece.stop)
    finally:
        model.train(was_training)
    said_of_all = values if values is not None else torch.empty(0)
    loss = sum(coefficients[name] * sums[name] / counts[name] for name in sums) if sums else None
    if (joint := task.joint_loss(said_of_all, features)) is not None:
        loss = float(joint.value())
    return Said(said_of_all, loss)


def _placed(values: Tensor | list[Tensor] | None, said: Tensor | list[Tensor], chosen: Sequence[int], count: int) -> Tensor | list[Tensor]:
    """Put what was said about the chosen features where it belongs among those of all."""
    if isinstance(said, Tensor):
        table = said.new_empty((count, *said.shape[1:])) if values is None else values
        assert isinstance(table, Tensor)
        table[torch.tensor(chosen)] = said
        return table
    each = [torch.empty(0)] * count if values is None else values
    assert isinstance(each, list)
    for n, value in zip(chosen, said, strict=True):
        each[n] = value
    return each


def furthest(said: Tensor | list[Tensor], again: Tensor | list[Tensor]) -> tuple[float, float]:
    """Return the largest difference between what was said and what was said again, and the largest value said."""
    apart = max((float((a - b).abs().max()) for a, b in zip(said, again, strict=True)), default=0.0)
    return apart, max((float(a.abs().max()) for a in said), default=0.0)


def answered(
    model: Module,
    task: Task,
    rows: Sequence[Row],
    predictions: Sequence[Prediction],
    tokenizer: Tokenizer,
    *,
    most: int | None,
    strategy: Strategy,
    seed: int = 0,
    on_batch: Callable[[int, int], None] | None = None,
    reader: TextReader | None = None,
) -> list[Prediction]:
    """Return the predictions with generated answers for `most` rows (None: all), drawn by a hash of their ids; fp32.

    reader: lent to the task where the answers are to be scored. A task that generates nothing gets its predictions back as they are.
    """
    found = list(predictions)
    if task.generation is None or most == 0:
        return found
    chosen = list(range(len(rows)))
    if most is not None and most < len(rows):
        chosen = sorted(sorted(chosen, key=lambda n: fingerprint.of_text(rows[n].id))[:most])
    samples, asked = task.generation.samples, [rows[n] for n in chosen]
    said = generate.answers(
        model,
        [prompt for prompt in task.prompts(asked, tokenizer) for _ in range(samples)],
        tokenizer,
        task.generation,
        device=strategy.device,
        seed=seed,
        on_batch=on_batch,
    )
    answers = [said[start : start + samples] for start in range(0, len(said), samples)]
    made = task.all_answered(asked, [found[n] for n in chosen], answers)
    if reader is not None:
        made = task.weighed(asked, made, reader)
    for n, prediction in zip(chosen, made, strict=True):
        found[n] = prediction
    return found
