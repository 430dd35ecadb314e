"""Tagged tokens, one a line."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from weitiao.core import textfile
from weitiao.core.contracts import Source, Split
from weitiao.core.rows import Record
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, BadValue, MissingColumn

TAG = re.compile(r"O|[BIMESLUW][-_]\S+")
"""What a tag looks like: outside, or a place in an entity (BIO, IOB1, IOBES, BILOU, BMES) and its kind."""
_LOOKED_AT = 2_000
"""Lines with tokens from which columns are found."""
_USUAL = 0.95
"""Share of the lines looked at that have to agree."""
_BLANK = " \t\r\n"
"""An ideographic or no-break space is a token, and no blank."""
_SEPARATORS = {"tab": "\t", "space": None}


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the lines of a file come apart. Columns count from 0 here."""

    separator: str | None
    """A tab, or None for any run of spaces and tabs."""
    columns: int
    token: int
    tag: int | None
    looks: bool
    """Whether the tag column was found by its looks, so that every tag has to look like one."""
    numbered: bool
    """Whether each token is a character with its place in a word behind it."""

    def cells(self, line: str) -> list[str]:
        """Return the columns of a line."""
        return line.rstrip("\r\n").split("\t") if self.separator else re.split(r"[ \t]+", line.strip(_BLANK))

    def fits(self, cells: Sequence[str]) -> bool:
        """Tell whether a line has the columns and a tag."""
        return len(cells) == self.columns and not (self.looks and self.tag is not None and not TAG.fullmatch(cells[self.tag].strip()))


