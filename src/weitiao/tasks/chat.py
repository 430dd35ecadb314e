"""Instructions and conversations: the assistant's answers are learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from weitiao.answers.generating import Generating
from weitiao.core.contracts import Features, Head, Metric, Source, Tokens
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record, Row, Turn
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, MissingColumn, ModelError, TooLong

_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter", "instruction"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function", "function_response", "tool_response", "ipython"), "tool"),
}
"""What formats call a role -> what templates call it."""
_PAIRS = (("prompt", "completion"), ("prompt", "response"), ("question", "answer"), ("query", "response"), ("input", "output"))
"""Columns of one question and one answer."""
_MEND = "Mend or remove the row, or set data.bad_rows=skip."


class Chat(Generating):
    """Answer instructions and hold conversations: alpaca, ShareGPT, messages, or a column of prompts and one of answers."""

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

    keeps_features: ClassVar[bool] = True
    takes: ClassVar[str] = "conversations"

    # ------------------------------------------------------------ rows

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        """Return the conversation of a record in any of the known formats. Raises MissingColumn, or BadRow naming file, line and field."""
        turns = self._turns(record, data, labelled=labelled)
        added = bool(self.system) and (not turns or turns[0].role != "system")
        if added:
            turns = [Turn("system", self.system or ""), *turns]
        while labelled and turns and turns[-1].role != "assistant":
            turns = turns[:-1]  # a last question without an answer teaches nothing
        if not labelled and turns and turns[-1].role == "assistant":
            turns = turns[:-1]  # the reference answer: what is to be predicted
        _check_order(turns, record, labelled=labelled, added=added)
        asked = turns[:-1] if labelled else turns
        text = asked[-1].content if len(asked) == 1 else "\n".join(f"{turn.role}: {turn.content}" for turn in asked)
        return Row(record.id, text, turns[-1].content if labelled else None, record.place, tuple(turns))

    def _turns(self, record: Record, data: Source, *, labelled: bool) -> list[Turn]:
        values = record.values
        if data.text is not None or data.label is not None:
            prompt = [data.text] if isinstance(data.text, str) else data.text or ["prompt"]
            answer = data.label if isinstance(data.label, str) else "completion"
            return _pair(record, prompt, answer, labelled=labelled)
        if isinstance(values.get("messages"), list):
            return _listed(record, "messages", values)
        if isinstance(values.get("conversations"), list):
            return _listed(record, "conversations", values)
        if "instruction" in values:
            return _alpaca(record, labelled=labelled)
        for question, answer in _PAIRS:
            if question in values and (answer in values or not labelled):
                return _pair(record, [question], answer, labelled=labelled)
        if not labelled and isinstance(values.get("text"), str):  # a bare text is a question
            return [Turn("user", _text(values["text"], record.place, "user"))]
        known = ["messages", "conversations", "instruction", *dict.fromkeys(question for question, _ in _PAIRS)]
        near = next((said for name in map(str, values) if (said := did_you_mean(name, known))), "")
        raise MissingColumn(
            f"{record.place}: no conversation is found in the columns {', '.join(map(str, list(values)[:8]))}.{near}",
            hint="Expected messages (role, content), conversations (from, value), instruction and output, or prompt and completion; "
            "or name the columns in data.text and data.label.",
        )

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
            try:
                parts, lost = dialogue.pieces(row.turns, tokens, self.max_length, every_turn=self.train_on == "all")
            except ModelError as error:
                raise BadRow(f"{row.place}: {error.message}", hint=error.hint) from None
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
            turns = row.turns if row.target is None else row.turns[:-1]
            try:
                found.append(dialogue.prompt(turns, tokens, most=most))
            except ModelError as error:
                raise BadRow(f"{row.place}: {error.message}", hint=error.hint) from None
        return found

    # ------------------------------------------------------------ scores

    def metrics(self) -> tuple[Metric, ...]:
        """Return loss and perplexity per learnt token, and what counting says of the generated answers."""
        from weitiao.metrics.generated import AnswerLength, Distinct, RougeL, StopRate
        from weitiao.metrics.likelihood import Perplexity, TokenLoss

        return TokenLoss(), Perplexity(), RougeL(), StopRate(), Distinct(), AnswerLength()


# ------------------------------------------------------------ formats


def _listed(record: Record, key: str, values: Mapping[str, Any]) -> list[Turn]:
    turns = []
    for number, message in enumerate(values[key], 1):
        where = f"{record.place}: {key}[{number}]"
        if not isinstance(message, Mapping):
            raise BadRow(f"{where}: expected an object with role and content, got {shown(message)}.", hint=_MEND)
        said = message.get("role", message.get("from"))
        role = _ROLES.get(str(said).strip().lower())
        if role is None:
            what = "the role is missing" if said is None else f"the role is {shown(said)}"
            raise BadRow(f"{where}: {what}, expected system, user, assistant or tool (or system, human, gpt, observation).", hint=_MEND)
        turns.append(Turn(role, _text(message.get("content", message.get("value")), where, role)))
    opening = [str(values[name]).strip() for name in ("system", "system_prompt") if values.get(name)]
    if values.get("tools"):
        opening.append(f"Tools: {values['tools'] if isinstance(values['tools'], str) else shown(values['tools'])}")
    if not opening:
        return turns
    if turns and turns[0].role == "system":
        return [Turn("system", "\n\n".join([turns[0].content, *opening[-1:]])), *turns[1:]] if values.get("tools") else turns
    return [Turn("system", "\n\n".join(opening)), *turns]


def _alpaca(record: Record, *, labelled: bool) -> list[Turn]:
    values, turns = record.values, []
    if isinstance(values.get("system"), str) and values["system"].strip():
        turns.append(Turn("system", values["system"]))
    history = values.get("history") or []
    if not isinstance(history, list) or any(not isinstance(pair, list | tuple) or len(pair) != 2 for pair in history):
        raise BadRow(f"{record.place}: history: expected pairs of question and answer, got {shown(history)}.", hint=_MEND)
    for question, answer in history:
        turns += [
            Turn("user", _text(question, f"{record.place}: history", "user")),
            Turn("assistant", _text(answer, f"{record.place}: history", "assistant")),
        ]
    asked = _text(values["instruction"], f"{record.place}: instruction", "user")
    more = values.get("input")
    if more is not None and not isinstance(more, str):
        raise BadRow(f"{record.place}: input: expected text, got {shown(more)}.", hint=_MEND)
    turns.append(Turn("user", f"{asked}\n{more}" if more and more.strip() else asked))
    if labelled:
        if "output" not in values:
            raise MissingColumn(
                f"{record.place}: there is no key 'output' beside instruction.{did_you_mean('output', map(str, values))}",
                hint=f"The keys are: {', '.join(map(str, values))}.",
            )
        turns.append(Turn("assistant", _text(values["output"], f"{record.place}: output", "assistant")))
    return turns


def _pair(record: Record, question: Sequence[str], answer: str, *, labelled: bool) -> list[Turn]:
    parts = []
    for column in [*question, *([answer] if labelled else [])]:
        if column not in record.values:
            known = list(map(str, record.values))
            raise MissingColumn(
                f"{record.place}: there is no column '{column}'.{did_you_mean(column, known)}",
                hint=f"The columns are: {', '.join(known[:12])}. Set data.text (the prompt) and data.label (the answer) to two of them.",
            )
        parts.append(_text(record.values[column], f"{record.place}: {column}", "assistant" if column == answer else "user"))
    asked = Turn("user", "\n".join(parts[: len(question)]))
    return [asked, Turn("assistant", parts[-1])] if labelled else [asked]


def _text(value: Any, where: str, role: str) -> str:
    if not isinstance(value, str):
        raise BadRow(f"{where}: {'the text is missing' if value is None else f'expected text, got {shown(value)}'}.", hint=_MEND)
    if not value.strip() and role in ("assistant", "user"):
        raise BadRow(f"{where}: the {'answer' if role == 'assistant' else 'message'} is empty.", hint=_MEND)
    return value


def _check_order(turns: Sequence[Turn], record: Record, *, labelled: bool, added: bool) -> None:
    """Raise BadRow where turns do not alternate: an optional system turn, then question and answer in turn; tools answer the assistant.

    added: whether the first turn is the task's and not the row's.
    """
    if labelled and not any(turn.role == "assistant" for turn in turns):
        raise BadRow(f"{record.place}: the conversation has no assistant turn, so there is nothing to learn.", hint=_MEND)
    if not turns or not any(turn.role == "user" for turn in turns):
        raise BadRow(f"{record.place}: the conversation has no user turn.", hint=_MEND)
    before = ""
    for number, turn in enumerate(turns, 0 if added else 1):
        allowed = {"": ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user", "tool"), "tool": ("assistant", "tool")}[before]
        if turn.role not in allowed:
            after = f"after {before}" if before else "first"
            raise BadRow(
                f"{record.place}: roles out of order: turn {number} is {turn.role}, {after}; expected {' or '.join(allowed)}.",
                hint="Questions and answers take turns. " + _MEND,
            )
        before = turn.role
