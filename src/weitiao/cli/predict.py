"""`weitiao predict`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from weitiao.core import files
from weitiao.core.contracts import Source
from weitiao.core.rows import Record, Row, with_ids
from weitiao.errors import BadRow

_AT_ONCE = 4096
"""Rows held in memory at a time."""
_ANSWERED_AT_ONCE = 64
"""Rows answered before the first of them is printed: generating takes a second or so a row."""


def predict(artifact: Path, file: str, out: Path | None, device: str, as_json: bool, entities: Path | None = None) -> int:
    """Predict a file or stdin and print one JSON object per row (or one array); return the exit code.

    entities: an artifact that finds entities; the other says how they are related, and triples are printed.
    """
    from weitiao.evaluation.predictor import batched, load

    predictor: Any
    if entities is None:
        predictor = load(artifact, device=device)
        reader, data = predictor.task, predictor.artifact.recipe.data
    else:
        from weitiao.evaluation.triples import chained

        predictor = reader = chained(artifact, entities, device=device)
        data = predictor.relations.artifact.recipe.data
    rows = _stdin_rows(reader, data) if file == "-" else _file_rows(reader, data, file)
    size = _AT_ONCE if predictor.task.generation is None else _ANSWERED_AT_ONCE
    if file == "-" and sys.stdin.isatty():
        size = 1  # a person waits for the answer to each line
    lines = (prediction.as_dict() for part in batched(rows, size) for prediction in predictor.rows(part))
    if out is not None:
        found = list(lines)
        text = json.dumps(found, ensure_ascii=False, indent=2) if as_json else "\n".join(json.dumps(line, ensure_ascii=False) for line in found)
        files.write_text(out, text + "\n")
        print(f"{len(found)} predictions in {out}", file=sys.stderr)
    else:
        _print(lines, sys.stdout, as_json)
    return 0


def _print(lines: Iterator[dict[str, Any]], stream: TextIO, as_json: bool) -> None:
    if as_json:
        print(json.dumps(list(lines), ensure_ascii=False, indent=2), file=stream)
        return
    for line in lines:
        print(json.dumps(line, ensure_ascii=False), file=stream, flush=True)


def _file_rows(reader: Any, data: Source, file: str) -> Iterator[Row]:
    from weitiao.evaluation.evaluate import source_for
    from weitiao.inspect.rows import rows_of

    rows, skipped = rows_of(reader, source_for(data, file), "test", labelled=False)
    if skipped.count:
        print(f"note: {skipped.count} rows were left out: {skipped.reasons[0]}.", file=sys.stderr)
    yield from rows


def _stdin_rows(reader: Any, data: Source) -> Iterator[Row]:
    from weitiao.evaluation.predictor import text_columns

    column = text_columns(data)[0]

    def records() -> Iterator[Record]:
        for number, raw in enumerate(sys.stdin.buffer, 1):
            try:
                line = raw.decode("utf-8").strip()
            except UnicodeDecodeError as error:
                raise BadRow(f"stdin:{number}: byte 0x{raw[error.start]:02x} is not utf-8 text.", hint="Convert the input: iconv -t utf-8.") from None
            if not line:
                continue
            values: Any = {column: line}
            if line.startswith("{"):
                try:
                    values = json.loads(line)
                except ValueError as error:
                    raise BadRow(f"stdin:{number}: this line begins like a JSON object but is not one: {error}.", hint="Mend the line.") from None
            yield Record(values, "stdin", number)

    for record in with_ids(records(), lambda record: str(record.values[data.id]) if data.id and data.id in record.values else None):
        yield reader.read(record, data, labelled=False)
