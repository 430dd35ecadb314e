"""Plain text files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from weitiao.core import textfile
from weitiao.core.contracts import Source, Split
from weitiao.core.rows import Record


class Text(Source):
    """Read a plain text file in rows: lines, paragraphs, blocks of lines, or the whole."""

    rows: Literal["line", "paragraph", "block", "file"] = "block"
    """What a row is: a line, what stands between empty lines, whole lines of about `block_characters` together, or the whole file."""
    block_characters: PositiveInt = 4000
    """Characters of a block, about; a block ends with a line."""
    encoding: str = "utf-8"
    """Encoding of the file."""

    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield records with one key, `text`; empty rows are passed over."""
        path = Path(getattr(self, split))
        held: list[str] = []
        began, characters = 1, 0
        for number, line in textfile.lines(path, self.encoding):
            if self.rows == "line":
                if line.strip():
                    yield Record({"text": line.rstrip("\r\n")}, str(path), number)
                continue
            blank = not line.strip()
            if held and ((self.rows == "paragraph" and blank) or (self.rows == "block" and characters >= self.block_characters)):
                yield Record({"text": "".join(held)}, str(path), began)
                held, characters = [], 0
            if blank and (self.rows == "paragraph" or not held):
                continue
            if not held:
                began = number
            held.append(line)
            characters += len(line)
        if held:
            yield Record({"text": "".join(held)}, str(path), began)
