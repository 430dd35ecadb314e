"""Everything that can be known before a weight is loaded: rows, tokenizer, configuration. Most mistakes end here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from weitiao.core.contracts import Features
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Row
from weitiao.errors import BadValue, EmptySplit
from weitiao.inspect import rows as inspect_rows
from weitiao.models import convert, load, locate, new, tokens
from weitiao.parallel.single import device_of

NAMED = 3
"""Rows left out that are named."""


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
    found = locate.locate(recipe.model) if isinstance(recipe.model, str) else None
    if found is not None:
        locate.check_reachable(found)
    device = device_of(recipe.train.device)
    data = inspect_rows.read(recipe)
    if isinstance(recipe.model, str):
        assert found is not None
        located = convert.ready(found)
    else:
        located = new.make(recipe.model, [row.text for row in data.splits.train], data.task.head, seed=recipe.train.seed)
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
                f"task.max_length: {task.max_length} is more than the {tokenizer.longest} tokens that {recipe.model_name} can take.",
                hint=f"Set task.max_length={tokenizer.longest} or less.",
            )
        notes.append(f"task.max_length lowered from {task.max_length} to the model's {tokenizer.longest}.")
        task = task.revised(max_length=tokenizer.longest)
    task = task.settled(tokenizer)
    return Prepared(recipe.with_task(task), data, located, config, tokenizer, device, tuple(notes))


@dataclass(frozen=True)
class Encoded:
    """The features of every split, and what they cost in rows."""

    train: list[Features]
    dev: list[Features]
    proof: list[Features]
    left_out: dict[str, dict[str, Any]]
    """By split: how many rows are too long or too short to give any feature, and the places of the first few."""
    divided: dict[str, dict[str, int]]
    """By split: rows in several windows, and the windows of all rows."""


def encode(prepared: Prepared) -> tuple[Prepared, Encoded]:
    """Return the features of all rows, and the same preparation without the rows that give none. Raises TooLong, EmptySplit."""
    task, data, tokenizer = prepared.recipe.task, prepared.data, prepared.tokenizer
    kept: dict[str, list[Row]] = {}
    features: dict[str, list[Features]] = {}
    left_out: dict[str, dict[str, Any]] = {}
    divided: dict[str, dict[str, int]] = {}
    for name, rows in (("train", data.splits.train), ("dev", data.splits.dev), ("proof", data.proof)):
        features[name] = task.encode(rows, tokenizer)
        windows = Counter(feature.row for feature in features[name])
        kept[name] = [row for row in rows if row.id in windows]
        if rows and not kept[name]:
            raise EmptySplit(
                f"no {name} row fits: all {len(rows)} are left out at task.max_length={task.max_length}.", hint="Raise task.max_length, or look at the rows."
            )
        if absent := [row for row in rows if row.id not in windows]:
            left_out[name] = {"rows": len(absent), "places": [row.place for row in absent[:NAMED]]}
        if len(features[name]) > len(kept[name]):
            divided[name] = {"rows": sum(n > 1 for n in windows.values()), "windows": len(features[name])}
    test = kept["proof"] if data.split == "test" else data.splits.test
    trimmed = replace(data, splits=replace(data.splits, train=kept["train"], dev=kept["dev"], test=test), proof=kept["proof"])
    return replace(prepared, data=trimmed, notes=(*prepared.notes, *_notes(left_out, divided))), Encoded(**features, left_out=left_out, divided=divided)


def _notes(left_out: dict[str, dict[str, Any]], divided: dict[str, dict[str, int]]) -> list[str]:
    said = [f"{found['rows']} rows of {name} do not fit and are left out, such as {found['places'][0]}." for name, found in left_out.items()]
    return said + [f"{found['rows']} rows of {name} are longer than one window: {found['windows']} windows in all." for name, found in divided.items()]


def token_facts(features: Sequence[Features]) -> dict[str, float]:
    """Return tokens per row or window: mean, 95th percentile, longest; the share past the limit; and how many are asked for, per row."""
    lengths = np.array([len(feature) for feature in features])
    return {
        "mean": round(float(lengths.mean()), 1),
        "p95": round(float(np.percentile(lengths, 95)), 1),
        "longest": float(lengths.max()),
        "share_past_limit": round(float(np.mean([feature.cut > 0 for feature in features])), 4),
    }
