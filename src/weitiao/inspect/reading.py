"""How a data file is read: source, encoding, delimiter, quotes, header; and a fair sample of its records."""

from __future__ import annotations

import codecs
import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weitiao.core import textfile
from weitiao.core.contracts import Source
from weitiao.core.rows import Record
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, BadValue, DataError, MissingColumn
from weitiao.inspect.columns import NUMBER, is_usual
from weitiao.sources.csv import Csv
from weitiao.sources.json import Json
from weitiao.sources.parquet import Parquet

KEEP = 4_000
"""Records that guesses are made from, drawn from all over the file: files are often sorted by label."""
READ = 500_000
"""Records that are read to draw them from."""

OTHER_FORMATS = {".xlsx", ".xls", ".ods", ".feather", ".arrow", ".pkl", ".gz", ".zip", ".bz2", ".xz", ".zst", ".pdf", ".docx"}
"""Endings of files that no source reads."""
_SHARD = re.compile(r"-\d{5}-of-(\d{5})(?=\.)")
_DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "|"}
_HANZI = re.compile(rb"[\xa1-\xfe]{2}")


@dataclass(frozen=True, slots=True)
class Reason:
    """One guess: the recipe's key, its value, and why in a few words."""

    what: str
    value: Any
    why: str


@dataclass(slots=True)
class Sample:
    """Records drawn from a file, how many it has, and one sentence on each that cannot be read."""

    records: list[Record] = field(default_factory=list)
    count: int = 0
    bad: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Dialect:
    """One way to read a delimited file, as the settings that differ from the source's defaults."""

    settings: dict[str, str]
    rows: list[tuple[str, ...]]
    bad: float
    """Share of lines that do not come apart as the first does."""
    why: str


def readings(path: Path) -> Iterator[tuple[Source, Sample, list[Reason]]]:
    """Yield the ways to read a file, the likeliest first: the source, a sample of its records, and why.

    Raises DataError where there is none, or BadValue for formats that no source reads.
    """
    suffix = path.suffix.lower()
    if suffix in OTHER_FORMATS:
        raise BadValue(f"{path}: init cannot read {suffix} files.", hint="Unpack it, or export it as CSV or JSON lines.")
    if (objects := as_objects(path)) is not None:
        yield objects
        return
    with path.open("rb") as file:
        encoding, why = encoding_of(file.read(2**20))
    reasons = [] if encoding == "utf-8" else [Reason("data.encoding", encoding, why)]
    for _ in itertools.islice(textfile.lines(path, encoding), 1000):
        pass  # raises BadRow for bytes that are no text
    first: DataError | None = None
    found = False
    for dialect in dialects(path, encoding):
        headed, why = header(dialect.rows)
        table = Csv.model_validate({"train": str(path), "encoding": encoding, "header": headed, **dialect.settings})
        try:
            sample = sampled(table)
        except BadRow as error:  # a stray quote far down: the next way of reading may cope
            first = first or error
            continue
        found = True
        settings = [Reason(f"data.{key}", value, "so the cells come apart evenly") for key, value in dialect.settings.items()]
        yield table, sample, [*reasons, Reason("data.name", "csv", dialect.why), Reason("data.header", headed, why), *settings]
    if not found:
        raise first or MissingColumn(
            f"{path}: the lines do not come apart into columns.",
            hint="Expected the same number of commas, tabs, semicolons or | between text and label in every line.",
        )


def as_objects(path: Path) -> tuple[Source, Sample, list[Reason]] | None:
    """Return how to read a file of JSON or Parquet, a sample of its records, and why; None where it is something else. Raises DataError."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        table = Parquet(train=all_shards(path))
        return table, sampled(table), [Reason("data.name", "parquet", "a Parquet file" if table.train == str(path) else "Parquet files, parts of one table")]
    with path.open("rb") as file:
        raw = file.read(2**20)
    encoding, why = encoding_of(raw)
    start = raw.decode(encoding, "ignore").lstrip("\ufeff \t\r\n")[:1]
    if suffix not in (".json", ".jsonl", ".ndjson") and (suffix in (".csv", ".tsv", ".tab", *OTHER_FORMATS) or start != "{"):
        return None
    source = Json(train=str(path), encoding=encoding)
    reasons = [] if encoding == "utf-8" else [Reason("data.encoding", encoding, why)]
    why = "one array of objects" if start == "[" else "one JSON object per line"
    return source, sampled(source), [Reason("data.name", "json", why), *reasons]


def all_shards(path: Path) -> str:
    """Return a path, or the pattern of all parts of a table where the path is one of several: data-00000-of-00004.parquet."""
    part = _SHARD.search(path.name)
    return str(path) if part is None or int(part[1]) < 2 else str(path.with_name(_SHARD.sub(r"-*-of-\1", path.name)))


def encoding_of(raw: bytes) -> tuple[str, str]:
    """Return the encoding of the first bytes of a file, and why."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", "the file begins with its byte-order mark"
    if b"\0" in raw:
        return "utf-8", ""  # no text at all: the source says where
    try:
        codecs.getincrementaldecoder("utf-8")().decode(raw)
        return "utf-8", ""
    except UnicodeDecodeError:
        pass
    high = sum(byte > 127 for byte in raw)
    if 2 * len(_HANZI.findall(raw)) > 0.8 * high:  # accented letters stand alone, the bytes of Chinese characters in pairs
        return "gb18030", "the bytes are not UTF-8, and read as Chinese this way"
    return "latin-1", "the bytes are neither UTF-8 nor Chinese"


