"""What only token ids tell: lengths, what would be cut, and whether the model is asked for what it should learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from weitiao.core.rows import Row
from weitiao.inspect.health.finding import Finding, Level, Place, first, rows_that
from weitiao.training.features import FeatureTable
from weitiao.training.prepare import Prepared, token_facts

LOOKED_AT = 500
"""Features of a split in which templates are looked at, evenly spread."""
MUCH = 0.1
"""Share of rows over the limit from which a longer limit is worth thinking about."""


def lengths(split: str, features: FeatureTable, left_out: Mapping[str, Any] | None, limit: int) -> tuple[dict[str, Any], list[Finding]]:
    """Return tokens per row, and what to say of rows that are too long. left_out: how many give no feature, and places of the first, if any."""
    facts: dict[str, Any] = token_facts(features)
    cut = int((features.cuts > 0).sum())
    facts["limit"], facts["cut_tokens"] = limit, int(features.cuts.sum())
    findings = []
    if cut:
        share = facts["cut_tokens"] / max(int(features.lengths.sum()) + facts["cut_tokens"], 1)
        message = f"{rows_that(cut, split, 'is', 'are')} longer than task.max_length={limit}: {facts['cut_tokens']:,} tokens are cut off, {share:.1%} of all."
        level: Level = "warning" if cut > MUCH * len(features) else "note"
        findings.append(Finding("lengths", level, split, cut, len(features), message, f"Raise task.max_length; the longest has {_longest(features):,} tokens."))
    if left_out:
        message = f"{rows_that(left_out['rows'], split, 'does', 'do')} not fit and will be left out, the first at {left_out['places'][0]}."
        findings.append(
            Finding("left_out", "warning", split, left_out["rows"], left_out["rows"] + len(features), message, "Raise task.max_length, or shorten them.")
        )
    return facts, findings


def _longest(features: FeatureTable) -> int:
    return int((features.lengths + features.cuts).max())


def templates(split: str, features: FeatureTable, rows: Sequence[Row], prepared: Prepared) -> Iterator[Finding]:
    """Yield what is wrong with the frame around texts and with what is learnt."""
    task, tokenizer = prepared.recipe.task, prepared.tokenizer
    chosen = np.unique(np.linspace(0, len(features) - 1, min(LOOKED_AT, len(features))).astype(int)).tolist() if len(features) else []
    numbers = features.numbers
    twice, nothing, endless = [], [], []
    for n in chosen:
        item, row = features[n], rows[int(numbers[n])] if 0 <= numbers[n] < len(rows) else None
        if row is None:
            continue
        if tokenizer.begin_id is not None and list(item.input_ids[:2]) == [tokenizer.begin_id] * 2:
            twice.append(Place(row, "two begin tokens", "one", "take it out of the chat template or the text"))
        if task.packs:
            learnt = task.trained_tokens(item)
            if not any(learnt):
                nothing.append(Place(row, "no token to learn", "an answer", "look at it with `weitiao show rows`"))
            elif task.generation is not None and not item.cut and _last(item.target) not in tokenizer.ends:
                endless.append(Place(row, "an answer whose end is not learnt", "an end token behind it", "give the chat template an end token"))
    of = len(chosen)
    for check, places, what, do in (
        ("template_begin", twice, "begin with two begin tokens", "A model has never seen that: leave one to the tokenizer."),
        ("template_nothing", nothing, "ask the model for nothing", "They teach nothing and cost time."),
        ("template_end", endless, "do not teach where an answer ends", "The model will not stop: the end token must be learnt."),
    ):
        if places:
            message = f"{len(places)} of {of} rows of {split} that were looked at {what}."
            level: Level = "problem" if len(places) > 0.5 * of else "warning"
            yield Finding(check, level, split, len(places), of, message, do, first(places))


def _last(targets: Sequence[int]) -> int:
    """Return the last token that is learnt."""
    return next((target for target in reversed(targets) if target >= 0), -1)
