"""Tables and objects with a text, or two, or options, and a label: which columns they are, and what the label makes of the task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from weitiao.core import registry, textfile
from weitiao.core.contracts import Source, Task
from weitiao.core.rows import Record, Row
from weitiao.errors import DataError, EmptySplit
from weitiao.inspect.columns import Column, Label, are_twins, columns_of, label_of, texts_of
from weitiao.inspect.formats import multiple_choice
from weitiao.inspect.reading import Reason, Sample, readings
from weitiao.inspect.understood import Understood, epochs_for, max_length_of, rows_of, trouble
from weitiao.sources.csv import Csv


def labelled(path: Path) -> Understood:
    """Return a file of labelled texts, pairs of texts, or questions with options. Raises DataError where there is no text or no label."""
    source, sample, reasons, texts, why_text, label = _read(path)
    if (choice := multiple_choice(source, sample, reasons)) is not None:
        return choice
    if isinstance(source, Csv) and not source.header:
        new = _new_names(columns_of(sample.records), texts, label)
        source = source.revised(columns=list(new.values()))
        sample.records = [Record({new[old]: value for old, value in r.values.items()}, r.file, r.line) for r in sample.records]
        texts, column = [new[old] for old in texts], label.column
        label = Label(new[column] if isinstance(column, str) else [new[old] for old in column], label.problem_type, label.why, label.strength, label.separator)
        reasons.append(Reason("data.columns", source.columns, "the file has no names, so these were made up"))
    source = source.revised(text=texts[0] if len(texts) == 1 else texts, label=label.column)
    separator = {"label_separator": label.separator} if label.separator not in (None, ",") else {}
    pair = are_twins(texts) and "text_pair" in registry.names("task")
    task = registry.find("task", "text_pair" if pair else "text_classification").model_validate({"problem_type": label.problem_type, **separator})
    assert isinstance(task, Task)
    rows, refused = rows_of(sample.records, source, task)
    if not rows:
        raise refused[0]
    task.fitted(rows)  # raises EmptySplit where all say the same
    read = [row.text for row in rows]
    max_length, why_length = max_length_of(read)
    epochs, why_epochs = epochs_for(sample.count)
    reasons += [
        Reason("data.text", source.text, "two texts of one kind, read as a pair" if pair else why_text),
        Reason("data.label", source.label, label.why),
        *trouble(sample, refused),
        Reason("task.problem_type", label.problem_type, _kinds(rows, label)),
        *(Reason("task.label_separator", value, "stands between the labels of a cell") for value in separator.values()),
        Reason("task.max_length", max_length, why_length),
        Reason("train.epochs", epochs, why_epochs),
    ]
    about = {"name": task.name, "problem_type": label.problem_type, "max_length": max_length, **separator}
    train = {"epochs": epochs, "batch_size": 32 if max_length <= 256 else 16, "seed": 1}
    return Understood(source, sample, task, rows, reasons, about, train, read)


def _read(path: Path) -> tuple[Source, Sample, list[Reason], list[str], str, Label]:
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
