"""Conversations as data sets write them, read as turns: messages, ShareGPT, alpaca, two columns, dialogues with knowledge, questions about a text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from weitiao.answers.places import filled
from weitiao.core.calls import Call, as_json, call_in, definitions_in
from weitiao.core.contracts import Source
from weitiao.core.registry import did_you_mean
from weitiao.core.rows import Record, Turn
from weitiao.core.textfile import shown
from weitiao.errors import BadRow, MissingColumn
from weitiao.labels.answers import answers_in
from weitiao.labels.reading import MEND

KNOWLEDGE, QUESTION, CONTEXT = "{knowledge}", "{question}", "{context}"
"""What stands in prompts for what is told and asked."""
_CALLS = ("function_call", "tool_call")
_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter", "instruction"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", *_CALLS), "assistant"),
    **dict.fromkeys(("tool", "observation", "function", "function_response", "tool_response", "ipython"), "tool"),
}
"""What formats call a role -> what templates call it."""
_PAIRS = (("prompt", "completion"), ("prompt", "response"), ("question", "answer"), ("query", "response"), ("input", "output"))
"""Columns of one question and one answer."""


@dataclass(frozen=True, slots=True)
class Wording:
    """How what a record gives besides the conversation is told."""

    knowledge: Literal["answer", "dialogue", "none"]
    knowledge_prompt: str
    question_prompt: str
    no_answer: str


@dataclass(frozen=True, slots=True)
class Told:
    """What a record says."""

    turns: list[Turn]
    references: tuple[str, ...] | None = None
    """Answers to a question about a text, of which any is right."""
    grounded: str | None = None
    """The last answer that knowledge is given for."""


def told(record: Record, data: Source, how: Wording, *, labelled: bool) -> Told:
    """Return the conversation of a record in any of the known formats. Raises MissingColumn, or BadRow naming file, line and field."""
    values = record.values
    if data.text is not None or data.label is not None:
        prompt = [data.text] if isinstance(data.text, str) else data.text or ["prompt"]
        answer = data.label if isinstance(data.label, str) else "completion"
        return Told(_pair(record, prompt, answer, labelled=labelled))
    for key in ("messages", "conversations"):
        if isinstance(values.get(key), list):
            return _listed(record, key, how)
    if "instruction" in values:
        return Told(_alpaca(record, labelled=labelled))
    if "question" in values and "context" in values:
        return _about_a_text(record, how, labelled=labelled)
    for question, answer in _PAIRS:
        if question in values and (answer in values or not labelled):
            return Told(_pair(record, [question], answer, labelled=labelled))
    if not labelled and isinstance(values.get("text"), str):  # a bare text is a question
        return Told([Turn("user", _text(values["text"], record.place, "user"))])
    known = ["messages", "conversations", "instruction", *dict.fromkeys(question for question, _ in _PAIRS)]
    near = next((said for name in map(str, values) if (said := did_you_mean(name, known))), "")
    raise MissingColumn(
        f"{record.place}: no conversation is found in the columns {', '.join(map(str, list(values)[:8]))}.{near}",
        hint="Expected messages (role, content), conversations (from, value), instruction and output, question and context, or prompt and completion; "
        "or name the columns in data.text and data.label.",
    )


# ------------------------------------------------------------ lists of messages


def _listed(record: Record, key: str, how: Wording) -> Told:
    values, messages = record.values, record.values[key]
    if messages and all(isinstance(message, Mapping) and "message" in message and not message.keys() & {"role", "from"} for message in messages):
        two = ("user", "assistant")  # who take turns
        messages = [{**message, "role": two[n % 2], "content": message["message"]} for n, message in enumerate(messages)]
    turns: list[Turn] = []
    given: list[list[str]] = []
    grounded = None
    for number, message in enumerate(messages, 1):
        where = f"{record.place}: {key}[{number}]"
        if not isinstance(message, Mapping):
            raise BadRow(f"{where}: expected an object with role and content, got {shown(message)}.", hint=MEND)
        said = str(message.get("role", message.get("from", ""))).strip().lower()
        role = _ROLES.get(said)
        if role is None:
            what = f"the role is {shown(message.get('role', message.get('from')))}" if said else "the role is missing"
            raise BadRow(f"{where}: {what}, expected system, user, assistant or tool (or system, human, gpt, observation).", hint=MEND)
        turn = _turn(message, role, said, where)
        given.append(_knowledge(message.get("knowledge", message.get("attrs") if role == "assistant" else None), where, how))
        if turn.calls and turns and turns[-1].role == "assistant":  # what is said before a call, and calls that are messages of their own
            last = given.pop()
            given[-1] = [*given[-1], *last]
            earlier = turns.pop()
            both = [*json.loads(earlier.calls or "[]"), *json.loads(turn.calls)]
            turn = Turn("assistant", "\n".join(filter(None, (earlier.content, turn.content))), calls=json.dumps(both, ensure_ascii=False))
        turns.append(turn)
        grounded = turn.text if given[-1] and role == "assistant" else grounded
    of_all = _knowledge(values.get("knowledge"), record.place, how)
    if how.knowledge == "dialogue":
        of_all = list(dict.fromkeys([*of_all, *(line for lines in given for line in lines)]))
    elif how.knowledge == "answer":
        turns = [_knowing(turn, given[n : n + 2], how) if turn.role == "user" else turn for n, turn in enumerate(turns)]
    return Told(_opened(turns, values, of_all if how.knowledge != "none" else [], how), grounded=grounded)


def _turn(message: Mapping[str, Any], role: str, said: str, where: str) -> Turn:
    content = message.get("content", message.get("value"))
    if said in _CALLS and isinstance(content, str) and (calls := _whole(content)):
        return Turn("assistant", "", calls=as_json(calls))
    listed = message.get("tool_calls") or message.get("function_call")
    if role == "assistant" and listed:
        try:
            listed = json.loads(listed) if isinstance(listed, str) else listed
        except (ValueError, RecursionError):
            listed = [listed]
        found = [call_in(each) for each in (listed if isinstance(listed, list) else [listed])]
        if None in found:
            raise BadRow(f"{where}: expected calls with a name and arguments (an object), got {shown(listed)}.", hint=MEND)
        return Turn("assistant", "" if content is None else _text(content, where, "call"), calls=as_json([call for call in found if call]))
    return Turn(role, _text(content, where, role))


def _whole(text: str) -> list[Call]:
    """Return the calls that a text is, all of it; none where it is anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    found = [call_in(each) for each in (value if isinstance(value, list) else [value])]
    return [] if None in found else [call for call in found if call]


