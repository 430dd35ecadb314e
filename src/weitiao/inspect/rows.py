"""From a recipe's data section to rows in splits, every problem named by file, line and field."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from weitiao.core import fingerprint, spool
from weitiao.core.contracts import Source, Split, Task
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Record, Row, Skipped, Splits, with_ids
from weitiao.errors import BadRow, BadValue, Conflict, EmptySplit
from weitiao.inspect.splits import as_keys, first_by_hash, key_of, take_share

EVERY: tuple[Split, ...] = ("train", "dev", "test")
OPTIONAL: tuple[Split, ...] = ("dev", "test")
DEV_SHARE = 0.1
TEST_SHARE = 0.1
FEWEST_TO_HALVE = 40
"""Below this many dev rows, holding half back would leave too few on either side: both uses share the rows, and the report warns."""
SHOWN = 5


@dataclass(frozen=True)
class Data:
    """Rows in their splits, the task that has seen them, and which split proves the result."""

    task: Task
    splits: Splits
    proof: Sequence[Row]
    split: str
    """`test` or `dev`: where the proof rows come from."""
    selected_on_same_rows: bool
    notes: tuple[str, ...]
    fingerprint: str
    """A hash of all rows in their splits, as they were read."""
    fingerprints: Mapping[str, str]
    """By split (train, dev, proof): a hash of its rows."""


def read(recipe: Recipe) -> Data:
    """Return the rows of a recipe. Raises DataError naming file, line and field."""
    data, task = recipe.data, recipe.task
    if not data.given("train"):
        raise BadValue("data.train: missing.", hint="Say where the training rows are; `weitiao evaluate RECIPE` measures the model as it is without any.")
    for split in OPTIONAL:
        if data.given(split) and getattr(data, f"{split}_share"):
            raise Conflict(f"data.{split} names the rows, so data.{split}_share has nothing to split off.", hint="Remove one of the two.")
    selects = recipe.evaluate.best is not False
    skipped: dict[str, Skipped] = {}
    given: dict[str, Sequence[Row]] = {}
    for split in EVERY:
        if data.given(split):
            given[split], skipped[split] = rows_of(task, data, split, labelled=True)
            if not given[split]:
                raise EmptySplit(f"data.{split}: {getattr(data, split) or data.name} holds no rows.", hint="Check the file; a header line alone is not a row.")
    train, said = given["train"], []
    task.fitted(train)  # what no split could mend is said before splitting

    # test first, so that its rows do not depend on whether dev is split off too
    test = given.get("test")
    if test is not None:
        said.append(f"test: {len(test)} rows as given")
    elif data.test_share or "dev" not in given:
        share = data.test_share or TEST_SHARE
        train, test = take_share(train, share, salt="test", stratum=task.stratum, group=task.group)
        said.append(f"test: {len(test)} rows, {share:.0%} of train, split off by a hash of the text, stratified")
        _not_empty(test, "test", share, len(given["train"]))
    if test is not None:
        test, said[-1] = _bounded(test, said[-1], data)
    dev = given.get("dev")
    if dev is not None:
        said.append(f"dev: {len(dev)} rows as given")
    elif selects:
        share = data.dev_share or DEV_SHARE
        of = len(train)
        train, dev = take_share(train, share, salt="dev", stratum=task.stratum, group=task.group)
        said.append(f"dev: {len(dev)} rows, {share:.0%} of train, split off likewise")
        _not_empty(dev, "dev", share, of)
    elif data.dev_share:
        raise BadValue("data.dev_share: no dev rows are needed, since evaluate.best is false.", hint="Remove data.dev_share, or let evaluate.best choose.")
    dev = dev or []

    same = False
    if test is not None:
        proof, split = test, "test"
    elif not selects:
        proof, split = dev, "dev"
        said.append("proof rows: all of dev, on which nothing is chosen")
    elif len(dev) >= FEWEST_TO_HALVE:
        dev, proof = take_share(dev, 0.5, salt="proof", stratum=task.stratum, group=task.group)
        split = "dev"
        said.append(f"proof rows: {len(proof)} of dev, held back from model selection")
    else:
        proof, split, same = dev, "dev", True
        said.append("proof rows: dev, too few to hold half of them back from model selection")
    distinct = train
    train = data.drawn(train)
    how = "" if train is distinct else f", drawn by weight from {len(distinct)}"
    if data.train_rows is not None and data.train_rows < len(train):
        task = task.fitted(train)  # a label that only rows left out have is known, too
        train = first_by_hash(train, data.train_rows)
    said.insert(0, f"train: {len(train)} rows{how}" + ("" if len(train) == len(given["train"]) or how else f" of {len(given['train'])}"))

    fitted = task.fitted(train)
    for name, rows in (("dev", dev), (split, proof)):
        fitted.check(rows, name)
    best, known = recipe.evaluate.best, ["loss", *(metric.name for metric in fitted.metrics())]
    if isinstance(best, str) and best not in known:  # the recipe alone cannot tell what the rows are like
        raise BadValue(f"evaluate.best: rows like these have no metric '{best}'.", hint=f"Known: {', '.join(known)}, or false.")
    looked_at = {"train": train, "dev": dev, **({} if same else {split if split == "test" else "proof": proof})}
    remarks = [remark for name, rows in looked_at.items() for remark in fitted.remarks(rows, name)]
    splits = Splits(train, dev, test or [], "; ".join(said), skipped)
    hashed = _hashed({"train": train, "dev": dev, "test": test or [], "proof": proof})
    notes = (*_notes(hashed, proof, split, skipped), *remarks)
    return Data(fitted, splits, proof, split, same, notes, hashed.whole, hashed.splits)


def read_untuned(recipe: Recipe) -> Data:
    """Return the rows that prove a recipe's result, or where it names no training rows those of `test`. Raises DataError naming file, line and field."""
    data, task = recipe.data, recipe.task
    if data.given("train"):
        return read(recipe)
    if not data.given("test"):
        raise BadValue("data.test: missing.", hint="Say where the rows are on which the model is to be measured.")
    test, skipped = rows_of(task, data, "test", labelled=True)
    if not test:
        raise EmptySplit(f"data.test: {data.test or data.name} holds no rows.", hint="Check the file; a header line alone is not a row.")
    test, said = _bounded(test, f"test: {len(test)} rows as given", data)
    task = task.fitted(test)
    task.check(test, "test")
    hashed = _hashed({"train": [], "dev": [], "test": test, "proof": test})
    notes = (*_notes(hashed, test, "test", {"test": skipped}), *task.remarks(test, "test"))
    return Data(task, Splits([], [], test, said, {"test": skipped}), test, "test", False, notes, hashed.whole, hashed.splits)


