"""Questions with options of which one is right."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from weitiao.core.contracts import Batch, Features, Frame, Head, Layout, Metric, Objective, Outputs, Prediction, Source, Task, Tokens
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record, Row
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, MissingColumn, TooLong

if TYPE_CHECKING:
    import numpy
    from torch import Tensor
    from torch.nn import Module

_MEND = "Mend or remove the row, or set data.bad_rows=skip."
_OPTIONS, _ANSWERS = ("choices", "options", "endings"), ("answerKey", "answer", "label")
"""Columns that hold the options, and the right one, where the settings name none."""
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class MultipleChoice(Task):
    """Choose one of several options: CommonsenseQA, ARC, RACE, COPA, yes or no, with a head or by likelihood."""

    score: Literal["head", "likelihood"] = "head"
    """How options are scored: by a head with one output on question and option, or by how likely a language model finds the option
    after the question. The second needs a decoder; before training it is what the model knows already."""
    normalize: Literal["none", "tokens", "bytes"] = "bytes"
    """What an option's log-likelihood is divided by, so that long options are not put at a disadvantage."""
    prompt: str = "{question}\nAnswer: {option}"
    """What a likelihood is asked of: ends with {option}, which alone is scored."""
    question: str | list[str] = "question"
    """Column or key that holds the question; several are joined by line breaks, such as [passage, question]."""
    options: list[str] | None = None
    """Columns that hold one option each, such as [choice1, choice2]. Default: one column `choices`, `options` or `endings` holds all: a
    list of texts, a list of {label, text}, or {label: [...], text: [...]}, also inside `question` beside its `stem`."""
    same_options: list[str] | dict[str, str] | None = None
    """Options that every question has, such as ["no", "yes"], or by what the data call them, such as {"false": "no", "true": "yes"}."""
    pattern: str | None = None
    """Regular expression that takes question and options out of one text (the column data.text): groups named `question`, and an option
    each named by its label, such as (?P<A>.*)."""
    answer: str | None = None
    """Column or key that holds the right option: its label, its text, or its number. Default: `answerKey`, `answer` or `label`."""
    count_from: Literal[0, 1] = 0
    """Number of the first option, where the right one is given by number."""

    keeps_features: ClassVar[bool] = True
    joins_texts: ClassVar[bool] = True
    probes: ClassVar[bool] = True
    trivial_is: ClassVar[str] = "blind_choice"

    @field_validator("prompt")
    @classmethod
    def _prompt_asks(cls, value: str) -> str:
        if value.count("{question}") != 1 or not value.endswith("{option}") or value.count("{option}") != 1:
            raise ValueError("expected a text with {question} in it and {option} at its end, such as '{question}\\nAnswer: {option}'")
        return value

    @field_validator("pattern")
    @classmethod
    def _pattern_has_groups(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                groups = list(re.compile(value).groupindex)
            except re.error as error:
                raise ValueError(f"not a regular expression ({error})") from None
            if "question" not in groups:
                raise ValueError("expected a group (?P<question>...), and one for each option, such as (?P<A>...)")
        return value

    @model_validator(mode="after")
    def _one_way_to_options(self) -> Self:
        inside = self.pattern is not None and set(re.compile(self.pattern).groupindex) != {"question"}
        given = [name for name, is_given in (("options", self.options), ("same_options", self.same_options), ("pattern", inside)) if is_given]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} both say what the options are: set one")
        if self.pattern is not None and not given:
            raise ValueError("pattern has no group for an option, such as (?P<A>...): add them, or set same_options")
        return self

    # ------------------------------------------------------------ rows

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return question, options and names of the options as parts, and the name of the right one.

        An option's name is its label, or its text where it has none. Raises MissingColumn, or BadRow naming file, line and field.
        """
        asked, named = self._asked(record, data)
        for number, (_, text) in enumerate(named, 1):
            if not isinstance(text, str) or not text.strip():
                what = "is empty" if text is None or isinstance(text, str) else f"is {shown(text)}, expected text"
                raise BadRow(f"{record.place}: option {number} of {len(named)} {what}.", hint=_MEND)
        if len(named) < 2:
            raise BadRow(f"{record.place}: a question needs two options at least, got {len(named)}.", hint=_MEND)
        texts = [text.strip() for _, text in named]
        names = [text if name is None else name for (name, _), text in zip(named, texts, strict=True)]
        if twice := [name for name, times in Counter(names).items() if times > 1]:
            raise BadRow(f"{record.place}: two options are both {shown(twice[0])}, so the right one cannot be told.", hint=_MEND)
        target = names[self._right(record, data, names, texts)] if labelled else None
        listed = [text if name == text else f"{name}: {text}" for name, text in zip(names, texts, strict=True)]
        return Row(record.id, "\n".join([asked, *listed]), target, record.place, parts=(asked, *texts, *names))

    def _asked(self, record: Record, data: Source) -> tuple[str, list[tuple[str | None, Any]]]:
        """Return the question, and name and text of each option."""
        if self.pattern is not None:
            text = self._value(record, data.text if isinstance(data.text, str) else "text")
            found = re.fullmatch(self.pattern, text) if isinstance(text, str) else None
            if found is None:
                raise BadRow(
                    f"{record.place}: task.pattern does not fit the text {shown(text)}.", hint="Mend the pattern or the row, or set data.bad_rows=skip."
                )
            inside = {name: part or "" for name, part in found.groupdict().items()}
            asked = inside.pop("question").strip()
            if not asked:
                raise BadRow(f"{record.place}: the question is empty.", hint=_MEND)
            return asked, self._same() if self.same_options else list(inside.items())
        columns = [self.question] if isinstance(self.question, str) else self.question
        values = [self._value(record, column) for column in columns]
        stem = values[0] if len(values) == 1 and isinstance(values[0], Mapping) else {}
        values = [stem.get("stem")] if stem else values
        for column, value in zip(columns, values, strict=True):
            if not isinstance(value, str) or not value.strip():
                what = "is empty" if value is None or isinstance(value, str) else f"is {shown(value)}, expected text"
                raise BadRow(f"{record.place}: {column}: the question {what}.", hint=_MEND)
        asked = "\n".join(value.strip() for value in values)
        if self.same_options:
            return asked, self._same()
        if self.options:
            return asked, [(None, self._value(record, column)) for column in self.options]
        held = next((source[name] for source in (record.values, stem) for name in _OPTIONS if name in source), None)
        if held is None:
            raise MissingColumn(
                f"{record.place}: there is no column with options: {', '.join(_OPTIONS[:-1])} or {_OPTIONS[-1]}.",
                hint=f"The columns are: {', '.join(list(map(str, record.values))[:12])}. Set task.options to those that hold one option each.",
            )
        return asked, _listed(held, record.place)

    def _same(self) -> list[tuple[str | None, Any]]:
        return list(self.same_options.items()) if isinstance(self.same_options, dict) else [(None, text) for text in self.same_options or ()]

    def _value(self, record: Record, column: str) -> Any:
        if column in record.values:
            return record.values[column]
        known = list(map(str, record.values))
        if known == ["text"]:  # a bare text where rows are predicted
            example = '{"question": "...", "choices": ["...", "..."]}'
            raise BadRow(
                f"{record.place}: expected a question and its options, got a text only.", hint=f"Give a mapping with the recipe's columns, such as {example}."
            )
        raise MissingColumn(
            f"{record.place}: there is no column '{column}'.{did_you_mean(column, known)}",
            hint=f"The columns are: {', '.join(known[:12])}. Set task.question, task.options and task.answer, or task.pattern and data.text.",
        )

    def _right(self, record: Record, data: Source, names: Sequence[str], texts: Sequence[str]) -> int:
        """Return which option is right: by its label, its text, its number or its letter, whichever only one option fits."""
        known = data.label if isinstance(data.label, str) else next((name for name in _ANSWERS if name in record.values), _ANSWERS[1])
        column = self.answer or known
        value = self._value(record, column)
        if value is None or (isinstance(value, str) and not value.strip()) or not isinstance(value, str | int):
            what = "is empty" if value is None or isinstance(value, str) else f"is {shown(value)}, expected a label, a text or a number"
            raise BadRow(f"{record.place}: {column}: the answer {what}.", hint=_MEND)
        said = str(value).strip()
        ways = {n for listed in (names, texts) for n, name in enumerate(listed) if name == said or (isinstance(value, bool) and name.lower() == said.lower())}
        if list(names) == list(texts) and not isinstance(value, bool):  # labels come first where there are any
            if re.fullmatch("[0-9]+", said) and 0 <= int(said) - self.count_from < len(texts):
                ways.add(int(said) - self.count_from)
            if not ways and len(said) == 1 and said in _LETTERS[: len(texts)]:
                ways.add(_LETTERS.index(said))
        elif said in names:
            ways = {list(names).index(said)}
        if len(ways) == 1:
            return ways.pop()
        if ways:
            raise BadRow(f"{record.place}: {column}: {shown(value)} is the text of one option and the number of another.", hint="Give options labels. " + _MEND)
        counted = " If options are counted from 1, set task.count_from=1." if said == str(len(texts)) and not self.count_from else ""
        raise BadRow(f"{record.place}: {column}: the answer {shown(value)} is none of the options {', '.join(map(shown, names))}.", hint=_MEND + counted)

    def stratum(self, row: Row) -> str:
        """Return where the right option stands: the share of each place is kept the same in every split."""
        return str(_names(row).index(row.target))

    # ------------------------------------------------------------ features and batches

    @property
    def head(self) -> Head:
        """One output for question and option, or a language model."""
        return Head("AutoModelForSequenceClassification", {"num_labels": 1}) if self.score == "head" else Head("AutoModelForCausalLM", {})

    def encode(self, rows: Sequence[Row], tokens: Tokens) -> list[Features]:
        """Return one feature per row, with a line for question and option each.

        Where the longest line does not fit, the question is cut at its end and counted. Raises TooLong where an option
        leaves no room for it.
        """
        if self.score == "head":
            frame = tokens.frame(two=True)
            plain = iter(tokens.plain([part for row in rows for part in (row.parts[0], *_texts(row))]))
            return [self._framed(row, frame, next(plain), list(islice(plain, len(_texts(row))))) for row in rows]
        placed = iter(tokens.placed([self._stem(row) + text for row in rows for text in _texts(row)]))
        begin = [] if tokens.begin_id is None else [tokens.begin_id]
        return [self._prompted(row, begin, list(islice(placed, len(_texts(row))))) for row in rows]

    def _framed(self, row: Row, frame: Frame, asked: Sequence[int], ends: Sequence[Sequence[int]]) -> Features:
        """Return the feature of a row for a head. asked, ends: the tokens of the question and of each option."""
        from weitiao.models import options

        room = self.max_length - frame.size - max(map(len, ends))
        if room < 1:
            raise self._too_long(row)
        kept = asked[:room]
        ahead = [*frame.before, *kept, *frame.between]
        lines = [options.Line([*ahead, *end, *frame.after], len(ahead)) for end in ends]
        return options.feature(row.id, lines, self._index(row), len(asked) - len(kept), second=len(frame.before) + len(kept) + frame.second)

    def _stem(self, row: Row) -> str:
        return self.prompt.removesuffix("{option}").replace("{question}", row.parts[0])

    def _prompted(self, row: Row, begin: Sequence[int], placed: Sequence[tuple[list[int], list[tuple[int, int]]]]) -> Features:
        """Return the feature of a row whose options are scored by likelihood: a token that reaches into the option is the option's.

        placed: for each option the tokens of the whole prompt and their characters.
        """
        from weitiao.models import options

        excess = max(0, max(len(begin) + len(ids) for ids, _ in placed) - self.max_length)
        stem = self._stem(row).rstrip()
        asked = self.prompt.index("{question}") + len(row.parts[0])
        lines = []
        for text, (ids, places) in zip(_texts(row), placed, strict=True):
            start = next((n for n, (_, right) in enumerate(places) if right > len(stem)), len(ids))
            end = min(start, next((n for n, (_, right) in enumerate(places) if right > asked), start))
            if excess >= end or start == len(ids):
                raise self._too_long(row)
            units = {"none": 1, "tokens": len(ids) - start, "bytes": len(text.encode("utf-8", "surrogatepass"))}[self.normalize]
            lines.append(options.Line([*begin, *ids[: end - excess], *ids[end:]], len(begin) + start - excess, units))
        return options.feature(row.id, lines, self._index(row), excess, second=0)

    def _too_long(self, row: Row) -> TooLong:
        return TooLong(f"{row.place}: an option leaves no room for the question at task.max_length={self.max_length}.", hint="Raise task.max_length.")

    def _index(self, row: Row) -> int | None:
        return None if row.target is None else _names(row).index(row.target)

    def collate(self, items: Sequence[Features], layout: Layout) -> Batch:
        """Return a line for every option of every row, (lines, longest), and which option is right, (n,)."""
        from weitiao.models import options

        return options.batch(items, layout)

    # ------------------------------------------------------------ objective and predictions

    def objective(self) -> Objective:
        """Return cross-entropy over the options of each row."""
        from weitiao.models import options
        from weitiao.objectives.cross_entropy import CrossEntropy

        return CrossEntropy(options.by_head if self.score == "head" else options.by_likelihood)

    def predict(self, model: Module, batch: Batch) -> Outputs:
        """Return the score of each row's options, (options,)."""
        from weitiao.models import options
        from weitiao.objectives.cross_entropy import CrossEntropy

        score = options.by_head if self.score == "head" else options.by_likelihood
        scores = score(model, batch)
        loss = None if batch.targets is None else CrossEntropy(score).loss(scores, batch)
        return Outputs([row[:count].clone() for row, count in zip(scores.cpu(), batch.lines or (), strict=True)], loss)

    def decode(self, values: Sequence[Tensor], features: Sequence[Features], rows: Sequence[Row]) -> list[Prediction]:
        """Return the name of the best option of each row, with the probability of each."""
        said = {feature.row: scores for feature, scores in zip(features, values, strict=True)}
        found = []
        for row in rows:
            names, scores = _names(row), said[row.id]
            found.append(Prediction(row.id, names[int(scores.argmax())], dict(zip(names, scores.softmax(-1).tolist(), strict=True))))
        return found

    # ------------------------------------------------------------ scores

    def metrics(self) -> tuple[Metric, ...]:
        """Return accuracy."""
        from weitiao.metrics.accuracy import Accuracy

        return (Accuracy(),)

    def trivial(self, train: Sequence[Row], rows: Sequence[Row]) -> list[str]:
        """Return the longest option of each row, or the one that stands where most right ones stand, whichever is right more often on train."""
        places = Counter(_names(row).index(row.target) for row in train)
        place, hits = max(sorted(places.items()), key=lambda item: item[1])
        if sum(_longest(row) == row.target for row in train) > hits:
            return [_longest(row) for row in rows]
        return [(names := _names(row))[min(place, len(names) - 1)] for row in rows]

    def probed(self, states: Tensor, batch: Batch) -> list[Tensor]:
        """Return the mean last hidden state of each line of each row, (options, width)."""
        import torch

        from weitiao.models import options

        return options.of_each(torch.cat(super().probed(states, batch)), batch)

    def probe(self, states: Sequence[numpy.ndarray], features: Sequence[Features], unseen: Sequence[numpy.ndarray], *, seed: int) -> list[Tensor]:
        """Fit one linear scorer of options on frozen states, a softmax over the options of each row; return the scores of others."""
        import numpy as np
        import torch

        from weitiao.models import linear_head

        said = linear_head.chosen(states, np.array([feature.target for feature in features]), unseen)
        return [torch.from_numpy(scores).float() for scores in said]


