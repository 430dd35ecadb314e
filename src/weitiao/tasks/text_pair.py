"""Two texts: one label, several labels, or a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from weitiao.core.contracts import Features, Metric, Source, Tokens
from weitiao.core.rows import Record, Row
from weitiao.errors import BadRow, BadValue, MissingColumn
from weitiao.labels.labels_or_number import LabelsOrNumber
from weitiao.labels.reading import MEND, text_in

USUAL = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text_a", "text_b"),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "passage"),
    ("text1", "text2"),
)
"""What the columns of the two texts are usually called, in the order in which they are looked for."""


class TextPair(LabelsOrNumber):
    """Sort pairs of texts into classes, such as paraphrase or not, or give them a number, such as how similar they are.

    `data.text` names the two columns, the first text's first; without it sentence1 and sentence2, premise and hypothesis, question1 and
    question2, text_a and text_b and the like are found by their names. A pair that is too long loses tokens at the end of its longer text.
    """

    keeps_features: ClassVar[bool] = True
    joins_texts: ClassVar[bool] = True
    takes: ClassVar[str] = "pairs"

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return the two texts and the target. Raises MissingColumn, or BadRow naming file, line and field."""
        columns = _columns(record, data)
        parts = tuple(text_in(record, column).strip() for column in columns)
        for column, part in zip(columns, parts, strict=True):
            if not part:
                raise BadRow(f"{record.place}: {column}: the text is empty.", hint=MEND)
        return Row(record.id, "\n".join(parts), self.target(record, data) if labelled else None, record.place, parts=parts)

    def settled(self, tokens: Tokens) -> Self:
        """Return the task. Raises BadValue where max_length leaves no room for a token of each text."""
        needed = tokens.frame(two=True).size + 2
        if self.max_length < needed:
            raise BadValue(f"task.max_length: {self.max_length} is less than the {needed} tokens of the shortest pair.", hint="Usual: 128 or 256.")
        return self

    def encode(self, rows: Sequence[Row], tokens: Tokens) -> list[Features]:
        """Return one feature per row: both texts in the model's own form, the longer one cut at its end where they do not fit."""
        frame, found = tokens.frame(two=True), []
        texts = [tokens.plain([row.parts[n] for row in rows]) for n in (0, 1)]
        for row, first, second, target in zip(rows, *texts, self.encoded_targets(rows), strict=True):
            left, right = _lengths(len(first), len(second), self.max_length - frame.size)
            ids = [*frame.before, *first[:left], *frame.between, *second[:right], *frame.after]
            cut = len(first) + len(second) - left - right
            found.append(Features(row.id, ids, target, cut, second=len(frame.before) + left + frame.second))
        return found

    def metrics(self) -> tuple[Metric, ...]:
        """Return accuracy and macro F1; for numbers the correlations, of values first, and the squared error."""
        from weitiao.metrics.regression import MeanSquaredError, Pearson, Spearman

        return (Pearson(), Spearman(), MeanSquaredError()) if self.problem_type == "regression" else super().metrics()


def _columns(record: Record, data: Source) -> Sequence[str]:
    """Return the columns of the two texts. Raises BadValue, MissingColumn."""
    if data.text is None:
        for pair in USUAL:
            if all(column in record.values for column in pair):
                return pair
        known = ", ".join(map(str, list(record.values)[:12]))
        raise MissingColumn(
            f"{record.place}: expected two columns of texts, such as sentence1 and sentence2; the columns are: {known}.",
            hint="Name two: data.text=[FIRST,SECOND]. To predict a pair, give both texts under the names of their columns; on stdin as one JSON object a line.",
        )
    if isinstance(data.text, str) or len(data.text) != 2:
        raise BadValue(f"data.text: expected two columns, got {data.text}.", hint="A pair has two texts: data.text=[FIRST,SECOND].")
    return data.text


def _lengths(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how many tokens of each text fit into `room`: the longer text gives way until both are equal, as `longest_first` of tokenizers does."""
    shorter, longer = min(first, second), max(first, second)
    longer = min(longer, max(shorter, room - shorter))
    if shorter + longer > room:
        shorter, longer = room // 2, room - room // 2
    return (longer, shorter) if first > second else (shorter, longer)
