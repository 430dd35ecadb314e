"""Which columns are the text and which is the label, seen from what is in them and how they are named."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weitiao.core.rows import Record
from weitiao.core.textfile import shown
from weitiao.errors import EmptySplit, MissingColumn

TEXT_NAMES = {
    *("text", "sentence", "review", "content", "utterance", "comment", "tweet", "message", "query", "question", "headline", "title", "body"),
    *("description", "summary", "subject", "abstract", "document", "passage", "context", "premise", "hypothesis", "post", "instruction", "prompt", "input"),
    *("text_a", "text_b", "sentence1", "sentence2", "question1", "question2", "文本", "内容", "评论", "标题", "句子", "正文"),
}
"""Names of columns that hold what a model is asked about."""
ANSWER_NAMES = {"response", "answer", "output", "explanation", "reason", "completion", "reply", "translation"}
"""Names of long columns that are not known when the model is asked."""
_COMPARED = {
    *(frozenset(("premise", "hypothesis")), frozenset(("question", "sentence")), frozenset(("question", "passage")), frozenset(("query", "passage"))),
    *(frozenset(("text", "hypothesis")), frozenset(("query", "document"))),
}
"""Names of two columns that are compared, where a number does not tell them apart."""
LABEL_NAMES = {
    **dict.fromkeys(("label", "labels", "标签"), 4.0),
    **dict.fromkeys(("target", "class", "classid", "sentiment", "intent", "类别", "分类", "情感", "意图"), 3.5),
    **dict.fromkeys(("category", "categories", "topic", "emotion", "polarity", "stance", "gold", "主题", "情绪"), 3.0),
    **dict.fromkeys(("stars", "star", "rating", "score", "评分", "星级"), 2.5),
    **dict.fromkeys(("cat", "type", "genre", "genres", "tags", "tag", "y", "spam"), 1.5),
}
"""Names of label columns, and how much each says so."""
NOT_LABEL_NAMES = {
    *("id", "idx", "index", "no", "nr", "number", "date", "time", "timestamp", "year", "lang", "language", "source", "split", "fold", "offset", "start"),
    *("end", "user", "userid", "author", "name", "url", "uuid", "length", "len", "count", "confidence", "productid", "price", "version", "编号", "时间"),
}
"""Words in the names of columns that hold few values, or numbers, but are no labels."""

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_TAG = re.compile(r"O|[BIMESLU]-\S+")
WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
"""Thai, Lao, Japanese, Chinese: no spaces between words, and about one token a character."""


@dataclass(frozen=True, slots=True)
class Column:
    """What is in a column, empty cells left out."""

    name: str
    cells: list[Any]
    rows: int
    distinct: int
    characters: float
    """Mean length of a cell."""
    worded: float
    """Share of cells that hold several words, or a script without spaces."""
    numeric: bool
    decimal: bool
    """Whether they are numbers, some of them written with a decimal point."""


@dataclass(frozen=True, slots=True)
class Label:
    """The column (or columns of 0 and 1) that holds the label, and what that makes of the task."""

    column: str | list[str]
    problem_type: str
    why: str
    strength: float
    separator: str | None = None


def is_usual(name: str) -> bool:
    """Tell whether a name is one that text or label columns usually have."""
    return name.strip().lower() in TEXT_NAMES | ANSWER_NAMES | LABEL_NAMES.keys()


def columns_of(records: Sequence[Record]) -> dict[str, Column]:
    """Return what is in each column, by name, in the file's order."""
    names = dict.fromkeys(name for record in records for name in record.values)
    return {name: _column(name, [record.values.get(name) for record in records]) for name in names}


def _column(name: str, values: Sequence[Any]) -> Column:
    cells = [cell for cell in values if cell is not None and cell != [] and (not isinstance(cell, str) or cell.strip())]
    worded = sum(bool(isinstance(c, str) and (len(c.split()) > 1 or WITHOUT_SPACES.search(c))) for c in cells)
    numeric = bool(cells) and all(_is_number(cell) for cell in cells)
    decimal = numeric and any(isinstance(c, float) or (isinstance(c, str) and re.search(r"[.eE]", c)) for c in cells)
    total = max(len(cells), 1)
    return Column(name, cells, len(values), len(set(map(str, cells))), sum(len(str(c)) for c in cells) / total, worded / total, numeric, decimal)


def _is_number(cell: Any) -> bool:
    if isinstance(cell, str):
        return bool(NUMBER.fullmatch(cell.strip()))
    return isinstance(cell, int | float) and not isinstance(cell, bool)


# ---------------------------------------------------------------- text


