"""Everything that can be known before a weight is loaded: rows, tokenizer, configuration. Most mistakes end here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from weitiao.core import spool
from weitiao.core.contracts import Task
from weitiao.core.events import Counted, Event
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Row
from weitiao.errors import BadValue, EmptySplit
from weitiao.inspect import rows as inspect_rows
from weitiao.models import convert, load, locate, new, sentence, tokens
from weitiao.parallel.single import device_of
from weitiao.training import feature_cache
from weitiao.training.features import Builder, FeatureTable

NAMED = 3
"""Rows left out that are named."""
PART_ROWS = 8192
"""Rows that are encoded together, at most: progress is told and Ctrl-C is heard between parts."""
PART_CHARACTERS = 2_000_000
"""Characters of the rows that are encoded together, about, at most: while they are, each takes about 40 bytes."""


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


def prepare(recipe: Recipe, *, read: Callable[[Recipe], inspect_rows.Data] = inspect_rows.read) -> Prepared:
    """Return what a run needs before weights. Raises every WeitiaoError that rows, tokenizer or configuration can cause.

    read: how the rows of the recipe are read.
    """
    found = locate.locate(recipe.model) if isinstance(recipe.model, str) else None
    if found is not None:
        locate.check_reachable(found)
    device = device_of(recipe.train.device)
    data = read(recipe)
    if isinstance(recipe.model, str):
        assert found is not None
        located = convert.ready(found)
    else:
        located = new.make(recipe.model, spool.Texts(data.splits.train), data.task.head, seed=recipe.train.seed)
    task, notes = data.task, list(data.notes)
    own = load.labels_in_checkpoint(located)
    labels = getattr(task, "labels", None)
    if own and labels and set(own) == set(labels) and own != labels:
        task = task.revised(labels=own)  # the checkpoint's head stays usable in its own order
    config = load.configuration(located, task.head, dropout=recipe.train.dropout)
    room = tokens.positions(config, taken=recipe.method.positions_taken)
    if room is not None and room <= 0:
        raise BadValue(
            f"method: {recipe.method.name} takes {recipe.method.positions_taken} positions, and the model has {tokens.positions(config)}: no text fits.",
            hint="Set method.num_virtual_tokens lower: 10 to 100 are usual.",
        )
    tokenizer = tokens.Tokenizer(located, room, token_types=tokens.token_types(config), decoder_start=tokens.decoder_start(config, task.head))
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
    if task.head.is_body:
        traits = sentence.traits(located, config)
        task, notes = task.suited(traits), [*notes, *traits.notes]
    return Prepared(recipe.with_task(task), data, located, config, tokenizer, device, tuple(notes))


@dataclass(frozen=True)
class Encoded:
    """The features of every split, and what they cost in rows."""

    train: FeatureTable
    dev: FeatureTable
    proof: FeatureTable
    left_out: dict[str, dict[str, Any]]
    """By split: how many rows are too long or too short to give any feature, and the places of the first few."""
    divided: dict[str, dict[str, int]]
    """By split: rows in several windows, and the windows of all rows."""


def encode(prepared: Prepared, tell: Callable[[Event], None] = lambda event: None) -> tuple[Prepared, Encoded]:
    """Return the features of all rows, and the same preparation without the rows that give none. Raises TooLong, EmptySplit.

    Features come from the cache where it holds them. tell hears how many rows are done.
    """
    task, data, tokenizer = prepared.recipe.task, prepared.data, prepared.tokenizer
    splits = {"train": data.splits.train, "dev": data.splits.dev, "proof": data.proof}
    kept: dict[str, Sequence[Row]] = {}
    features: dict[str, FeatureTable] = {}
    left_out: dict[str, dict[str, Any]] = {}
    divided: dict[str, dict[str, int]] = {}
    basis = feature_cache.basis(task, tokenizer) if prepared.recipe.data.cache else None
    progress = _Progress(tell, sum(map(len, splits.values())))
    for name, rows in splits.items():
        make = partial(_encoded, rows, task, tokenizer, progress)
        features[name] = table = feature_cache.features_of(basis, data.fingerprints[name], make)
        progress.reach(len(rows))
        windows = np.bincount(table.numbers[table.numbers >= 0], minlength=len(rows))
        kept[name] = rows if windows.all() else spool.chosen(rows, np.flatnonzero(windows))
        if rows and not kept[name]:
            raise EmptySplit(
                f"no {name} row fits: all {len(rows)} are left out at task.max_length={task.max_length}.", hint="Raise task.max_length, or look at the rows."
            )
        if len(absent := np.flatnonzero(windows == 0)):
            left_out[name] = {"rows": len(absent), "places": [rows[n].place for n in absent[:NAMED].tolist()]}
        if len(table) > len(kept[name]):
            divided[name] = {"rows": int((windows > 1).sum()), "windows": len(table)}
    test = kept["proof"] if data.split == "test" else data.splits.test
    trimmed = replace(data, splits=replace(data.splits, train=kept["train"], dev=kept["dev"], test=test), proof=kept["proof"])
    return replace(prepared, data=trimmed, notes=(*prepared.notes, *_notes(left_out, divided))), Encoded(**features, left_out=left_out, divided=divided)


class _Progress:
    """Counts rows over all splits, whether they are encoded or found."""

    def __init__(self, tell: Callable[[Event], None], rows: int) -> None:
        self._tell, self._rows = tell, rows
        self._before = self._now = 0

    def __call__(self, done: int) -> None:
        """Say that so many rows of the present split are done."""
        if self._before + done > self._now:
            self._now = self._before + done
            self._tell(Counted(self._now, self._rows))

    def reach(self, rows: int) -> None:
        """Say that a split of so many rows is done."""
        self(rows)
        self._before += rows


def _encoded(rows: Sequence[Row], task: Task, tokenizer: tokens.Tokenizer, progress: Callable[[int], None]) -> Builder:
    builder, done = Builder(), 0
    for part in _parts(rows):
        builder.add(task.encode(part, tokenizer), {row.id: done + n for n, row in enumerate(part)})
        done += len(part)
        progress(done)
    return builder


def _parts(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Yield rows in parts that keep every core of a tokenizer busy and take little memory."""
    part: list[Row] = []
    characters = 0
    for row in rows:
        part.append(row)
        characters += len(row.text)
        if len(part) == PART_ROWS or characters >= PART_CHARACTERS:
            yield part
            part, characters = [], 0
    if part:
        yield part


def _notes(left_out: dict[str, dict[str, Any]], divided: dict[str, dict[str, int]]) -> list[str]:
    said = [f"{found['rows']} rows of {name} do not fit and are left out, such as {found['places'][0]}." for name, found in left_out.items()]
    return said + [f"{found['rows']} rows of {name} are longer than one window: {found['windows']} windows in all." for name, found in divided.items()]


def token_facts(features: FeatureTable) -> dict[str, float]:
    """Return tokens per row or window: mean, 95th percentile, longest; the share past the limit; and how many are asked for, per row."""
    lengths = features.lengths
    return {
        "mean": round(float(lengths.mean()), 1),
        "p95": round(float(np.percentile(lengths, 95)), 1),
        "longest": float(lengths.max()),
        "share_past_limit": round(float(np.mean(features.cuts > 0)), 4),
    }