def _knowledge(value: Any, where: str, how: Wording) -> list[str]:
    """Return what is known, a line for each: of texts, of triples as lists, or as KdConv has them (name, attrname, attrvalue).

    Raises BadRow for what is neither, unless no knowledge is told.
    """
    found = []
    for each in [] if value is None else value if isinstance(value, list) else [value]:
        if isinstance(each, Mapping) and {"name", "attrname", "attrvalue"} <= each.keys():
            each = [each["name"], each["attrname"], each["attrvalue"]]
        if isinstance(each, list) and each and all(isinstance(part, str) for part in each):
            each = " | ".join(part.strip() for part in each)
        if not isinstance(each, str) and how.knowledge != "none":
            hint = "If it is no knowledge to answer from, set task.knowledge=none. " + MEND
            raise BadRow(f"{where}: knowledge: expected texts or triples of texts, got {shown(each)}.", hint=hint)
        if isinstance(each, str) and each.strip():
            found.append(" ".join(each.split()))
    return list(dict.fromkeys(found))


def _knowing(turn: Turn, own_and_answers: Sequence[Sequence[str]], how: Wording) -> Turn:
    """Return a question with what is known for its answer: told with either."""
    lines = list(dict.fromkeys(line for lines in own_and_answers for line in lines))
    return Turn(turn.role, f"{_worded(lines, how)}\n\n{turn.content}") if lines else turn


def _worded(lines: Sequence[str], how: Wording) -> str:
    return how.knowledge_prompt.replace(KNOWLEDGE, "\n".join(lines))


