"""Dev and test files beside a training file, known by their names and tried with the same reading and task."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from weitiao.core import textfile
from weitiao.core.contracts import Source, Task
from weitiao.core.rows import Record, Row
from weitiao.errors import DataError
from weitiao.inspect.reading import KEEP, Reason, all_shards
from weitiao.inspect.understood import Understood, rows_of
from weitiao.sources.csv import Csv

WORDS = {"dev": ("dev", "val", "valid", "validation", "eval", "testa"), "test": ("test", "testb")}
"""Split -> the words that stand in place of `train` in the names of its files; testa and testb are those of CoNLL-2003."""
LOOKED_AT = 1_000
"""Records of a file beside the training file that are looked at."""


def beside(path: Path, found: Understood) -> Iterator[Reason]:
    """Yield one reason for each split that lies beside the training file, or why what lies there cannot be it."""
    parts = re.fullmatch(r"(|.*[-_. ])train(?:ing)?(|[-_. ].*)", path.name, re.IGNORECASE)
    if not parts:
        return
    before, after = (part.lower() for part in parts.groups())
    for split, words in WORDS.items():
        why_not = None
        for other in _candidates(path, before, words, after):
            fault = fault_of(all_shards(other), found.source, found.task, found.rows, complete=found.sample.count <= KEEP)
            if fault is None:
                yield Reason(f"data.{split}", all_shards(other), f"lies beside it, {_like(found.task)}")
                break
            why_not = why_not or Reason(f"data.{split}", None, f"{other.name} lies beside it, but {fault}")
        else:
            if why_not is not None:
                yield why_not


def fault_of(path: str, source: Source, task: Task, rows: Sequence[Row], *, complete: bool) -> str | None:
    """Return why a file cannot be the dev or test split, None where it can. complete: `rows` are all training rows."""
    bad: list[str] = []
    other = source.for_file(path)
    try:
        records = list(itertools.islice(other.records("test", bad.append), LOOKED_AT))
    except DataError as error:
        return error.message
    if not records:
        return f"has no record like those of the training file: {bad[0]}" if bad else "holds no record"
    if isinstance(source, Csv) and not source.header and (said := _extra_header(records, source)):
        return said
    read, refused = rows_of(records, other, task)
    if len(refused) > 0.5 * len(records):
        return refused[0].message
    if not _has_labels(task):
        return None
    known, found = _labels(rows), _labels(read)
    unknown = sorted(found - known)
    if unknown and (complete or len(unknown) > 0.5 * len(found)):
        return f"it has the label {textfile.shown(unknown[0])}, which no training row has"
    return None


def _candidates(path: Path, before: str, words: Sequence[str], after: str) -> list[Path]:
    """Return the files beside `path` with one of the words in place of train, then those whose names go on behind it (`test-labeled`)."""
    lying = {p.name.lower(): p for p in sorted(path.parent.iterdir()) if p != path and p.is_file()}
    exact = [before + word + after for word in words]
    # where train itself is the ending of the name, as in weibo.train, there is no other ending to go by
    ending = path.suffix.lower() if after else ""
    longer = [name for word in words for name in lying if re.fullmatch(re.escape(before + word) + r"(|[-_. ].*)" + re.escape(ending), name)]
    return [lying[name] for name in dict.fromkeys([*exact, *longer]) if name in lying]


def _has_labels(task: Task) -> bool:
    """Tell whether the targets of the task's rows are labels that training rows have to know."""
    return hasattr(task, "problem_type")


def _like(task: Task) -> str:
    return "with the same columns and known labels" if _has_labels(task) else "of the same kind"


def _extra_header(records: Sequence[Record], source: Csv) -> str | None:
    first = set(records[0].values.values())
    return f"its first line names columns: {', '.join(sorted(first))}" if first == set(source.columns or ()) else None


def _labels(rows: Sequence[Row]) -> set[str]:
    targets = [row.target for row in rows if not isinstance(row.target, float)]
    return {label for target in targets for label in (target if isinstance(target, tuple) else (target,))}
