"""Delimited text."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from weitiao.core import textfile
from weitiao.core.contracts import Source, Split
from weitiao.core.rows import Record
from weitiao.errors import BadRow, BadValue


class Csv(Source):
    """Read comma- or tab-separated files, with or without a header line."""

    header: bool = True
    """Whether the first line names the columns. Without it columns are named by `columns`, or 1, 2, 3 ..."""
    columns: list[str] | None = None
    """Names of the columns of a file without a header line, left to right."""
    delimiter: str | None = Field(default=None, max_length=2)
    """What stands between cells. Default: a tab for .tsv, .tab and .txt files, else a comma."""
    quote: str | None = Field(default=None, max_length=1)
    """The quote character; empty for none. Default: the double quote, but none where the delimiter is a tab, as in GLUE files."""
    encoding: str = "utf-8"
    """Encoding of the file."""

    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield one record per line (or per quoted, multi-line record), cells under their column names."""
        path = Path(getattr(self, split))
        dialect = self.dialect(path)
        numbered = textfile.lines(path, self.encoding)
        reader = csv.reader((line for _, line in numbered), **dialect)
        begun, names = 1, list(self.columns or [])
        csv.field_size_limit(2**31 - 1)
        try:
            if self.header:
                names = [name.strip() for name in next(reader)]
                _check_header(names, path)
                begun = reader.line_num + 1
            for cells in reader:
                line, begun = begun, reader.line_num + 1
                if not cells or (len(cells) == 1 and not cells[0].strip() and len(names) != 1):
                    continue  # a blank line
                if not names:
                    names = [str(n + 1) for n in range(len(cells))]
                if len(cells) != len(names):
                    bad(
                        f"{path}:{line}: expected {len(names)} cells ({', '.join(names[:6])}), got {len(cells)}: "
                        f"a stray {_named(dialect['delimiter'])}, or a missing quote?"
                    )
                    continue
                yield Record(dict(zip(names, cells, strict=True)), str(path), line)
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise BadRow(
                    f"{path}:{begun}: a quote opens here and never closes; the rest of the file would be one cell.",
                    hint="Close the quote, double it inside a cell, or set data.quote='' if quotes are plain characters in this file.",
                ) from None
            raise BadRow(
                f"{path}:{reader.line_num}: {error}.",
                hint="Double a quote inside a quoted cell, or set data.quote='' if quotes are plain characters in this file.",
            ) from None

    def dialect(self, path: Path) -> dict[str, Any]:
        """Return the arguments of csv.reader for a file."""
        tabbed = path.suffix.lower() in (".tsv", ".tab", ".txt")
        delimiter = {"\\t": "\t"}.get(self.delimiter or "", self.delimiter) or ("\t" if tabbed else ",")
        if len(delimiter) != 1:
            raise BadValue(f"data.delimiter: expected one character, got {delimiter!r}.", hint="Use ',' or ';' or '\\t'.")
        quote = self.quote if self.quote is not None else ("" if delimiter == "\t" else '"')
        if not quote:
            return {"delimiter": delimiter, "quoting": csv.QUOTE_NONE, "strict": True}
        return {"delimiter": delimiter, "quotechar": quote, "doublequote": True, "strict": True}


def _check_header(names: list[str], path: Path) -> None:
    twice = [name for name, group in itertools.groupby(sorted(names)) if len(list(group)) > 1 and name]
    if twice:
        raise BadRow(
            f"{path}:1: the header names {textfile.shown(twice[0])} twice.",
            hint="Rename one; if the first line is data, set data.header=false and name the columns in data.columns.",
        )


def _named(delimiter: object) -> str:
    return {",": "comma", "\t": "tab", ";": "semicolon"}.get(str(delimiter), repr(delimiter))