def dialects(path: Path, encoding: str) -> list[_Dialect]:
    """Return the ways in which a file comes apart into columns, the likeliest first."""
    usual = str(Csv().dialect(path)["delimiter"])
    found = []
    for delimiter in sorted(_DELIMITERS, key=lambda d: d != usual):
        plain, quoted = (_dialect(path, encoding, delimiter, quote, usual) for quote in ("", '"'))
        pair = [quoted, plain] if delimiter != "\t" or (plain and _quotes_cells(plain.rows)) else [plain, quoted]
        found += [dialect for dialect in pair if dialect is not None]
    return sorted(found, key=lambda dialect: dialect.bad if dialect.bad > 0.01 else 0.0)


def _dialect(path: Path, encoding: str, delimiter: str, quote: str, usual: str) -> _Dialect | None:
    bad: list[str] = []

    def note(message: str) -> None:
        bad.append(message)
        if len(bad) > 1000:
            raise BadRow(message, hint="")

    try:
        records = Csv(train=str(path), encoding=encoding, header=False, delimiter=delimiter, quote=quote).records("train", note)
        rows = [tuple(record.values.values()) for record in itertools.islice(records, 1000)]
    except BadRow:
        return None
    share = len(bad) / max(len(rows) + len(bad), 1)
    if not rows or len(rows[0]) < 2 or share > 0.5:
        return None
    settings = {} if delimiter == usual else {"delimiter": delimiter.replace("\t", "\\t")}
    if quote != ("" if delimiter == "\t" else '"'):
        settings["quote"] = quote
    return _Dialect(settings, rows, share, f"{len(rows[0])} cells a line, a {_DELIMITERS[delimiter]} between them")


def _quotes_cells(rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether every cell that begins with a quote is a quoted cell: then quotes are no plain characters."""
    cells = [cell for row in rows for cell in row if cell.startswith('"')]
    return bool(cells) and all(len(c) > 1 and c.endswith('"') and '"' not in c[1:-1].replace('""', "") for c in cells)


def header(rows: Sequence[Sequence[str]]) -> tuple[bool, str]:
    """Tell whether the first line names the columns, and why: each column votes by what stands below."""
    first, rest = [cell.strip() for cell in rows[0]], rows[1:]
    if first == [str(n) for n in range(len(first))] and not all(NUMBER.fullmatch(cell.strip()) for row in rest for cell in row):
        return True, "the first line counts the columns"
    given = [cell for cell in first if cell]
    if len(set(given)) < len(given):
        return False, "the first line says the same twice, so it is data"
    votes = [vote for cell, below in zip(first, zip(*rest, strict=True), strict=False) for vote in _votes(cell, [c.strip() for c in below if c.strip()])]
    if sum(weight for weight, _ in votes) < 0:
        return False, f"the first line is data: {min(votes)[1]}"
    weight, why = max(votes, default=(0, ""))
    return True, f"the first line names the columns: {why}" if weight > 0 else "the usual case, and nothing speaks against it"


def _votes(cell: str, below: Sequence[str]) -> Iterator[tuple[int, str]]:
    if is_usual(cell):
        yield 2, f"{shown(cell)} is a usual name"
    if not below:
        return
    if sum(bool(NUMBER.fullmatch(c)) for c in below) >= 0.95 * len(below):
        yield (-3, f"{shown(cell)} is a number among numbers") if NUMBER.fullmatch(cell) else (3, f"{shown(cell)} stands over numbers")
    elif len(set(below)) <= len(below) / 2:
        yield (-3, f"{shown(cell)} comes again below") if cell in below else (2, f"{shown(cell)} does not come again below")
    elif len(cell) > 40 or len(cell.split()) > 5:
        yield -2, f"{shown(cell)} is a whole text"


def sampled(source: Source, *, keep: int = KEEP, read: int = READ) -> Sample:
    """Return up to `keep` of the first `read` records of `train`, each with the same chance, in their order."""
    sample, draw = Sample(), random.Random(1)  # noqa: S311 (a fixed seed: equal files, equal guesses)
    kept: list[tuple[int, Record]] = []
    for n, record in enumerate(itertools.islice(source.records("train", sample.bad.append), read)):
        sample.count = n + 1
        if n < keep:
            kept.append((n, record))
        elif (at := draw.randrange(n + 1)) < keep:
            kept[at] = (n, record)
    sample.records = [record for _, record in sorted(kept, key=lambda pair: pair[0])]
    return sample