def _texts(row: Row) -> tuple[str, ...]:
    """Return the options of a row."""
    return row.parts[1 : len(row.parts) // 2 + 1]


def _names(row: Row) -> tuple[str, ...]:
    """Return what the options of a row are called."""
    return row.parts[len(row.parts) // 2 + 1 :]


def _longest(row: Row) -> str:
    texts = _texts(row)
    return _names(row)[max(range(len(texts)), key=lambda n: len(texts[n]))]


def _listed(held: Any, place: str) -> list[tuple[str | None, Any]]:
    """Return name and text of each option, in any of the known forms. Raises BadRow."""
    if isinstance(held, Mapping) and isinstance(held.get("text"), list):
        texts, labels = held["text"], held.get("label") or [None] * len(held["text"])
        if not isinstance(labels, list) or len(labels) != len(texts):
            raise BadRow(f"{place}: expected as many labels as texts of options, got {shown(held)}.", hint=_MEND)
        return [(None if label is None else str(label).strip(), text) for label, text in zip(labels, texts, strict=True)]
    if isinstance(held, list) and all(isinstance(option, Mapping) for option in held):
        return [(None if option.get("label") is None else str(option["label"]).strip(), option.get("text")) for option in held]
    if isinstance(held, list):
        return [(None, option) for option in held]
    if isinstance(held, Mapping):
        return [(str(label), text) for label, text in held.items()]
    raise BadRow(f"{place}: expected a list of options, got {shown(held)}.", hint=_MEND)