class Conll(Source):
    """Read CoNLL files of tagged tokens: one token a line, its tag in a column behind it, an empty line between sentences."""

    token_column: PositiveInt = 1
    """Which column holds the token, counted from 1."""
    tag_column: PositiveInt | None = None
    """Which column holds the tag, counted from 1. Default: the last one that holds tags such as O, B-PER, I-PER, S-LOC."""
    separator: Literal["tab", "space"] | None = None
    """What stands between columns: one tab, or spaces. Default: a tab where the lines hold one, else spaces."""
    markers: tuple[str, ...] = ("-DOCSTART-",)
    """First words of lines that stand between documents and are no tokens."""
    strip_digit: bool | None = None
    """Whether to take a digit off the end of every token: some Chinese files write each character with its place in a word behind
    it. Default: only where all tokens of the file look so."""
    longest: PositiveInt = 20_000
    """Tokens of a sentence, at most: more mean that the empty lines between sentences are missing."""
    encoding: str = "utf-8"
    """Encoding of the file."""

    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield one record per sentence: `tokens`, and `tags` as they are written, two lists of one length.

        A test file may hold tokens alone. Raises MissingColumn where train or dev do.
        """
        path = Path(getattr(self, split))
        layout = self._like_train(self.layout(path))
        if layout.tag is None and split != "test":
            if self.tag_column is not None:
                raise _no_column("tag_column", self.tag_column, path, layout.columns)
            raise MissingColumn(
                f"{path}: no column holds tags such as O, B-PER or I-PER; a line has {_columns(layout.columns)}.",
                hint="Tags of another look, such as parts of speech, are read when data.tag_column says where they are.",
            )
        for sentence in self._sentences(path):
            record = self._record(sentence, layout, path, bad)
            if record is not None:
                yield record

    def layout(self, path: Path) -> _Layout:
        """Return how a file's lines come apart, found from the first ones. Raises BadValue where there is no column for the token."""
        sample = list(itertools.islice(itertools.chain.from_iterable(self._sentences(path)), _LOOKED_AT))
        lines = [line for _, line in sample if not line.startswith("# ")] or [line for _, line in sample]
        tabbed = 2 * sum("\t" in line.strip(_BLANK) for line in lines) > len(lines)
        separator = _SEPARATORS[self.separator or ("tab" if tabbed else "space")]
        rough = _Layout(separator, 0, 0, None, False, False)
        apart = [rough.cells(line) for line in lines]
        columns = Counter(map(len, apart)).most_common(1)[0][0] if apart else 1
        usual = [cells for cells in apart if len(cells) == columns]
        if self.token_column > columns:
            raise _no_column("token_column", self.token_column, path, columns)
        token = self.token_column - 1
        if self.tag_column is not None:
            tag = self.tag_column - 1 if self.tag_column <= columns else None
        else:
            tag = next((n for n in reversed(range(columns)) if n != token and _agree(usual, n, TAG)), None)
        numbered = self.strip_digit if self.strip_digit is not None else _agree(usual, token, re.compile(r".{1,4}[0-9]")) and not _ascii(usual, token)
        return _Layout(separator, columns, token, tag, self.tag_column is None, numbered)

    def _like_train(self, layout: _Layout) -> _Layout:
        """Return the layout with what the training file says of the same columns, or without tags where it has more: what is left may look like tags."""
        if self.train is None or not Path(self.train).is_file():
            return layout
        train = self.layout(Path(self.train))
        if layout.columns == train.columns:
            return replace(layout, tag=train.tag, numbered=train.numbered)
        return replace(layout, tag=None) if layout.columns < train.columns and self.tag_column is None else layout

    def _sentences(self, path: Path) -> Iterator[list[tuple[int, str]]]:
        """Yield the numbered lines of each sentence."""
        held: list[tuple[int, str]] = []
        for number, line in textfile.lines(path, self.encoding):
            stripped = line.strip(_BLANK)
            marker = any(stripped == mark or stripped.startswith((f"{mark} ", f"{mark}\t")) for mark in self.markers)
            if stripped and not marker:
                held.append((number, line))
                if len(held) > self.longest:
                    raise BadRow(
                        f"{path}:{held[0][0]}: a sentence of more than {self.longest:,} lines begins here.",
                        hint="Expected an empty line between sentences; if these really are so long, set data.longest.",
                    )
            elif held:
                yield held
                held = []
        if held:
            yield held

    def _record(self, sentence: Sequence[tuple[int, str]], layout: _Layout, path: Path, bad: Callable[[str], None]) -> Record | None:
        tokens: list[str] = []
        tags: list[str] = []
        for number, line in sentence:
            cells = layout.cells(line)
            if not tokens and line.startswith("# ") and not layout.fits(cells):
                continue  # a comment above a sentence, as CoNLL-U and MultiCoNER have them
            if len(cells) != layout.columns:
                stray = ": is one missing?" if len(cells) < layout.columns else ": a token with a space in it?"
                bad(f"{path}:{number}: expected {_columns(layout.columns)}, got {len(cells)}{stray}")
                return None
            token = cells[layout.token]
            if layout.numbered and len(token) > 1 and token[-1] in "0123456789":
                token = token[:-1]
            if not token:
                bad(f"{path}:{number}: the token is empty")
                return None
            tokens.append(token)
            if layout.tag is not None:
                tag = cells[layout.tag].strip()
                if not tag or (layout.looks and not TAG.fullmatch(tag)):
                    bad(f"{path}:{number}: expected a tag such as O or B-PER in column {layout.tag + 1}, got {shown(tag)}")
                    return None
                tags.append(tag)
        if not tokens:
            return None
        return Record({"tokens": tokens} if layout.tag is None else {"tokens": tokens, "tags": tags}, str(path), sentence[0][0])


def _agree(lines: Sequence[Sequence[str]], column: int, pattern: re.Pattern[str]) -> bool:
    """Tell whether nearly all cells of a column look so."""
    return sum(bool(pattern.fullmatch(cells[column].strip())) for cells in lines) >= _USUAL * max(len(lines), 1)


def _ascii(lines: Sequence[Sequence[str]], column: int) -> bool:
    """Tell whether most cells of a column are of ASCII alone: `a1` and `b2` are names, and no characters with their places."""
    return 2 * sum(cells[column].isascii() for cells in lines) > len(lines)


def _no_column(name: str, column: int, path: Path, columns: int) -> BadValue:
    return BadValue(f"data.{name}: {path} has {_columns(columns)}, and {column} is none of them.", hint="Columns count from 1.")


def _columns(count: int) -> str:
    return "one column" if count == 1 else f"{count} columns"
