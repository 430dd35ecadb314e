"""A text to order: with a sentiment, a topic or a style, or of a length."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from weitiao.answers.generating import Generating, naming
from weitiao.answers.places import filled
from weitiao.core import files
from weitiao.core.artifact import Artifact, open_artifact
from weitiao.core.contracts import Features, Head, Metric, Prediction, Source, TextReader, Tokens
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record, Row, Turn
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, BadValue, EmptySplit, MissingColumn
from weitiao.labels.reading import MEND, cell, label_in, text_in

ATTRIBUTE, LENGTH, BEGIN = "{attribute}", "{length}", "{begin}"
"""What stands in a prompt for what is ordered."""


class ControlledGeneration(Generating):
    """Write texts that have a given attribute, such as a sentiment, a topic or a style, or a given length: a table with texts and their attribute.

    The attribute is the column data.label. Texts are drawn, and judged by others: whether they have the attribute by a classifier that is
    an artifact, how fluent they are by the model as it was before tuning, how diverse by counting.
    """

    max_length: int = Field(default=256, ge=16)
    """Longest row in tokens, prompt and text together; a longer one is left out and counted: a text is never cut."""
    values: dict[str, str] | None = None
    """The values that the attribute may have, and how the prompt says each, such as {"0": negative, "1": positive}; a list where both are
    the same. Default: those of the training rows, as they are written."""
    lengths: dict[str, tuple[PositiveInt, PositiveInt]] | None = None
    """Lengths that may be ordered, and how many words a text of each has, from and to, such as {short: [1, 10], long: [11, 40]}; characters
    count as words in scripts without spaces. That of a training row is counted, that of a row to predict is its column `length`. Without
    data.label the length is all that is ordered."""
    begin_words: NonNegativeInt = 3
    """Words of the text, at its beginning, that the prompt gives."""
    prompt: str | None = None
    """How a text is ordered: {attribute}, {length} and {begin} stand for what is asked. Default: a sentence in English with those that are asked."""
    classifier: str | None = None
    """An artifact of task text_classification that says which attribute a text has: control_accuracy is the share of generated texts of which
    it says what was ordered. Its labels are the values of the attribute, or what the prompt calls them."""
    template: str = "auto"
    """Chat template: auto (the model's own, else one that its vocabulary knows, else plain), own, plain, chatml, gemma, or a .jinja file."""
    max_new_tokens: PositiveInt = 64
    """Longest generated text in tokens."""
    temperature: float = Field(default=0.7, ge=0, le=5)
    """0 takes the most probable token each time; above, tokens are drawn."""
    top_p: float = Field(default=0.9, gt=0, le=1)
    """Tokens are drawn from the smallest set that has this probability (arXiv:1904.09751)."""
    generate_rows: NonNegativeInt = 100
    """Proof rows for which a text is generated, before and after, at most: the scores of generated texts rest on these."""

    keeps_features: ClassVar[bool] = True
    takes: ClassVar[str] = "prompts"

    @field_validator("values", mode="before")
    @classmethod
    def _said_as_written(cls, value: Any) -> Any:
        return {str(each): str(each) for each in value} if isinstance(value, list) else value

    @field_validator("lengths")
    @classmethod
    def _lengths_do_not_overlap(cls, value: dict[str, tuple[int, int]] | None) -> dict[str, tuple[int, int]] | None:
        edges = sorted((value or {}).values())
        crossed = any(low > high for low, high in edges) or any(a[1] >= b[0] for a, b in itertools.pairwise(edges))
        if value is not None and (crossed or not value):
            raise ValueError("expected lengths apart from each other, each from a smaller to a larger number of words")
        return value

    @model_validator(mode="after")
    def _prompt_has_places(self) -> Self:
        if self.prompt is not None:
            for place, asked in ((LENGTH, bool(self.lengths)), (BEGIN, self.begin_words > 0)):
                if self.prompt.count(place) != asked:
                    raise ValueError(f"prompt: expected {place} {'once' if asked else 'nowhere, since it is not asked'}")
            if not self.lengths and self.prompt.count(ATTRIBUTE) != 1:
                raise ValueError(f"prompt: expected {ATTRIBUTE} once, where the attribute goes")
        return self

    # ------------------------------------------------------------ rows

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return the order as a conversation, and as target text, attribute and length. Raises MissingColumn, or BadRow naming file, line and field."""
        value, length = self._value(record, data), ""
        if isinstance(data.text, list) and len(data.text) != 1:
            raise BadValue(f"data.text: expected one column, got {data.text}.", hint="Name the column of the text.")
        column = data.text if isinstance(data.text, str) else (data.text or ["text"])[0]
        text = text_in(record, column).strip() if labelled or self.begin_words else ""
        if labelled and not text:
            raise BadRow(f"{record.place}: {column}: the text is empty.", hint=MEND)
        if self.lengths:
            length = self._counted(text, f"{record.place}: {column}") if labelled else self._ordered(record)
        asked = Turn("user", self._order(value, length, _beginning(text, self.begin_words)))
        if not labelled:
            return Row(record.id, asked.content, None, record.place, (asked,))
        return Row(record.id, text, (text, value, length), record.place, (asked, Turn("assistant", text)))

    def _value(self, record: Record, data: Source) -> str:
        """Return the attribute of a record, which may be written as the prompt says it; empty where only lengths are ordered."""
        if isinstance(data.label, list):
            raise BadValue(f"data.label: expected one column, got {data.label}.", hint="Name the column of the attribute.")
        if (data.label is None and self.lengths) or (self.values is not None and not self.values):
            return ""
        column = data.label or "label"
        value = label_in(cell(record, column, "label"), f"{record.place}: {column}:")
        if self.values is not None and value not in self.values:
            if (called := next((known for known, word in self.values.items() if word == value), None)) is not None:
                return called
            raise BadRow(
                f"{record.place}: {column}: the attribute {shown(value)} is not known.{did_you_mean(value, self.values)}",
                hint=f"Known: {', '.join(self.values)}. Mend the row, or name every value in task.values before training.",
            )
        return value

    def _counted(self, text: str, where: str) -> str:
        from weitiao.metrics.generated import words

        count, lengths = len(words(text)), self.lengths or {}
        found = next((name for name, (low, high) in lengths.items() if low <= count <= high), None)
        if found is None:
            raise BadRow(f"{where}: the text has {count} words, and no length of task.lengths takes them.", hint="Widen task.lengths. " + MEND)
        return found

    def _ordered(self, record: Record) -> str:
        known = ", ".join(self.lengths or {})
        if "length" not in record.values:
            raise MissingColumn(f"{record.place}: there is no column 'length', which says how long the text should be.", hint=f"Known lengths: {known}.")
        value = record.values["length"]
        if value not in (self.lengths or {}):
            raise BadRow(f"{record.place}: length: {shown(value)} is not known.{did_you_mean(str(value), self.lengths or {})}", hint=f"Known: {known}.")
        return str(value)

    def _order(self, value: str, length: str, begin: str) -> str:
        said = self.prompt or self._instruction(attribute=bool(value))
        return filled(said, {ATTRIBUTE: (self.values or {}).get(value, value), LENGTH: length, BEGIN: begin})

    def _instruction(self, *, attribute: bool) -> str:
        kind = f"a {LENGTH} text" if self.lengths else "a text"
        wanted = [*([f"is {ATTRIBUTE}"] if attribute else []), *([f'begins with "{BEGIN}"'] if self.begin_words else [])]
        return f"Write {kind}{' that ' if wanted else ''}{' and '.join(wanted)}."

    def fitted(self, rows: Sequence[Row]) -> Self:
        """Return a copy that knows the values of the attribute. Raises EmptySplit where all rows have the same, BadValue for a classifier of others."""
        held = sorted({row.target[1] for row in rows} - {""})
        orders = {row.target[1:] for row in rows}
        if len(orders) < 2:
            what = " ".join(filter(None, next(iter(orders), ())))
            raise EmptySplit(
                f"every training row orders the same ({what or 'nothing'}; {len(rows)} rows): nothing is there to control.",
                hint="Check data.label: it names the column of the attribute.",
            )
        task = self.revised(values=self.values if self.values is not None else {value: value for value in held})
        if self.prompt is not None and self.prompt.count(ATTRIBUTE) != bool(task.values):
            where = "once, since data.label names an attribute" if task.values else "nowhere, since only lengths are ordered"
            raise BadValue(f"task.prompt: expected {ATTRIBUTE} {where}.", hint=f"The prompt is {shown(self.prompt)}.")
        if task.classifier is not None and task.values:
            task.labels_of(open_artifact(task.classifier, verify=False))
        return task

    def check(self, rows: Sequence[Row], split: str) -> None:
        """Raise BadRow where rows have an attribute that no training row has."""
        for row in rows:
            if row.target[1] and row.target[1] not in (self.values or {}):
                raise BadRow(
                    f"{row.place}: the {split} row has the attribute {shown(row.target[1])}, which no training row has.",
                    hint=f"Known: {', '.join(self.values or {})}. Mend the row, or name every value in task.values.",
                )

    def stratum(self, row: Row) -> str:
        """Return what is ordered: its share is kept the same in every split."""
        return " ".join(row.target[1:])

    # ------------------------------------------------------------ features

    @property
    def head(self) -> Head:
        """A causal language model."""
        return Head("AutoModelForCausalLM", {})

    def settled(self, tokens: Tokens) -> Self:
        """Return a copy with the prompt and the template in use."""
        attribute = not self.lengths if self.values is None else bool(self.values)
        return self.revised(prompt=self.prompt or self._instruction(attribute=attribute), template=tokens.use_template(self.template))

    def encode(self, rows: Sequence[Row], tokens: Tokens) -> list[Features]:
        """Return one feature per row that fits. Raises BadRow where the template fails."""
        from weitiao.models import dialogue

        found = []
        for row in rows:
            if row.target is None:
                continue
            with naming(row):
                whole = dialogue.encode(row.turns, tokens)
            if len(whole) <= self.max_length:
                found.append(Features(row.id, whole.ids, whole.targets))
        return found

    def prompts(self, rows: Sequence[Row], tokens: Tokens) -> list[list[int]]:
        """Return the ids that a generated text follows."""
        from weitiao.models import dialogue

        found = []
        for row in rows:
            with naming(row):
                found.append(dialogue.prompt(row.asked, tokens, most=self.max_length))
        return found

    # ------------------------------------------------------------ scores

    def weighed(self, rows: Sequence[Row], predictions: Sequence[Prediction], reader: TextReader) -> list[Prediction]:
        """Return predictions with what others say of their texts.

        `untuned_nll` and `untuned_tokens` are those of the text under the untuned model; `controlled` is 1 where the classifier says what was
        ordered, else 0. An empty text has no attribute.
        """
        texts = [str(prediction.value) for prediction in predictions]
        measures = [dict(prediction.measures) for prediction in predictions]
        for found, likelihood in zip(measures, reader.likelihoods(texts) or [], strict=False):
            if likelihood is not None:
                found |= dict(zip(("untuned_nll", "untuned_tokens"), likelihood, strict=True))
        if self.classifier is not None and self.values:
            labels = self.labels_of(open_artifact(self.classifier, verify=False))
            filled = [n for n, text in enumerate(texts) if text.strip()]
            said = dict(zip(filled, reader.labels(self.classifier, [texts[n] for n in filled]), strict=True))
            for n, row in enumerate(rows):
                measures[n]["controlled"] = float(said.get(n) == labels[row.target[1]])
        return [dataclasses.replace(prediction, measures=found) for prediction, found in zip(predictions, measures, strict=True)]

    def labels_of(self, classifier: Artifact) -> dict[str, str]:
        """Return for each value of the attribute the label by which a classifier calls it. Raises BadValue where it has none."""
        labels = getattr(classifier.task, "labels", None)
        if classifier.task.name != "text_classification" or not labels:
            raise BadValue(
                f"task.classifier: {classifier.folder} was made for {classifier.task.name}, expected an artifact that gives texts one of several labels.",
                hint="Train one with task.name=text_classification on texts with the same attribute.",
            )
        found = {value: next((name for name in (value, word) if name in labels), None) for value, word in (self.values or {}).items()}
        if unknown := [value for value, label in found.items() if label is None]:
            raise BadValue(
                f"task.classifier: {classifier.folder} knows the labels {', '.join(labels[:10])}, and none is the attribute {shown(unknown[0])}.",
                hint="Call the values in task.values as the classifier calls them, or train one on texts with these values.",
            )
        return {value: label for value, label in found.items() if label is not None}

    def rests_on(self, rows: Sequence[Row]) -> list[str]:
        """Return how far control_accuracy can be trusted, or why there is none."""
        if not self.values:
            return []
        if self.classifier is None:
            return ["control_accuracy is left out: task.classifier names no artifact that says which attribute a text has."]
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            own = files.read_json(open_artifact(self.classifier, verify=False).folder / "report.json")["metrics"]["accuracy"]["after"]["value"]
            return [f"control_accuracy is what {self.classifier} says, which itself was right on {own:.1%} of its proof rows."]
        return [f"control_accuracy is what {self.classifier} says."]

    def metrics(self) -> tuple[Metric, ...]:
        """Return loss and perplexity per token; control, length, fluency, diversity and ends of the generated texts."""
        from weitiao.metrics.control import ControlAccuracy
        from weitiao.metrics.generated import AnswerLength, CorpusDistinct, LengthAccuracy, StopRate
        from weitiao.metrics.likelihood import FluencyPerplexity, Perplexity, TokenLoss

        control = [*([ControlAccuracy()] if self.classifier else []), *([LengthAccuracy(self.lengths)] if self.lengths else [])]
        return TokenLoss(), Perplexity(), *control, FluencyPerplexity(), CorpusDistinct(n=1), CorpusDistinct(n=2), StopRate(), AnswerLength()

    def wanted(self, row: Row) -> Any:
        """Return the text of the row itself, which was written to the same order."""
        return None if row.target is None else row.target[0]


def _beginning(text: str, count: int) -> str:
    """Return a text up to the end of its n-th word."""
    from weitiao.metrics.generated import word_ends

    ends = word_ends(text)
    return text if len(ends) < count else text[: ends[count - 1]] if count else ""