def texts_of(columns: Mapping[str, Column], path: Path, *, headed: bool) -> tuple[list[str], str]:
    """Return the columns of the text, in the file's order, and why. Raises MissingColumn where there is none."""
    scores = {name: _text_score(column) for name, column in columns.items()}
    best = max(scores, key=lambda name: scores[name], default="")
    if not scores or scores[best] <= 0:
        raise MissingColumn(
            f"{path}: no column looks like text: {_described(columns)}.",
            hint="Expected a column of sentences beside one of labels. If they are there, write the recipe by hand: data.text, data.label.",
        )
    chosen = [best]
    for name, column in columns.items():
        alike = name.strip().lower() in TEXT_NAMES or _unnumbered(name) == _unnumbered(best)
        if not headed:
            alike = column.characters >= 10 and column.distinct >= 0.5 * column.rows
        if name != best and alike and scores[name] > 0 and column.worded >= 0.5 and column.distinct >= 0.3 * column.rows:
            chosen.append(name)
    why = f"long and varied: {columns[best].characters:.0f} characters on average, {columns[best].distinct:,} different"
    if len(chosen) > 1:
        why = "each holds sentences; joined by a space. Leave out what is not known at prediction time"
    return [name for name in columns if name in chosen], why


def _unnumbered(name: str) -> str:
    """Return a name without what tells twins apart: `question1` and `question2`, `text_a` and `text_b`."""
    return re.sub(r"\d+|(?<=[_ ])[ab]$", "#", name.strip().lower())


def are_twins(texts: Sequence[str]) -> bool:
    """Tell whether two columns are two texts that are compared, by their names: sentence1 and sentence2, premise and hypothesis."""
    if len(texts) != 2:
        return False
    return frozenset(name.strip().lower() for name in texts) in _COMPARED or _unnumbered(texts[0]) == _unnumbered(texts[1])


def _text_score(column: Column) -> float:
    strings = [cell for cell in column.cells if isinstance(cell, str)]
    if len(strings) < 0.95 * max(len(column.cells), 1) or column.numeric or column.characters < 2 or column.distinct < 2:
        return 0.0
    joined = "".join(strings[:500])
    letters = sum(c.isalpha() for c in joined) / len(joined)
    links = sum(c.startswith(("http://", "https://", "/")) and " " not in c for c in strings) > 0.5 * len(strings)
    single_words = column.worded < 0.3  # names of people or things can be texts; codes cannot
    if links or letters < 0.2 or (single_words and (letters < 0.95 or column.distinct < 0.5 * column.rows)):
        return 0.0
    name = column.name.strip().lower()
    known = 4.0 if name in TEXT_NAMES else 0.1 if name in ANSWER_NAMES | NOT_LABEL_NAMES | LABEL_NAMES.keys() else 1.0
    return min(column.characters, 1000.0) * (column.distinct / column.rows) * max(column.worded, 0.1) * known


# ---------------------------------------------------------------- label


def label_of(columns: Mapping[str, Column], texts: Sequence[str], path: Path) -> Label:
    """Return the label. Raises MissingColumn where no column can be it, EmptySplit where the one that is holds one class."""
    rest = {name: column for name, column in columns.items() if name not in texts}
    last = len(columns) - 1
    found = [label for place, column in enumerate(columns.values()) if column.name in rest and (label := _candidate(column, at_an_end=place in (0, last)))]
    best = max(found, key=lambda label: label.strength, default=None)
    flags = [
        name for name, column in rest.items() if column.cells and _named(name) >= 0 and {str(c).lower() for c in column.cells} <= {"0", "1", "true", "false"}
    ]
    if len(flags) >= 3 and not (best and _named(str(best.column)) >= 1):
        return Label(flags, "multi_label_classification", f"{len(flags)} columns of 0 and 1", 1.0)
    classes = [label for label in found if label.problem_type == "single_label_classification" and not rest[str(label.column)].numeric]
    if best is not None and (best.strength > 0 or [best] == classes):  # a column named `language` is a label where nothing else can be
        return best
    same = next((c for c in rest.values() if c.distinct == 1 and len(c.cells) > 0.9 * c.rows and _named(c.name) > 0), None)
    if same is not None:
        raise EmptySplit(
            f"{path}: the column {shown(same.name)} holds one class only, {shown(same.cells[0])}.", hint="A classifier needs rows of at least two classes."
        )
    raise MissingColumn(
        f"{path}: no column looks like a label for the text in {shown(texts[0])}: {_described(rest) or 'there is no other column'}.",
        hint="Expected few different values, or numbers. init knows classification and regression of texts, conversations (JSON) and plain text (.txt); "
        "for other tasks write the recipe by hand.",
    )