def _opened(turns: list[Turn], values: Mapping[str, Any], knowledge: Sequence[str], how: Wording) -> list[Turn]:
    """Return turns behind a system turn with what the record says of all of them, where it says something."""
    head, rest = (turns[0], turns[1:]) if turns and turns[0].role == "system" else (None, turns)
    told = [head.content] if head else [str(values[name]).strip() for name in ("system", "system_prompt") if values.get(name)][:1]
    tools, given = "", values.get("tools") or values.get("functions")
    if given:
        definitions = definitions_in(given)
        if definitions is None:  # in words of its own
            told.append(f"Tools: {given if isinstance(given, str) else shown(given)}")
        elif definitions:
            tools = json.dumps(definitions, ensure_ascii=False)
    if knowledge:
        told.append(_worded(knowledge, how))
    return [Turn("system", "\n\n".join(filter(None, told)), tools=tools), *rest] if tools or told else rest


# ------------------------------------------------------------ columns


def _about_a_text(record: Record, how: Wording, *, labelled: bool) -> Told:
    values = record.values
    question, context = (_text(values[column], f"{record.place}: {column}", "user").strip() for column in ("question", "context"))
    turns = [Turn("user", filled(how.question_prompt, {QUESTION: question, CONTEXT: context}))]
    if not labelled:
        return Told(turns)
    column = next((name for name in ("answers", "answer") if name in values), None)
    if column is None and values.get("is_impossible") is not True:
        raise MissingColumn(
            f"{record.place}: there is no column 'answers' beside question and context.{did_you_mean('answers', map(str, values))}",
            hint=f"The columns are: {', '.join(map(str, list(values)[:12]))}.",
        )
    given = [] if column is None or values.get("is_impossible") is True else answers_in(values[column], None, f"{record.place}: {column}:")
    references = tuple(dict.fromkeys(text.strip() for text, _ in given)) or (how.no_answer,)
    return Told([*turns, Turn("assistant", references[0])], references)


def _alpaca(record: Record, *, labelled: bool) -> list[Turn]:
    values, turns = record.values, []
    if isinstance(values.get("system"), str) and values["system"].strip():
        turns.append(Turn("system", values["system"]))
    history = values.get("history") or []
    if not isinstance(history, list) or any(not isinstance(pair, list | tuple) or len(pair) != 2 for pair in history):
        raise BadRow(f"{record.place}: history: expected pairs of question and answer, got {shown(history)}.", hint=MEND)
    for question, answer in history:
        turns += [
            Turn("user", _text(question, f"{record.place}: history", "user")),
            Turn("assistant", _text(answer, f"{record.place}: history", "assistant")),
        ]
    asked = _text(values["instruction"], f"{record.place}: instruction", "user")
    more = values.get("input")
    if more is not None and not isinstance(more, str):
        raise BadRow(f"{record.place}: input: expected text, got {shown(more)}.", hint=MEND)
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
        raise BadRow(f"{where}: {'the text is missing' if value is None else f'expected text, got {shown(value)}'}.", hint=MEND)
    if not value.strip() and role in ("assistant", "user"):
        raise BadRow(f"{where}: the {'answer' if role == 'assistant' else 'message'} is empty.", hint=MEND)
    return value


# ------------------------------------------------------------ order


def check_order(turns: Sequence[Turn], place: str, *, labelled: bool, first: int = 1) -> None:
    """Raise BadRow where turns do not alternate: an optional system turn, then question and answer in turn; tools answer the assistant.

    first: the number that messages give the first turn; 0 where the record does not hold that turn.
    """
    if labelled and not any(turn.role == "assistant" for turn in turns):
        raise BadRow(f"{place}: the conversation has no assistant turn, so there is nothing to learn.", hint=MEND)
    if not turns or not any(turn.role == "user" for turn in turns):
        raise BadRow(f"{place}: the conversation has no user turn.", hint=MEND)
    before = ""
    for number, turn in enumerate(turns, first):
        allowed = {"": ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user", "tool"), "tool": ("assistant", "tool")}[before]
        if turn.role not in allowed:
            after = f"after {before}" if before else "first"
            raise BadRow(
                f"{place}: roles out of order: turn {number} is {turn.role}, {after}; expected {' or '.join(allowed)}.",
                hint="Questions and answers take turns. " + MEND,
            )
        before = turn.role
