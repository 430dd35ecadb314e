"""Texts and their translations, line by line."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from pydantic import PositiveInt, field_validator, model_validator

from weitiao.core import textfile
from weitiao.core.contracts import Source, Split
from weitiao.core.rows import Record
from weitiao.errors import BadRow, MissingFile

PLACE = "{language}"
"""What stands in a path for the name of a language."""
PACKED = ".gz"


class Parallel(Source):
    """Read parallel text: two files whose lines belong together, such as train.en and train.de, or one with a tab between text and translation.

    Two files are named by what their names have in common: `train: train` with `languages: [en, de]` reads train.en and train.de;
    `train: corpus/{language}/news.txt` says where else the language stands. Files that end with .gz are unpacked on the way.
    """

    languages: tuple[str, str] | None = None
    """How the names of the two files differ: the language of the text, then that of its translation. Default: one file with tabs."""
    source_column: PositiveInt = 1
    """Which column of a file with tabs holds the text, counted from 1."""
    target_column: PositiveInt = 2
    """Which column of a file with tabs holds its translation, counted from 1. Further columns are passed over."""
    encoding: str = "utf-8"
    """Encoding of the files."""

    @field_validator("languages")
    @classmethod
    def _two_names(cls, value: tuple[str, str] | None) -> tuple[str, str] | None:
        if value is not None and (value[0] == value[1] or not all(value)):
            raise ValueError(f"expected two different names, got {list(value)}")
        return value

    @model_validator(mode="after")
    def _two_columns(self) -> Self:
        if self.source_column == self.target_column:
            raise ValueError(f"source_column and target_column are both {self.source_column}")
        return self

    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield one record per pair: `source` and `target`; a test file may hold texts alone. Lines that are empty on both sides are passed over.

        Raises MissingFile, and BadRow where one of two files has more lines than the other.
        """
        named = Path(getattr(self, split))
        found = self._files(named)
        if found is None:
            yield from self._tabbed(named, bad, alone=split == "test")
        elif found[1] is None:
            if split != "test":
                raise MissingFile(f"there is no file of translations beside {named}.", hint="Name what the names of the two files have in common.")
            yield from (Record({"source": line.strip()}, str(named), number) for number, line in textfile.lines(named, self.encoding) if line.strip())
        else:
            yield from self._paired(found[0], found[1], bad)

    def endings(self) -> set[str]:
        """Return the endings of files that are read so: of those named, of each language, and of plain text."""
        return {*super().endings(), *(f".{language.lower()}" for language in self.languages or ()), PACKED, ".txt"}

    # ------------------------------------------------------------ files

    def _files(self, named: Path) -> tuple[Path, Path | None] | None:
        """Return the two files that a path names; the second is None for a file of texts alone, and all is None for a file with tabs."""
        if self.languages is None:
            if not named.is_file():
                self._say_which(named)
            return None
        if named.is_file() and PLACE not in str(named):  # a file to predict, as a rule: its translation may lie beside it
            return named, self._other(named)
        first, second = (self._of_language(named, language) for language in self.languages)
        return first, second

    def _of_language(self, named: Path, language: str) -> Path:
        plain = Path(str(named).replace(PLACE, language)) if PLACE in str(named) else named.with_name(f"{named.name}.{language}")
        packed = plain.with_name(plain.name + PACKED)
        if not plain.is_file() and packed.is_file():
            return packed
        if not plain.is_file() and named.parent.is_dir():
            self._say_which(plain)
        return plain

    def _other(self, named: Path) -> Path | None:
        """Return the file of the translations of a file of texts, if its name tells and it is there."""
        assert self.languages is not None
        stem, packed = (named.name[: -len(PACKED)], True) if named.name.endswith(PACKED) else (named.name, False)
        first, second = (f".{language}" for language in self.languages)
        if not stem.endswith(first):
            return None
        plain = named.with_name(stem.removesuffix(first) + second)
        other = plain.with_name(plain.name + PACKED)
        return next((path for path in ((other, plain) if packed else (plain, other)) if path.is_file()), None)

    def _say_which(self, path: Path) -> None:
        """Raise MissingFile for a path that names no file, with what lies beside it."""
        stem = path.name if self.languages is None else path.name.rpartition(".")[0] or path.name
        beside = sorted(p.name for p in path.parent.glob("*") if p.is_file()) if path.parent.is_dir() else []
        alike = [name.removeprefix(f"{stem}.").removesuffix(PACKED) for name in beside if name.startswith(f"{stem}.")]
        hint = "Check the path; paths in a recipe are relative to the recipe's folder."
        if alike:
            hint = f"Beside it lie {', '.join(name for name in beside if name.startswith(f'{stem}.'))}: "
            hint += f"set data.languages to two of {', '.join(alike)}, that of the text first."
        elif beside:
            hint = f"That folder holds: {', '.join(beside[:5])}."
        raise MissingFile(f"there is no file {path}.", hint=hint)

    # ------------------------------------------------------------ lines

    def _paired(self, first: Path, second: Path, bad: Callable[[str], None]) -> Iterator[Record]:
        sides = (textfile.lines(first, self.encoding), textfile.lines(second, self.encoding))
        for one, two in itertools.zip_longest(*sides):
            if one is None or two is None:
                shorter, longer, line = (first, second, two) if one is None else (second, first, one)
                more = 1 + sum(1 for side in sides for _ in side)
                raise BadRow(
                    f"{shorter} ends after line {line[0] - 1:,}, {longer}:{line[0]} goes on for {more:,} more: lines that belong together have one number.",
                    hint="Fetch the shorter file again, or look for a line that was broken or lost: from there on every pair is a wrong one.",
                )
            number, text, translation = one[0], one[1].strip(), two[1].strip()
            if text and translation:
                yield Record({"source": text, "target": translation}, str(first), number)
            elif text or translation:
                bare, full = (second, first) if text else (first, second)
                bad(f"{bare}:{number}: the line is empty, and that of {full.name} is not")

    def _tabbed(self, path: Path, bad: Callable[[str], None], *, alone: bool) -> Iterator[Record]:
        """Yield the records of a file with tabs. alone: whether lines may hold a text without its translation."""
        wanted = max(self.source_column, self.target_column)
        for number, line in textfile.lines(path, self.encoding):
            cells = [cell.strip() for cell in line.rstrip("\r\n").split("\t")]
            if not any(cells):
                continue
            if len(cells) < wanted:
                if alone and len(cells) == 1:
                    yield Record({"source": cells[0]}, str(path), number)
                else:
                    bad(f"{path}:{number}: expected a tab between text and translation, so {wanted} cells or more, got {len(cells)}")
                continue
            text, translation = cells[self.source_column - 1], cells[self.target_column - 1]
            if not text or not translation:
                bad(f"{path}:{number}: the {'translation' if text else 'text'} is empty")
                continue
            yield Record({"source": text, "target": translation}, str(path), number)