def _candidate(column: Column, *, at_an_end: bool) -> Label | None:
    """Return the column as a label with the strength of the guess, or None where it cannot be one."""
    filled, named = len(column.cells), _named(column.name)
    lists = bool(column.cells) and all(isinstance(cell, list) for cell in column.cells)
    if column.distinct < 2 or (filled < 0.5 * column.rows and not lists) or (not lists and any(isinstance(cell, dict | list) for cell in column.cells)):
        return None
    strength = 3 * named + (1.0 if at_an_end else 0.5) - (3.0 if filled < 0.95 * column.rows and not lists else 0.0)
    cells = [str(cell).strip() for cell in column.cells]
    if lists:
        parts = [part for cell in column.cells for part in cell]
        kinds = len(set(map(str, parts)))
        if not all(isinstance(part, str | int) for part in parts) or kinds > len(parts) / 2 or max(len(str(part)) for part in parts) > 60:
            return None
        return Label(column.name, "multi_label_classification", f"lists drawn from {kinds} labels", strength + 1)
    if column.numeric and (column.decimal or (column.distinct > 30 and not _are_codes(column))):
        if _counts_up(column) or (named <= 0 and not column.decimal):
            return None
        low, high = min(cells, key=float), max(cells, key=float)
        return Label(column.name, "regression", f"numbers from {low} to {high}, {column.distinct:,} different", strength - 0.5)
    for separator in (",", ";", "|"):
        if kinds := _drawn_from(cells, separator):
            example = shown(next(cell for cell in cells if separator in cell))
            return Label(column.name, "multi_label_classification", f"cells such as {example}, drawn from {kinds} labels", strength + 1, separator)
    most = 0.5 * filled if filled >= 20 else filled - (named <= 0)  # of three rows, two may well be the only one of their class
    if column.distinct > most or column.characters > 60 or _counts_up(column):
        return None
    if all(_TAG.fullmatch(cell) for cell in cells):  # a file of tagged words, one a line
        return None
    fewness = 1 - math.log(column.distinct) / math.log(filled)
    why = f"{column.distinct:,} different values in the {filled:,} records looked at" + (", and named so" if named > 0 else "")
    return Label(column.name, "single_label_classification", why, strength + fewness)


def _named(name: str) -> float:
    """Return how much a name says that this is a label; below zero where it says that it is not."""
    plain = name.strip().lower()
    if plain in LABEL_NAMES:
        return LABEL_NAMES[plain]
    words = {word.lower() for word in re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", name.strip()) if word}
    if words & NOT_LABEL_NAMES and not words & {"label", "class"}:
        return -2.0
    return max((LABEL_NAMES[word] for word in words if word in LABEL_NAMES), default=0.5) - 0.5


def _drawn_from(cells: Sequence[str], separator: str) -> int:
    """Return how many labels the cells are put together from, or 0 where they do not look so: each comes again, in other company."""
    split = [frozenset(part.strip() for part in cell.split(separator)) for cell in cells]
    parts = Counter(part for labels in split for part in labels)
    combinations = Counter(part for labels in set(split) for part in labels)
    joined = sum(len(labels) > 1 for labels in split)
    if "" in parts or joined < max(2, 0.05 * len(cells)) or max(map(len, parts)) > 40 or len(parts) > len(cells) / 2:
        return 0
    return len(parts) if sum(parts.values()) >= 2 * len(parts) and sum(combinations.values()) >= 1.5 * len(parts) else 0


def _are_codes(column: Column) -> bool:
    """Tell whether whole numbers are class numbers: from 0 or 1, hardly a gap, each more than once, and not said to be scores."""
    numbers = {int(cell) for cell in column.cells}
    if re.search(r"score|rating|grade|points|评分", column.name.lower()):
        return False
    return min(numbers) in (0, 1) and len(numbers) >= 0.8 * (max(numbers) - min(numbers) + 1) and len(numbers) <= 0.5 * len(column.cells)


def _counts_up(column: Column) -> bool:
    """Tell whether the cells count up, as an index does."""
    numbers = [float(cell) for cell in column.cells] if column.numeric else []
    return len(numbers) > 2 and all(a < b for a, b in itertools.pairwise(numbers))


def _described(columns: Mapping[str, Column]) -> str:
    listed = [f"{shown(column.name)} ({column.distinct:,} different in {len(column.cells):,})" for column in columns.values()]
    return ", ".join(listed[:8]) + (" ..." if len(listed) > 8 else "")
