"""Instructions and conversations: the assistant's answers are learnt."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator

from weitiao.answers import conversations
from weitiao.answers.conversations import CONTEXT, KNOWLEDGE, QUESTION
from weitiao.answers.generating import Generating, naming
from weitiao.core.contracts import Features, Head, Metric, Prediction, Source, Tokens
from weitiao.core.rows import Record, Row, Turn
from weitiao.errors import TooLong

if TYPE_CHECKING:
    from torch import Tensor


class Chat(Generating):
    """Answer instructions and hold conversations: alpaca, ShareGPT, messages, or a column of prompts and one of answers.

    A conversation may hold calls of functions and knowledge to answer from (KdConv); questions about a text are answered in words.
    """

    max_length: int = Field(default=1024, ge=16)
    """Longest conversation in tokens, template included."""
    too_long: Literal["split", "drop", "error"] = "split"
    """What to do with a longer conversation: split it between exchanges (an exchange that does not fit by itself is left out and
    counted; an answer is never cut), leave it out and count it, or stop and name it."""
    train_on: Literal["assistant", "all"] = "assistant"
    """Which turns are learnt: the assistant's answers with their end token, or everything."""
    system: str | None = None
    """System prompt for conversations that bring none. Default: the template's own."""
    template: str = "auto"
    """Chat template: auto (the model's own, else one that its vocabulary knows, else plain), own, plain, chatml, gemma, or a .jinja file."""

    answer: Literal["last", "call", "knowledge"] = "last"
    """Which answer of a conversation is generated and compared: the last one, the last call of functions, or the last one that knowledge is
    given for; the last one in conversations without such. Which answers are learnt does not depend on it."""
    knowledge: Literal["answer", "dialogue", "none"] = "answer"
    """Where a dialogue's knowledge is told: what an answer rests on with its question (`attrs` of KdConv's messages, or `knowledge` of a message:
    texts or triples), all of it in the system prompt, or nowhere. Knowledge of the whole conversation is told in the system prompt."""
    knowledge_prompt: str = f"Knowledge:\n{KNOWLEDGE}"
    """How knowledge is told: {knowledge} stands for it, a line for each text or triple (subject | relation | object)."""
    question_prompt: str = f"{CONTEXT}\n\n{QUESTION}"
    """How a question about a text is asked, in rows with question, context and answers: {context} and {question} stand for them."""
    no_answer: str = "no answer"
    """What is said to a question whose answer does not stand in its context."""
    units: Literal["auto", "words", "characters"] = "auto"
    """What answers about a text are compared by: words, as SQuAD does; characters, as CMRC 2018 does for Chinese; or what most are written in."""

    keeps_features: ClassVar[bool] = True
    takes: ClassVar[str] = "conversations"

    @field_validator("knowledge_prompt", "question_prompt")
    @classmethod
    def _prompts_have_places(cls, value: str, info: ValidationInfo) -> str:
        places = (KNOWLEDGE,) if info.field_name == "knowledge_prompt" else (CONTEXT, QUESTION)
        if any(value.count(place) != 1 for place in places):
            raise ValueError(f"expected {' and '.join(places)} once{' each' * (len(places) > 1)}")
        return value

    # ------------------------------------------------------------ rows

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return the conversation of a record in any of the known formats. Raises MissingColumn, or BadRow naming file, line and field."""
        how = conversations.Wording(self.knowledge, self.knowledge_prompt, self.question_prompt, self.no_answer)
        told = conversations.told(record, data, how, labelled=labelled)
        turns, first = self._with_system(told.turns)
        while labelled and turns and turns[-1].role != "assistant":
            turns = turns[:-1]  # a last question without an answer teaches nothing
        if not labelled and turns and turns[-1].role == "assistant":
            turns = turns[:-1]  # the reference answer: what is to be predicted
        conversations.check_order(turns, record.place, labelled=labelled, first=first)
        target = (told.references or self._reference(turns, told.grounded)) if labelled else None
        row = Row(record.id, "", target, record.place, tuple(turns))
        asked = row.asked
        text = asked[-1].content if len(asked) == 1 else "\n".join(f"{turn.role}: {turn.text}" for turn in asked)
        return dataclasses.replace(row, text=text)

    def _with_system(self, turns: list[Turn]) -> tuple[list[Turn], int]:
        """Return the turns with the task's system prompt where they bring none, and the number of the first one as the record counts."""
        if not self.system:
            return turns, 1
        if not turns or turns[0].role != "system":
            return [Turn("system", self.system), *turns], 0
        return [Turn("system", turns[0].content or self.system, tools=turns[0].tools), *turns[1:]], 1

    def _reference(self, turns: Sequence[Turn], grounded: str | None) -> str:
        """Return the answer that is compared with what is generated."""
        if self.answer == "knowledge" and grounded is not None:
            return grounded
        called = [turn for turn in turns if turn.calls] if self.answer == "call" else []
        return (called or turns)[-1].text

    def fitted(self, rows: Sequence[Row]) -> Self:
        """Return a copy that knows what answers about a text are compared by."""
        from weitiao.metrics.answer import is_chinese

        if self.units != "auto":
            return self
        return self.revised(units="characters" if is_chinese([row.target[0] for row in rows if isinstance(row.target, tuple)]) else "words")

    # ------------------------------------------------------------ features

    def settled(self, tokens: Tokens) -> Self:
        """Return a copy with the name of the template in use; the tokenizer keeps the template itself."""
        return self.revised(template=tokens.use_template(self.template))

    @property
    def head(self) -> Head:
        """A causal language model."""
        return Head("AutoModelForCausalLM", {})

    def encode(self, rows: Sequence[Row], tokens: Tokens) -> list[Features]:
        """Return one feature per piece of a conversation; `cut` counts the tokens of exchanges that fit nowhere.

        Raises TooLong where the settings say so, BadRow where the template fails.
        """
        from weitiao.models import dialogue

        found = []
        for row in rows:
            if row.target is None:
                continue
            with naming(row):
                parts, lost = dialogue.pieces(row.turns, tokens, self.max_length, every_turn=self.train_on == "all")
            if self.too_long == "error" and (lost or len(parts) > 1):
                raise TooLong(
                    f"{row.place}: the conversation has {sum(map(len, parts)) + lost} tokens, task.max_length is {self.max_length}.",
                    hint="Raise task.max_length, or set task.too_long to split or drop.",
                )
            if self.too_long == "drop" and (lost or len(parts) > 1):
                continue
            for n, part in enumerate(parts):
                found.append(Features(row.id, part.ids, part.targets, lost if n == 0 else 0))
        return found

    def prompts(self, rows: Sequence[Row], tokens: Tokens) -> list[list[int]]:
        """Return the ids of everything before the answer; of a conversation too long for the model the oldest exchanges go first."""
        from weitiao.models import dialogue

        most = None if tokens.longest is None else max(tokens.longest - self.max_new_tokens, tokens.longest // 2)
        found = []
        for row in rows:
            with naming(row):
                found.append(dialogue.prompt(row.asked, tokens, most=most))
        return found

    # ------------------------------------------------------------ scores

    def decode(self, values: Tensor, features: Sequence[Features], rows: Sequence[Row]) -> list[Prediction]:
        """Return one prediction per row with the measures of its pieces added up, and whether there were `functions` to call."""
        found = super().decode(values, features, rows)
        return [
            dataclasses.replace(prediction, measures={**prediction.measures, "functions": 1.0}) if row.turns and row.turns[0].tools else prediction
            for prediction, row in zip(found, rows, strict=True)
        ]

    def metrics(self) -> tuple[Metric, ...]:
        """Return loss and perplexity per learnt token, and scores of the generated answers.

        Answers to questions about a text, and calls of functions, are right or wrong; of others it is counted what they share with the reference.
        """
        from weitiao.metrics.answer import AnswerF1, ExactMatch
        from weitiao.metrics.calls import ToolArgumentsMatch, ToolNameAccuracy, ToolUseAccuracy
        from weitiao.metrics.generated import AnswerLength, Distinct, RougeL, StopRate
        from weitiao.metrics.likelihood import Perplexity, TokenLoss

        units: Literal["words", "characters"] = "characters" if self.units == "characters" else "words"
        answers = ExactMatch(units, needs_answer=True), AnswerF1(units, needs_answer=True)
        calls = ToolUseAccuracy(), ToolNameAccuracy(), ToolArgumentsMatch()
        return TokenLoss(), Perplexity(), *answers, *calls, RougeL(), StopRate(), Distinct(), AnswerLength()
