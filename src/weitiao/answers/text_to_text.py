"""One text in, one text out: of a model that continues an instruction, or of an encoder-decoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from weitiao.answers.generating import Generating, naming
from weitiao.core.contracts import IGNORED, Features, Generation, Head, Source, Tokens
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record, Row, Turn
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, BadValue, MissingColumn
from weitiao.labels.reading import MEND

if TYPE_CHECKING:
    from weitiao.models.dialogue import Encoded

PLACE = "{text}"
"""What stands in a prompt for the text."""


class TextToText(Generating):
    """Learn to turn a text into another, and generate it.

    A model that continues text is asked in a prompt, in its chat template; an encoder-decoder (T5, BART, Marian) reads the text and
    its decoder answers. Of several reference answers the first is learnt, and the generated one is compared with all.
    """

    max_length: int = Field(default=512, ge=16)
    """Longest row in tokens: prompt, text and answer together, or each of text and answer in an encoder-decoder. Of a longer row the text is
    cut at its end, and counted; the prompt and the answer are never cut, and a row for whose text no token is left is left out."""
    prompt: str | None = None
    """What the model is asked, with {text} where the text goes. Default: an instruction for a model that continues text, and nothing
    but the text for an encoder-decoder; T5 knows prompts such as "translate English to German: {text}" and "summarize: {text}"."""
    template: str = "auto"
    """Chat template: auto (the model's own, else one that its vocabulary knows, else plain), own, plain, chatml, gemma, or a .jinja file."""
    max_new_tokens: PositiveInt = 128
    """Longest generated answer in tokens."""
    num_beams: PositiveInt = 1
    """Answers that are followed side by side, of which the most probable is taken; 1 goes on from the most probable token. Slower, often better."""
    generate_rows: NonNegativeInt = 64
    """Proof rows for which an answer is generated, before and after, at most: the scores of generated texts rest on these."""

    takes: ClassVar[str] = "prompts"
    keeps_blanks: ClassVar[bool] = False
    """Whether blanks around text and answer belong to them, as they do in code."""
    shortens: ClassVar[bool] = True
    """Whether a text that is too long is cut at its end; else its row is left out."""
    usual: ClassVar[tuple[tuple[str, str], ...]] = (("source", "target"), ("input", "output"))
    """What the columns of text and answer are usually called, in the order in which they are looked for."""

    @field_validator("prompt")
    @classmethod
    def _prompt_has_a_place(cls, value: str | None) -> str | None:
        if value is not None and value.count(PLACE) != 1:
            raise ValueError(f"expected {PLACE} once, where the text goes")
        return value

    @model_validator(mode="after")
    def _beams_or_chance(self) -> Self:
        if self.num_beams > 1 and self.temperature > 0:
            raise ValueError("num_beams and temperature exclude each other: set one")
        return self

    def instruction(self) -> str:
        """Return the prompt for a model that continues text."""
        raise NotImplementedError

    # ------------------------------------------------------------ rows

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return text and answers. Raises MissingColumn, or BadRow naming file, line and field."""
        values = self.fields(record)
        column, answer = self._columns(values, record, data, labelled=labelled)
        text = self._text(values[column], f"{record.place}: {column}")
        if not text.strip():
            raise BadRow(f"{record.place}: {column}: the text is empty.", hint=MEND)
        return Row(record.id, text, self._answers(values, answer, record) if labelled else None, record.place)

    def fields(self, record: Record) -> Mapping[str, Any]:
        """Return the columns of a record."""
        return record.values

    def _columns(self, values: Mapping[str, Any], record: Record, data: Source, *, labelled: bool) -> tuple[str, Sequence[str]]:
        """Return the column of the text and those of the answers. Raises BadValue, MissingColumn."""
        text, answers = data.text, [data.label] if isinstance(data.label, str) else data.label
        if isinstance(text, list):
            if len(text) != 1:
                raise BadValue(f"data.text: expected one column, got {text}.", hint="Name the column of the text.")
            text = text[0]
        known = [(one, found) for one, other in self.usual if (text or one) in values and ((found := _numbered(values, answers or [other])) or not labelled)]
        if known:
            return text or known[0][0], known[0][1]
        if not labelled and text is None and isinstance(values.get("text"), str):  # what is typed, or a line of a text file
            return "text", ()
        names = list(map(str, values))
        hint = f"The columns are: {', '.join(names[:12])}. Name that of the text in data.text, that of the answer in data.label."
        for role, column in (("text", text), ("answer", answers[0] if answers and not _numbered(values, answers) else None)):
            if column is not None and column not in values:
                raise MissingColumn(f"{record.place}: there is no column '{column}' for the {role}.{did_you_mean(column, names)}", hint=hint)
        usual = " and ".join(self.usual[0]) if labelled else self.usual[0][0]
        raise MissingColumn(f"{record.place}: expected columns of text and answer, such as {usual}; the columns are: {', '.join(names[:12])}.", hint=hint)

    def _answers(self, values: Mapping[str, Any], columns: Sequence[str], record: Record) -> str | tuple[str, ...]:
        """Return the answer, or several in the order of their columns; empty ones beside others are passed over."""
        found: list[str] = []
        for column in columns:
            value = values[column]
            parts = value if isinstance(value, list) else [value]
            found += [self._text(part, f"{record.place}: {column}") for part in parts if part is not None]
        found = [answer for answer in found if answer.strip()]
        if not found:
            raise BadRow(f"{record.place}: {', '.join(columns)}: the answer is empty.", hint=MEND)
        return found[0] if len(found) == 1 else tuple(found)

    def _text(self, value: Any, where: str) -> str:
        """Return a text; the sentences of a list are put together. Raises BadRow."""
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            return " ".join(part.strip() for part in value).strip()
        if not isinstance(value, str):
            raise BadRow(f"{where}: {'the text is missing' if value is None else f'expected text, got {shown(value)}'}.", hint=MEND)
        return value if self.keeps_blanks else value.strip()

    # ------------------------------------------------------------ model and features

    @property
    def head(self) -> Head:
        """An encoder-decoder's language model, or one that continues text."""
        return Head("AutoModelForSeq2SeqLM", {}, instead="AutoModelForCausalLM")

    def settled(self, tokens: Tokens) -> Self:
        """Return a copy with the prompt and the template in use."""
        if tokens.decoder_start is not None:
            return self.revised(prompt=self.prompt or PLACE)
        return self.revised(prompt=self.prompt or self.instruction(), template=tokens.use_template(self.template))

    def encode(self, rows: Sequence[Row], tokens: Tokens) -> list[Features]:
        """Return one feature per row whose answer fits; `cut` counts the tokens of its text that do not. Raises BadRow where the template fails."""
        labelled = [(row, row.target if isinstance(row.target, str) else row.target[0]) for row in rows if row.target is not None]
        make = self._in_one_line if tokens.decoder_start is None else self._for_decoder
        return [feature for feature in make(labelled, tokens) if feature is not None]

    def _in_one_line(self, rows: Sequence[tuple[Row, str]], tokens: Tokens) -> list[Features | None]:
        found: list[Features | None] = []
        for row, answer in rows:
            with naming(row):
                whole, cut = self.line(row.text, answer, tokens), 0
                if len(whole) > self.max_length:
                    short = self._shortened(row.text, lambda text, answer=answer: len(self.line(text, answer, tokens)), self.max_length, tokens)  # type: ignore[misc]
                    if short is None:
                        found.append(None)
                        continue
                    whole, cut = self.line(short[0], answer, tokens), short[1]
                found.append(Features(row.id, whole.ids, whole.targets, cut))
        return found

    def line(self, text: str, answer: str, tokens: Tokens) -> Encoded:
        """Return the tokens of a text in its prompt and of its answer, which is learnt, for a model that continues text."""
        from weitiao.models import dialogue

        return dialogue.encode([self._asked(text), Turn("assistant", answer)], tokens)

    def opening(self, text: str, tokens: Tokens) -> list[int]:
        """Return the tokens that the answer to a text follows, for a model that continues text."""
        from weitiao.models import dialogue

        return dialogue.prompt([self._asked(text)], tokens)

    def _for_decoder(self, rows: Sequence[tuple[Row, str]], tokens: Tokens) -> list[Features | None]:
        found: list[Features | None] = []
        texts = self._read_by_encoder([row.text for row, _ in rows], self.max_length, tokens)
        for (row, _), text, answer in zip(rows, texts, tokens.answers([answer for _, answer in rows]), strict=True):
            if text is None or len(answer) > self.max_length:
                found.append(None)
                continue
            ids, cut = text
            found.append(Features(row.id, [*ids, *answer], [*[IGNORED] * len(ids), *answer], cut, second=len(ids)))
        return found

    def _read_by_encoder(self, texts: Sequence[str], most: int, tokens: Tokens) -> list[tuple[list[int], int] | None]:
        """Return the ids of each text in its prompt, and how many tokens of the text were cut; None where no room is left for it."""
        whole = 10**9  # nothing is cut by the tokenizer, which would cut the prompt too
        found: list[tuple[list[int], int] | None] = []
        for text, (ids, _) in zip(texts, tokens.encode([self._said(text) for text in texts], whole), strict=True):
            if len(ids) <= most:
                found.append((ids, 0))
                continue
            short = self._shortened(text, lambda part: len(tokens.encode([self._said(part)], whole)[0][0]), most, tokens)
            found.append(None if short is None else (tokens.encode([self._said(short[0])], whole)[0][0], short[1]))
        return found

    def _shortened(self, text: str, length: Callable[[str], int], most: int, tokens: Tokens) -> tuple[str, int] | None:
        """Return as much of the beginning of a text that is too long as fits, and how many of its tokens were cut; None where not one fits.

        length: tokens of the whole row with such a text.
        """
        if not self.shortens:
            return None
        part, over = text, length(text) - most
        ids = tokens.plain([text])[0]
        kept = len(ids)
        while over > 0:
            kept -= over
            if kept < 1 or not (part := tokens.decode(ids[:kept]).rstrip("\ufffd").strip()):
                return None
            over = length(part) - most
        return part, len(ids) - kept

    def _said(self, text: str) -> str:
        return (self.prompt or self.instruction()).replace(PLACE, text)

    def _asked(self, text: str) -> Turn:
        return Turn("user", self._said(text))

    # ------------------------------------------------------------ answers

    @property
    def generation(self) -> Generation:
        """How answers are generated."""
        return dataclasses.replace(super().generation, num_beams=self.num_beams, keeps_blanks=self.keeps_blanks)

    def prompts(self, rows: Sequence[Row], tokens: Tokens) -> list[list[int]]:
        """Return the ids that an answer follows, or those that the encoder reads; a text too long for max_length or the model is cut at its end."""
        most = self.max_length
        if tokens.decoder_start is not None:
            return [ids[0] if ids else [] for ids in self._read_by_encoder([row.text for row in rows], most, tokens)]
        if tokens.longest is not None:
            most = min(most, max(tokens.longest - self.max_new_tokens, tokens.longest // 2))
        found = []
        for row in rows:
            with naming(row):
                ids = self.opening(row.text, tokens)
                if len(ids) > most and (short := self._shortened(row.text, lambda text: len(self.opening(text, tokens)), most, tokens)) is not None:
                    ids = self.opening(short[0], tokens)
                found.append(ids[-most:])
        return found


def _numbered(values: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """Return those of the columns that are there; of a single one that is not, those with its name and a number behind it (summary1, summary2 ...)."""
    found = [column for column in columns if column in values]
    if found or len(columns) > 1:
        return found
    numbers = (f"{columns[0]}{n}" for n in range(1, len(values) + 1))
    return [name for name in numbers if name in values]
