"""Everything that can be known before a weight is loaded: rows, tokenizer, configuration. Most mistakes end here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from weitiao.core.recipe import Recipe
from weitiao.core.rows import Row
from weitiao.errors import BadValue
from weitiao.inspect import rows as inspect_rows
from weitiao.models import load, locate, tokens
from weitiao.parallel.single import device_of

SAMPLE = 2000
"""Rows whose tokens are counted for the plan."""


@dataclass(frozen=True)
class Prepared:
    """A recipe whose task has seen the training rows, and what it takes to begin."""

    recipe: Recipe
    data: inspect_rows.Data
    located: locate.Located
    config: Any
    tokenizer: tokens.Tokenizer
    device: torch.device
    notes: tuple[str, ...]


def prepare(recipe: Recipe) -> Prepared:
    """Return what a run needs before weights. Raises every WeitiaoError that rows, tokenizer or configuration can cause."""
    located = locate.locate(recipe.model)
    locate.check_reachable(located)
    device = device_of(recipe.train.device)
    data = inspect_rows.read(recipe)
    task, notes = data.task, list(data.notes)
    own = load.labels_in_checkpoint(located)
    labels = getattr(task, "labels", None)
    if own and labels and set(own) == set(labels) and own != labels:
        task = task.revised(labels=own)  # the checkpoint's head stays usable in its own order
    config = load.configuration(located, task.head, dropout=recipe.train.dropout)
    tokenizer = tokens.Tokenizer(located, tokens.positions(config))
    config.pad_token_id = tokenizer.pad_id
    if tokenizer.longest is not None and task.max_length > tokenizer.longest:
        if "max_length" in recipe.task.model_fields_set:
            raise BadValue(
                f"task.max_length: {task.max_length} is more than the {tokenizer.longest} tokens that {recipe.model} can take.",
                hint=f"Set task.max_length={tokenizer.longest} or less.",
            )
        notes.append(f"task.max_length lowered from {task.max_length} to the model's {tokenizer.longest}.")
        task = task.revised(max_length=tokenizer.longest)
    return Prepared(recipe.with_task(task), data, located, config, tokenizer, device, tuple(notes))


def token_facts(prepared: Prepared, rows: Sequence[Row]) -> dict[str, float]:
    """Return tokens per row: mean, 95th percentile, longest, and the share of rows past the limit; from at most SAMPLE rows."""
    task = prepared.recipe.task
    chosen = np.random.default_rng(0).permutation(len(rows))[:SAMPLE]
    features = task.encode([rows[n] for n in sorted(chosen)], prepared.tokenizer)
    lengths = np.array([len(feature) for feature in features])
    return {
        "mean": round(float(lengths.mean()), 1),
        "p95": round(float(np.percentile(lengths, 95)), 1),
        "longest": float(lengths.max()),
        "share_past_limit": round(float(np.mean([feature.cut > 0 for feature in features])), 4),
        "sampled_rows": float(len(features)),
    }
