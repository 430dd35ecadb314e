"""A question, its solution step by step, and the number that it comes to."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import PositiveInt, model_validator

from weitiao.answers.text_to_text import PLACE, TextToText
from weitiao.core.contracts import Answer, Generation, Metric, Prediction, references
from weitiao.core.rows import Record, Row

_CALCULATIONS = re.compile(r"<<[^<>\n]*>>")
"""What GSM8K writes for a calculator: <<48/2=24>>."""


class MathReasoning(TextToText):
    r"""Solve questions step by step: a table or JSON with a column of questions and one of worked answers, as GSM8K has them.

    The number that an answer comes to is compared with that of the reference: behind ####, in \boxed{}, behind "the answer is" or 答案是,
    or the last one. Units, currencies and thousands separators do not count.
    """

    max_new_tokens: PositiveInt = 256
    """Longest generated answer in tokens."""
    votes: PositiveInt = 1
    """Answers that are drawn for each question, of which the number that most of them come to is taken (self-consistency, arXiv:2203.11171):
    the first answer that says it. Needs a temperature, such as 0.7; predictions then hold the share of each number."""
    keep_calculations: bool = False
    """Whether calculator notes such as <<48/2=24>> in the reference answers are learnt, or left out."""

    keeps_features: ClassVar[bool] = True
    usual: ClassVar[tuple[tuple[str, str], ...]] = (
        ("question", "answer"),
        ("problem", "solution"),
        ("question", "solution"),
        ("problem", "answer"),
        ("query", "response"),
        ("instruction", "output"),
        ("prompt", "completion"),
        ("input", "output"),
    )

    @model_validator(mode="after")
    def _votes_differ(self) -> Self:
        if self.votes > 1 and self.temperature == 0:
            raise ValueError("votes needs a temperature, such as 0.7: the most probable answer is always the same")
        return self

    def instruction(self) -> str:
        """Return the prompt for a model that continues text."""
        return f"{PLACE}\nSolve this step by step. Write the final number behind ####."

    # ------------------------------------------------------------ rows

    def fields(self, record: Record) -> Mapping[str, Any]:
        """Return the columns of a record, numbers as text: an answer may be nothing but a number."""
        return {name: str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value for name, value in record.values.items()}

    def _answers(self, values: Mapping[str, Any], columns: Sequence[str], record: Record) -> str | tuple[str, ...]:
        found = super()._answers(values, columns, record)
        if self.keep_calculations:
            return found
        return _CALCULATIONS.sub("", found) if isinstance(found, str) else tuple(_CALCULATIONS.sub("", text) for text in found)

    def remarks(self, rows: Sequence[Row], split: str) -> Iterator[str]:
        """Yield how many reference answers name no number."""
        from weitiao.metrics.final_number import ExactNumber

        without = [row for row in rows if not ExactNumber().concerns(row.target)]
        if without:
            yield f"{len(without)} of the {len(rows)} rows of {split} have no number in their answer, such as {without[0].place}: exact_match leaves them out."

    # ------------------------------------------------------------ answers

    @property
    def generation(self) -> Generation:
        """How answers are generated."""
        return dataclasses.replace(super().generation, samples=self.votes)

    def all_answered(self, rows: Sequence[Row], predictions: Sequence[Prediction], answers: Sequence[Sequence[Answer]]) -> list[Prediction]:
        """Return the predictions with the answer that most samples of a row agree with: the first of these, or of equally many."""
        return [self._voted(prediction, said) for prediction, said in zip(predictions, answers, strict=True)]

    def _voted(self, prediction: Prediction, said: Sequence[Answer]) -> Prediction:
        from weitiao.metrics.final_number import final_number

        numbers = [final_number(answer.text) for answer in said]
        votes = Counter(number for number in numbers if number is not None)
        winner = votes.most_common(1)[0][0] if votes else None
        found = self.answered(prediction, said[numbers.index(winner)])
        shares = {number: count / len(said) for number, count in votes.most_common()}
        return dataclasses.replace(found, scores=shares, measures={**found.measures, "no_number": numbers.count(None) / len(said)})

    # ------------------------------------------------------------ scores

    def metrics(self) -> tuple[Metric, ...]:
        """Return loss and perplexity per token; exact match of the final number, answers without one, length and ends of the generated answers."""
        from weitiao.metrics.final_number import ExactNumber, WithoutNumber
        from weitiao.metrics.generated import AnswerLength, StopRate
        from weitiao.metrics.likelihood import Perplexity, TokenLoss

        return TokenLoss(), Perplexity(), ExactNumber(), WithoutNumber(), StopRate(), AnswerLength()

    def majority(self, rows: Sequence[Row]) -> Any:
        """Return the number that most training answers come to."""
        from weitiao.metrics.final_number import final_number

        numbers = Counter(number for row in rows if (number := final_number(references(row.target)[0])) is not None)
        return f"#### {numbers.most_common(1)[0][0]}" if numbers else None
