"""What a data file was recognised as: how it is read, what a task makes of it, and why. Recognisers return it, and `guess` makes a recipe of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from weitiao.core import registry
from weitiao.core.contracts import Source, Task
from weitiao.core.rows import Record, Row
from weitiao.errors import DataError, EmptySplit
from weitiao.inspect import language
from weitiao.inspect.reading import Reason, Sample

LENGTHS = (64, 128, 256, 512)
"""What max_length is rounded up to."""
USUAL_EPOCHS = ((500, 10), (2_000, 5), (50_000, 3))
"""Up to so many records -> epochs."""


@dataclass(frozen=True, slots=True)
class Understood:
    """How a file is read, what the task makes of it, and why."""

    source: Source
    sample: Sample
    task: Task
    rows: Sequence[Row]
    reasons: list[Reason]
    about: dict[str, Any]
    """The task section of the recipe."""
    train: dict[str, Any]
    texts: Sequence[str]
    """What is read of the rows, from which the script is seen."""
    method: str = "full"
    unit: str = "records"
    beside: tuple[Reason, ...] | None = None
    """Where dev and test are, if the recogniser knows; None: they may lie beside the file."""


def as_task(
    name: str,
    source: Source,
    sample: Sample,
    texts: Sequence[str],
    reasons: Sequence[Reason],
    why: str,
    *,
    length: tuple[int, str] | None = None,
    epochs: Sequence[tuple[int, int]] = USUAL_EPOCHS,
    batch_size: int = 32,
    unit: str = "records",
    beside: tuple[Reason, ...] | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Understood:
    """Return a file as a task reads it with its own defaults. Raises UnknownComponent where there is no such task, DataError where it can use no row.

    length: max_length, and why. Default: by the letters of the texts. settings: those of the task that are not its defaults.
    """
    found = registry.find("task", name).model_validate(dict(settings))
    assert isinstance(found, Task)
    rows, refused = rows_of(sample.records, source, found)
    if not rows and not refused:
        why_none = sample.bad[0] if sample.bad else "holds no records"
        raise EmptySplit(f"{source.train}: {why_none}.", hint="Name a file with rows in it.")
    if not rows:
        raise refused[0]
    found.fitted(rows)  # raises EmptySplit where all say the same
    max_length, why_length = length or max_length_of(texts)
    number, why_epochs = epochs_for(sample.count, epochs)
    told = [
        *reasons,
        Reason("task.name", name, why),
        *trouble(sample, refused),
        Reason("task.max_length", max_length, why_length),
        Reason("train.epochs", number, why_epochs),
    ]
    train = {"epochs": number, "batch_size": batch_size if max_length <= 256 else min(batch_size, 16), "seed": 1}
    return Understood(source, sample, found, rows, told, {"name": name, **settings, "max_length": max_length}, train, texts, unit=unit, beside=beside)


def rows_of(records: Sequence[Record], source: Source, task: Task) -> tuple[list[Row], list[DataError]]:
    """Return the rows that the task makes of the records, and why it refused others."""
    rows, refused = [], []
    for record in records:
        try:
            rows.append(task.read(record, source, labelled=True))
        except DataError as error:
            refused.append(error)
    return rows, refused


def trouble(sample: Sample, refused: Sequence[DataError]) -> Iterator[Reason]:
    """Yield what training would stop at, if there is something."""
    said = [*sample.bad, *(error.message.rstrip(".") for error in refused)]
    if said:
        rows = "one record" if len(said) == 1 else f"{len(said):,} records"
        yield Reason("data.bad_rows", "error", f"training stops at {rows} that cannot be used; mend, or set skip to leave out. The first: {said[0]}")


def max_length_of(texts: Sequence[str]) -> tuple[int, str]:
    """Return the smallest usual length that holds about 98 % of the texts, and why. A token is about four letters, or one Chinese character."""
    lengths = sorted(language.tokens(text) + 2 for text in texts)
    most = round(lengths[min(int(0.98 * len(lengths)), len(lengths) - 1)])
    chosen = next((length for length in LENGTHS if length >= most), LENGTHS[-1])
    if most <= chosen:
        return chosen, f"about 98 % of the texts have at most {most} tokens, by their letters"
    cut = sum(length > chosen for length in lengths) / len(lengths)
    return chosen, f"the most that small encoders take; about {100 * cut:.0f} % of the texts are longer, and are cut at the end"


def epochs_for(records: int, usual: Sequence[tuple[int, int]] = USUAL_EPOCHS) -> tuple[float, str]:
    """Return how many epochs are usual for so many records, and why."""
    for most, epochs in usual:
        if records <= most:
            return epochs, f"usual for up to {most:,} records"
    return 1, "usual for so many records"
