"""What a data file probably is: the data, task, method and train sections of a recipe, with a reason for each guess.

Nothing is trained or written here. Files are read by the sources and rows by the task that training will use, so what
is guessed can be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weitiao.core import textfile
from weitiao.core.contracts import Split
from weitiao.errors import DataError
from weitiao.inspect import formats, language
from weitiao.inspect.beside import beside
from weitiao.inspect.labelled import labelled
from weitiao.inspect.reading import READ, Reason, as_objects
from weitiao.inspect.rows import EVERY
from weitiao.inspect.understood import Understood, epochs_for, rows_of, trouble
from weitiao.tasks.chat import Chat
from weitiao.tasks.language_modeling import LanguageModeling


@dataclass(frozen=True, slots=True)
class Guess:
    """The data, task, method and train sections of a recipe. Paths are absolute, only settings that differ from the defaults are named."""

    data: Mapping[str, Any]
    task: Mapping[str, Any]
    method: Mapping[str, Any]
    train: Mapping[str, Any]
    reasons: tuple[Reason, ...]
    """Why: one entry per key, as `data.label`."""
    records: int
    """Records in the file, or READ where there are more."""
    foreign: bool
    """Whether most of the text is in a script that an English model does not know."""
    unit: str = "records"
    given: frozenset[Split] = frozenset()
    """Splits that need not be split off train."""
    paths: tuple[str, ...] = ()
    """Keys of `data` that are paths."""

    @property
    def size(self) -> str:
        """How many records there are, in words."""
        return f"{self.records:,} {self.unit}" if self.records < READ else f"{self.records:,} {self.unit} or more"


def guess(path: Path) -> Guess:
    """Return what the file or folder probably is. Raises DataError or BadValue, in one sentence, where nothing sensible can be said."""
    if path.is_dir():
        path = path.resolve()
        return _guessed(path, formats.folder(path))
    textfile.check(path)
    path = path.parent.resolve() / path.name
    return _guessed(path, formats.by_format(path) or _objects(path) or _labelled_or_other(path))


def _guessed(path: Path, found: Understood) -> Guess:
    """Return the guess with the files beside it."""
    other = list(beside(path, found) if found.beside is None else found.beside)
    files = {reason.what.removeprefix("data."): reason.value for reason in other if reason.value}
    source = found.source.revised(**files)
    defaults = {name: field.get_default(call_default_factory=True) for name, field in type(source).model_fields.items()}
    data = {key: value for key, value in source.settings().items() if key == "name" or getattr(source, key) != defaults[key]}
    about_data = [reason for reason in found.reasons if reason.what.startswith("data.")]
    others = [reason for reason in found.reasons if not reason.what.startswith("data.")]
    given: frozenset[Split] = frozenset(split for split in EVERY if source.given(split))
    reasons = (*about_data, *other, *others)
    foreign = _is_foreign(found.texts)
    return Guess(data, found.about, {"name": found.method}, found.train, reasons, found.sample.count, foreign, found.unit, given, type(source).paths)


def _objects(path: Path) -> Understood | None:
    """Return objects that are conversations, or whose keys say what they are; None where they are neither."""
    found = as_objects(path)
    if found is None:
        return None
    source, sample, reasons = found
    if not sample.records:
        return None
    if (solved := formats.solutions(source, sample, reasons)) is not None:
        return solved
    if (why := language.conversation(sample.records)) is None:
        return formats.by_keys(source, sample, reasons)
    rows, refused = rows_of(sample.records, source, task := Chat())
    if len(refused) >= 0.5 * len(sample.records):
        return None
    epochs, why_epochs = epochs_for(sample.count, ((5_000, 3), (20_000, 2)))
    max_length, why_length = language.chat_length(rows)
    reasons += [
        Reason("task.name", task.name, why),
        *trouble(sample, refused),
        Reason("task.max_length", max_length, why_length),
        Reason("train.epochs", epochs, why_epochs),
    ]
    about, train = {"name": task.name, "max_length": max_length}, {"epochs": epochs, "batch_size": 16, "seed": 1}
    if (compared := language.answer_to_compare(rows)) is not None:
        reasons.append(compared)
        about["answer"] = compared.value
    texts = [turn.content for row in rows for turn in row.turns]
    return Understood(source, sample, task, rows, reasons, about, train, texts, method="lora")


def _labelled_or_other(path: Path) -> Understood:
    try:
        return labelled(path)
    except DataError:
        if (found := formats.ratings(path) or _prose(path)) is None:
            raise
        return found


def _prose(path: Path) -> Understood | None:
    """Return a file of plain text, None where it is none."""
    found = language.prose(path)
    if found is None:
        return None
    source, sample, reasons = found
    rows, _ = rows_of(sample.records, source, task := LanguageModeling())
    epochs, why_epochs = epochs_for(sample.count, ((2_000, 3),))
    about = {"name": task.name, "max_length": 512, "end_token": False}
    reasons += [
        Reason("task.name", task.name, "there is text and no label: the model learns to continue it"),
        Reason("task.max_length", 512, "tokens that are seen together; longer blocks are read in several windows"),
        Reason("task.end_token", False, "blocks are pieces of one text: no end is to be learnt behind them"),
        Reason("train.epochs", epochs, why_epochs),
    ]
    train = {"epochs": epochs, "batch_size": 16, "seed": 1}
    texts = [row.text for row in rows]
    return Understood(source, sample, task, rows, reasons, about, train, texts, method="lora", unit="blocks of text")


def _is_foreign(texts: Sequence[str]) -> bool:
    letters = [c for text in texts[:500] for c in text if c.isalpha()]
    return sum(ord(c) > 0x24F for c in letters) > 0.3 * len(letters)
