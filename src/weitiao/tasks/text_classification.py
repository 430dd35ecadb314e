"""One text: one label, several labels, or a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from weitiao.core.contracts import Features, Source, Tokens
from weitiao.core.rows import Record, Row
from weitiao.errors import BadRow
from weitiao.labels.labels_or_number import LabelsOrNumber
from weitiao.labels.reading import MEND, text_in


class TextClassification(LabelsOrNumber):
    """Sort a text into one of several classes, give it several labels, or a number."""

    keeps_features: ClassVar[bool] = True

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return text and target. Raises MissingColumn, or BadRow naming file, line and field."""
        columns = [data.text] if isinstance(data.text, str) else data.text or ["text"]
        parts = [text_in(record, column).strip() for column in columns]
        text = " ".join(part for part in parts if part)
        if not text:
            raise BadRow(f"{record.place}: {', '.join(columns)}: the text is empty.", hint=MEND)
        return Row(record.id, text, self.target(record, data) if labelled else None, record.place)

    def encode(self, rows: Sequence[Row], tokens: Tokens) -> list[Features]:
        """Return one feature per row; text past `max_length` is cut at the end and counted."""
        encoded = tokens.encode([row.text for row in rows], self.max_length)
        return [Features(row.id, ids, target, cut) for row, (ids, cut), target in zip(rows, encoded, self.encoded_targets(rows), strict=True)]
