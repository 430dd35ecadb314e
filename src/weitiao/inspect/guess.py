"""What a data file probably is: the data, task, method and train sections of a recipe, with a reason for each guess.

Nothing is trained or written here. Files are read by the sources and rows by the task that training will use, so what
is guessed can be read.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weitiao.core import textfile
from weitiao.core.contracts import Source, Task
from weitiao.core.rows import Record, Row
from weitiao.errors import DataError, EmptySplit
from weitiao.inspect import language
from weitiao.inspect.columns import Column, Label, columns_of, label_of, texts_of
from weitiao.inspect.reading import KEEP, READ, Reason, Sample, as_json, readings
from weitiao.sources.csv import Csv
from weitiao.tasks.chat import Chat
from weitiao.tasks.language_modeling import LanguageModeling
from weitiao.tasks.text_classification import TextClassification

LENGTHS = (64, 128, 256, 512)
"""What max_length is rounded up to."""
BESIDE = {"dev": ("dev", "val", "valid", "validation", "eval"), "test": ("test",)}
"""Split -> the words that stand in place of `train` in the names of its files."""
LOOKED_AT = 1_000
"""Records of a file beside the training file that are looked at."""


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

    @property
    def size(self) -> str:
        """How many records there are, in words."""
        return f"{self.records:,} {self.unit}" if self.records < READ else f"{self.records:,} {self.unit} or more"


def guess(path: Path) -> Guess:
    """Return what the file probably is. Raises DataError or BadValue, in one sentence, where nothing sensible can be said."""
    textfile.check(path)
    path = path.parent.resolve() / path.name
    return _conversations(path) or _labelled_or_prose(path)


def _conversations(path: Path) -> Guess | None:
    """Return the guess for a file of conversations, None where it is none."""
    found = as_json(path)
    if found is None or (why := language.conversation(found[1].records)) is None:
        return None
    source, sample, reasons = found
    rows, refused = _rows(sample.records, source, task := Chat())
    if len(refused) >= 0.5 * len(sample.records):
        return None
    epochs, why_epochs = _epochs(sample.count, ((5_000, 3), (20_000, 2)))
    max_length, why_length = language.chat_length(rows)
    reasons += [
        Reason("task.name", task.name, why),
        *_trouble(sample, refused),
        Reason("task.max_length", max_length, why_length),
        Reason("train.epochs", epochs, why_epochs),
    ]
    about, train = {"name": task.name, "max_length": max_length}, {"epochs": epochs, "batch_size": 16, "seed": 1}
    texts = [turn.content for row in rows for turn in row.turns]
    return _guessed(path, source, sample, task, rows, reasons, about=about, method="lora", train=train, texts=texts)


def _prose(path: Path) -> Guess | None:
    """Return the guess for a file of plain text, None where it is none."""
    found = language.prose(path)
    if found is None:
        return None
    source, sample, reasons = found
    rows, _ = _rows(sample.records, source, task := LanguageModeling())
    epochs, why_epochs = _epochs(sample.count, ((2_000, 3),))
    about = {"name": task.name, "max_length": 512, "end_token": False}
    reasons += [
        Reason("task.name", task.name, "there is text and no label: the model learns to continue it"),
        Reason("task.max_length", 512, "tokens that are seen together; longer blocks are read in several windows"),
        Reason("task.end_token", False, "blocks are pieces of one text: no end is to be learnt behind them"),
        Reason("train.epochs", epochs, why_epochs),
    ]
    train = {"epochs": epochs, "batch_size": 16, "seed": 1}
    texts = [row.text for row in rows]
    return _guessed(path, source, sample, task, rows, reasons, about=about, method="lora", train=train, texts=texts, unit="blocks of text")


def _labelled_or_prose(path: Path) -> Guess:
    try:
        return _labelled(path)
    except DataError:
        if (found := _prose(path)) is None:
            raise
        return found


def _guessed(
    path: Path,
    source: Source,
    sample: Sample,
    task: Task,
    rows: Sequence[Row],
    reasons: list[Reason],
    *,
    about: dict[str, Any],
    method: str,
    train: dict[str, Any],
    texts: Sequence[str],
    unit: str = "records",
) -> Guess:
    """Return the guess with the files beside it."""
    beside = list(_beside(path, source, task, rows, complete=sample.count <= KEEP))
    files = {reason.what.removeprefix("data."): reason.value for reason in beside if reason.value}
    defaults = type(source)().settings()
    data = {key: value for key, value in {**source.settings(), **files}.items() if key == "name" or value != defaults[key]}
    about_data = [reason for reason in reasons if reason.what.startswith("data.")]
    others = [reason for reason in reasons if not reason.what.startswith("data.")]
    return Guess(data, about, {"name": method}, train, (*about_data, *beside, *others), sample.count, _is_foreign(texts), unit)


def _labelled(path: Path) -> Guess:
    source, sample, reasons, texts, why_text, label = _understood(path)
    if isinstance(source, Csv) and not source.header:
        new = _new_names(columns_of(sample.records), texts, label)
        source = source.revised(columns=list(new.values()))
        sample.records = [Record({new[old]: value for old, value in r.values.items()}, r.file, r.line) for r in sample.records]
        texts, column = [new[old] for old in texts], label.column
        label = Label(new[column] if isinstance(column, str) else [new[old] for old in column], label.problem_type, label.why, label.strength, label.separator)
        reasons.append(Reason("data.columns", source.columns, "the file has no names, so these were made up"))
    source = source.revised(text=texts[0] if len(texts) == 1 else texts, label=label.column)
    separator = {"label_separator": label.separator} if label.separator not in (None, ",") else {}
    task = TextClassification.model_validate({"problem_type": label.problem_type, **separator})
    rows, refused = _rows(sample.records, source, task)
    if not rows:
        raise refused[0]
    task.fitted(rows)  # raises EmptySplit where all say the same
    max_length, why_length = _max_length([row.text for row in rows])
    epochs, why_epochs = _epochs(sample.count)
    reasons += [
        Reason("data.text", source.text, why_text),
        Reason("data.label", source.label, label.why),
        *_trouble(sample, refused),
        Reason("task.problem_type", label.problem_type, _kinds(rows, label)),
        *(Reason("task.label_separator", value, "stands between the labels of a cell") for value in separator.values()),
        Reason("task.max_length", max_length, why_length),
        Reason("train.epochs", epochs, why_epochs),
    ]
    about = {"name": task.name, "problem_type": task.problem_type, "max_length": max_length, **separator}
    train = {"epochs": epochs, "batch_size": 32 if max_length <= 256 else 16, "seed": 1}
    texts = [row.text for row in rows]
    return _guessed(path, source, sample, task, rows, reasons, about=about, method="full", train=train, texts=texts)


def _understood(path: Path) -> tuple[Source, Sample, list[Reason], list[str], str, Label]:
    """Return the first way of reading in which there is a text and a label: a comma may part the lines as evenly as a semicolon."""
    first: DataError | None = None
    for source, sample, reasons in readings(path):
        try:
            if len(sample.records) < 2:
                why = f" ({sample.bad[0]})" if sample.bad else ""
                raise EmptySplit(f"{path}: too few records to guess from, {len(sample.records)}{why}.", hint="Name a file with labelled rows in it.")
            columns = columns_of(sample.records)
            texts, why_text = texts_of(columns, path, headed=getattr(source, "header", True))
            return source, sample, reasons, texts, why_text, label_of(columns, texts, path)
        except DataError as error:
            first = first or error
    assert first is not None  # readings() yields, or raises
    raise first


def _rows(records: Sequence[Record], source: Source, task: Task) -> tuple[list[Row], list[DataError]]:
    """Return the rows that the task makes of the records, and why it refused others."""
    rows, refused = [], []
    for record in records:
        try:
            rows.append(task.read(record, source, labelled=True))
        except DataError as error:
            refused.append(error)
    return rows, refused


def _new_names(columns: Mapping[str, Column], texts: Sequence[str], label: Label) -> dict[str, str]:
    """Return old name -> new name for the columns of a file without a header."""
    names = {name: f"column_{name}" for name in columns}
    if len(texts) == 2:
        titled = 2 * columns[texts[0]].characters < columns[texts[1]].characters
        names |= dict(zip(texts, ("title", "description") if titled else ("text_a", "text_b"), strict=True))
    else:
        names |= {name: "text" if len(texts) == 1 else f"text_{n}" for n, name in enumerate(texts, 1)}
    if isinstance(label.column, str):
        return names | {label.column: "label"}
    return names | {name: f"label_{n}" for n, name in enumerate(label.column, 1)}


# ---------------------------------------------------------------- reasons


def _kinds(rows: Sequence[Row], label: Label) -> str:
    if label.problem_type == "regression":
        return "numbers, some with decimals or too many to be classes; if they are classes, write them as words"
    if label.problem_type == "multi_label_classification":
        kinds = {kind for row in rows for kind in row.target}
        return f"{sum(len(row.target) for row in rows) / len(rows):.1f} labels a row on average, of {len(kinds)}"
    counts = Counter(row.target for row in rows)
    kind, most = counts.most_common(1)[0]
    listed = f": {', '.join(textfile.shown(kind) for kind in sorted(counts))}" if len(counts) <= 6 else ""
    return f"one of {len(counts)} classes a row{listed}; the most frequent, {textfile.shown(kind)}, has {100 * most / len(rows):.0f} %"


def _trouble(sample: Sample, refused: Sequence[DataError]) -> Iterator[Reason]:
    said = [*sample.bad, *(error.message.rstrip(".") for error in refused)]
    if said:
        rows = "one record" if len(said) == 1 else f"{len(said):,} records"
        yield Reason("data.bad_rows", "error", f"training stops at {rows} that cannot be used; mend, or set skip to leave out. The first: {said[0]}")


def _max_length(texts: Sequence[str]) -> tuple[int, str]:
    """Return the smallest usual length that holds about 98 % of the texts, and why. A token is about four letters, or one Chinese character."""
    lengths = sorted(language.tokens(text) + 2 for text in texts)
    most = round(lengths[min(int(0.98 * len(lengths)), len(lengths) - 1)])
    chosen = next((length for length in LENGTHS if length >= most), LENGTHS[-1])
    if most <= chosen:
        return chosen, f"about 98 % of the texts have at most {most} tokens, by their letters"
    cut = sum(length > chosen for length in lengths) / len(lengths)
    return chosen, f"the most that small encoders take; about {100 * cut:.0f} % of the texts are longer, and are cut at the end"


def _epochs(records: int, usual: Sequence[tuple[int, int]] = ((500, 10), (2_000, 5), (50_000, 3))) -> tuple[float, str]:
    for most, epochs in usual:
        if records <= most:
            return epochs, f"usual for up to {most:,} records"
    return 1, "usual for so many records"


def _is_foreign(texts: Sequence[str]) -> bool:
    letters = [c for text in texts[:500] for c in text if c.isalpha()]
    return sum(ord(c) > 0x24F for c in letters) > 0.3 * len(letters)


# ---------------------------------------------------------------- dev and test beside it


def _beside(path: Path, source: Source, task: Task, rows: Sequence[Row], *, complete: bool) -> Iterator[Reason]:
    """Yield one reason for each split that lies beside the training file, or why what lies there cannot be it."""
    parts = re.fullmatch(r"(|.*[-_. ])train(?:ing)?(|[-_. ].*)", path.stem, re.IGNORECASE)
    if not parts:
        return
    before, after = (part.lower() for part in parts.groups())
    for split, words in BESIDE.items():
        why_not = None
        for other in _candidates(path, [before + word + after for word in words], [before + word for word in words]):
            fault = _fault(other, source, task, rows, complete=complete)
            if fault is None:
                yield Reason(f"data.{split}", str(other), f"lies beside it, {_like(task)}")
                break
            why_not = why_not or Reason(f"data.{split}", None, f"{other.name} lies beside it, but {fault}")
        else:
            if why_not is not None:
                yield why_not


def _candidates(path: Path, exact: Sequence[str], begins: Sequence[str]) -> list[Path]:
    """Return the files beside `path` with one of these names, the exact ones first, then names that go on (`test-labeled`)."""
    beside = {p.stem.lower(): p for p in sorted(path.parent.iterdir()) if p != path and p.suffix.lower() == path.suffix.lower() and p.is_file()}
    longer = [stem for word in begins for stem in beside if re.fullmatch(re.escape(word) + r"(|[-_. ].*)", stem)]
    return [beside[stem] for stem in dict.fromkeys([*exact, *longer]) if stem in beside]


def _fault(path: Path, source: Source, task: Task, rows: Sequence[Row], *, complete: bool) -> str | None:
    """Return why a file cannot be the dev or test split, None where it can. complete: `rows` are all training rows."""
    bad: list[str] = []
    other = source.for_file(str(path))
    try:
        records = list(itertools.islice(other.records("test", bad.append), LOOKED_AT))
    except DataError as error:
        return error.message
    if not records:
        return f"has no record like those of the training file: {bad[0]}" if bad else "holds no record"
    if isinstance(source, Csv) and not source.header and (said := _extra_header(records, source)):
        return said
    read, refused = _rows(records, other, task)
    if len(refused) > 0.5 * len(records):
        return refused[0].message
    if not isinstance(task, TextClassification):
        return None
    known, found = _labels(rows), _labels(read)
    unknown = sorted(found - known)
    if unknown and (complete or len(unknown) > 0.5 * len(found)):
        return f"it has the label {textfile.shown(unknown[0])}, which no training row has"
    return None


def _like(task: Task) -> str:
    return "with the same columns and known labels" if isinstance(task, TextClassification) else "of the same kind"


def _extra_header(records: Sequence[Record], source: Csv) -> str | None:
    first = set(records[0].values.values())
    return f"its first line names columns: {', '.join(sorted(first))}" if first == set(source.columns or ()) else None


def _labels(rows: Sequence[Row]) -> set[str]:
    targets = [row.target for row in rows if not isinstance(row.target, float)]
    return {label for target in targets for label in (target if isinstance(target, tuple) else (target,))}
