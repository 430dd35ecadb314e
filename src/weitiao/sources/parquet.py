"""Parquet files."""

from __future__ import annotations

import datetime
import decimal
import glob
import importlib.util
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from weitiao.core import textfile
from weitiao.core.contracts import Source, Split
from weitiao.core.rows import Record
from weitiao.errors import BadRow, MissingExtra, MissingFile

_AT_ONCE = 1_024
"""Rows that are read together: memory does not grow with the file."""


class Parquet(Source):
    """Read Parquet files, one or several (`data/train-*.parquet`), a batch of rows at a time.

    Lists and structs come as Python values, and numbers of labels by the names that data sets of the hub write into the file.
    """

    def records(self, split: Split, bad: Callable[[str], None]) -> Iterator[Record]:
        """Yield one record per row, its number in its file as the line. Columns of bytes, such as images, are left out."""
        if importlib.util.find_spec("pyarrow") is None:
            raise MissingExtra("Parquet files are read with the package pyarrow, which is not installed.", hint="pip install 'weitiao[hub]'")
        expected: list[str] | None = None
        for path in _files(getattr(self, split)):
            names, rows = _rows(path)
            if expected is not None and names != expected:
                raise BadRow(
                    f"{path}: its columns are {', '.join(names)}, those of the first file are {', '.join(expected)}.",
                    hint="Name files of one data set; for several data sets there is data.name=mixture.",
                )
            expected = names
            for number, values in enumerate(rows, 1):
                yield Record(values, str(path), number)


def _files(pattern: str) -> list[Path]:
    """Return the files that a path or pattern names, in the order of their names. Raises MissingFile, EmptySplit."""
    if glob.has_magic(pattern) and not os.path.exists(pattern):  # noqa: PTH110 (of the pattern as it is written)
        found = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 (an absolute pattern)
        if not found:
            raise MissingFile(f"no file matches {pattern}.", hint="Check the pattern; paths in a recipe are relative to the recipe's folder.")
    else:
        found = [Path(pattern)]
        if found[0].is_dir():
            raise MissingFile(f"{pattern} is a folder, expected a file.", hint=f"Name a file, or all of them: {pattern}/*.parquet")
    for path in found:
        textfile.check(path)
    return found


def _rows(path: Path) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """Return the names of the columns of a file, and its rows. Raises BadRow where it is no Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet

    faults = (pa.ArrowException, OSError, ValueError)  # a damaged name is no UTF-8

    def damaged(error: Exception) -> BadRow:
        said = " ".join(str(error).split())[:200].rstrip(".")
        return BadRow(f"{path}: not a Parquet file that can be read: {said}.", hint="Export or download the file again.")

    try:
        file = pyarrow.parquet.ParquetFile(path)
        schema = file.schema_arrow
        names = [field.name for field in schema if not _holds_bytes(field.type) and not field.name.startswith("__index_level_")]
    except faults as error:
        raise damaged(error) from None
    labels = _labels(schema.metadata or {})

    def read() -> Iterator[dict[str, Any]]:
        try:
            for batch in file.iter_batches(batch_size=_AT_ONCE, columns=names):
                for row in batch.to_pylist():
                    yield {name: _plain(row[name], labels.get(name)) for name in names}
        except faults as error:
            raise damaged(error) from None

    return names, read()


def _holds_bytes(kind: Any) -> bool:
    """Tell whether a column's type is bytes, or has bytes inside."""
    import pyarrow as pa

    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return True
    return any(_holds_bytes(kind.field(n).type) for n in range(kind.num_fields))


def _labels(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return what data sets of the hub write about their columns: column -> feature, empty where the file says nothing."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}


def _plain(value: Any, feature: Any = None) -> Any:
    """Return a value as JSON has it, the number of a label as its name."""
    if isinstance(value, dict):
        inside = feature if isinstance(feature, dict) else {}
        return {str(key): _plain(item, inside.get(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):  # tuples are the entries of a map
        inner = feature[0] if isinstance(feature, list) and feature else feature.get("feature") if isinstance(feature, dict) else None
        return [_plain(item, inner) for item in value]
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    if isinstance(names, list) and isinstance(value, int) and value < len(names):
        return names[value] if value >= 0 else None  # -1 marks a row whose label is kept secret
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value if value is None or isinstance(value, str | int) else str(value)
