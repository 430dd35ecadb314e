"""One way in for data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from weitiao.core.component import Component
from weitiao.core.rows import Record, Row

Split = Literal["train", "dev", "test"]


class Source(Component):
    """Yields records; knows no tokenizer, no model, no task."""

    train: str | None = None
    """Where the training rows are. Paths in a recipe file are relative to that file."""
    dev: str | None = None
    """Where the rows for model selection and early stopping are; split off `train` when absent."""
    test: str | None = None
    """Where the proof rows are; split off `train`, or held back from `dev`, when absent."""
    text: str | list[str] | None = None
    """Column or key that holds the text; several are joined by a space. Default: the one named `text`."""
    label: str | list[str] | None = None
    """Column or key that holds the label; for multi-label rows several columns of 0 and 1 may be named. Default: the one named `label`."""
    id: str | None = None
    """Column or key that holds a stable id. Default: a hash of the record's content."""
    dev_share: float | None = Field(default=None, gt=0, lt=1)
    """Share of `train` split off as dev when `dev` is absent. Default: 0.1."""
    test_share: float | None = Field(default=None, gt=0, lt=1)
    """Share of `train` split off as test when `test` is absent. Default: 0.1, or none where dev is given: then half of dev is held back."""
    train_rows: PositiveInt | None = None
    """Training rows to use, at most, drawn by a hash of their text: always the same ones. Default: all."""
    test_rows: PositiveInt | None = None
    """Rows of `test` to use, at most, drawn by a hash of their text: always the same ones. Default: all."""
    bad_rows: Literal["error", "skip"] = "error"
    """What to do with a row that cannot be used: stop and name it, or leave it out and count it in the report."""

    cache: bool = True
    """Keep the token ids of the rows in the cache: the next run on equal rows, task and tokenizer does not tokenize again."""

    paths: ClassVar[tuple[str, ...]] = ("train", "dev", "test")
    """Fields that are paths, to be read relative to the recipe file."""
    holds: ClassVar[tuple[str, ...]] = ()
    """Fields that are lists of other sources."""

    @abstractmethod
    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield the records of a split, columns under their own names.

        A record that cannot be read goes to `bad` as one sentence naming its place; what makes the rest of the
        file unreadable is raised as DataError.
        """

    def given(self, split: Split) -> bool:
        """Tell whether the recipe names where this split is."""
        return getattr(self, split) is not None

    def for_file(self, path: str) -> Source:
        """Return the same reading settings for another file, as its `test` split."""
        return self.revised(train=None, dev=None, test=path)

    def endings(self) -> set[str]:
        """Return the endings of the files that this source names: others of the same ending are probably like them."""
        return {Path(path).suffix.lower() for name in self.paths if (path := getattr(self, name))}

    def drawn(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return the rows to train on, of those that stand in train once nothing more is split off: some may come twice, under other ids."""
        return rows