def _bounded(test: Sequence[Row], said: str, data: Source) -> tuple[Sequence[Row], str]:
    """Return at most `test_rows` of the rows, and the sentence on where they are from."""
    if data.test_rows is None or data.test_rows >= len(test):
        return test, said
    return first_by_hash(test, data.test_rows), f"{said}, {data.test_rows} of them drawn by a hash of the text"


@dataclass(frozen=True)
class _Hashed:
    """What one pass over the rows tells."""

    whole: str
    splits: dict[str, str]
    texts: dict[str, np.ndarray]
    """By split: the key of each row's text."""


def _hashed(splits: Mapping[str, Sequence[Row]]) -> _Hashed:
    whole, apart, texts = hashlib.sha256(), {}, {}
    for name, rows in splits.items():
        digest, keys = hashlib.sha256(), bytearray()
        for row in rows:
            said = fingerprint.framed((row.id, row.text, repr(row.target), *_said(row)))
            whole.update(said)
            digest.update(len(said).to_bytes(8, "little") + said)  # turns of one row are never taken for the next row
            keys += key_of(row.text)
        apart[name], texts[name] = digest.hexdigest(), as_keys(keys)
    return _Hashed(whole.hexdigest(), apart, texts)


def _said(row: Row) -> Iterator[str]:
    for turn in row.turns:
        yield from (turn.role, turn.content)
        if turn.tools or turn.calls:
            yield from (turn.tools, turn.calls)
    yield from row.parts


def rows_of(task: Task, data: Source, split: Split, *, labelled: bool) -> tuple[Sequence[Row], Skipped]:
    """Return the rows of one split, and what was left out if `bad_rows` is skip. Raises BadRow listing the first few.

    Many rows are held in a temporary file: see `core/spool.py`.
    """
    problems: list[str] = []
    hints: list[str] = []

    def bad(sentence: str) -> None:
        problems.append(sentence.rstrip("."))

    def read() -> Iterator[Row]:
        for record in _identified(data, data.records(split, bad)):
            try:
                yield task.read(record, data, labelled=labelled)
            except BadRow as error:
                bad(error.message)
                hints.append(error.hint)

    rows = spool.gathered(read())
    if problems and data.bad_rows == "error":
        hint = hints[0] if hints else "Mend or remove the row, or set data.bad_rows=skip."
        if len(problems) == 1:
            raise BadRow(problems[0] + ("" if problems[0].endswith("?") else "."), hint=hint)
        more = f"\n  ... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        listed = "\n".join(f"  {p}" for p in problems[:SHOWN])
        raise BadRow(f"{len(problems)} rows cannot be used:\n{listed}{more}", hint=hint)
    return rows, Skipped(len(problems), tuple(problems[:SHOWN]))


def _identified(data: Source, records: Iterator[Record]) -> Iterator[Record]:
    def given(record: Record) -> str | None:
        if data.id is None:
            return record.id or None
        value = record.values.get(data.id)
        return None if value is None else str(value)

    yield from with_ids(records, given)


def _not_empty(rows: Sequence[Row], split: str, share: float, of: int) -> None:
    if not rows:
        raise EmptySplit(
            f"{share:.0%} of {of} rows leaves nothing for {split}.", hint=f"Name a file in data.{split}, raise data.{split}_share, or bring more rows."
        )


def _notes(hashed: _Hashed, proof: Sequence[Row], split: str, skipped: dict[str, Skipped]) -> Iterator[str]:
    shared = int(np.isin(hashed.texts["proof"], hashed.texts["train"]).sum())
    if shared:
        yield f"{shared} of the {len(proof)} proof rows ({split}) stand in train too, word for word: the scores may be too good by as much."
    for name, left_out in skipped.items():
        if left_out.count:
            rows = "row" if left_out.count == 1 else "rows"
            yield f"{left_out.count} {rows} of {name} left out: {left_out.reasons[0]}."
    if len(proof) < 100:
        yield f"only {len(proof)} proof rows: the intervals will be wide."
