"""Chat templates: those for models that bring none, in Jinja as tokenizers keep them, and what a template makes of turns."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weitiao.core.rows import Turn
from weitiao.errors import BadValue, ModelError

OWN, AUTO = "own", "auto"

_PLAIN = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] | trim }}\n\n"
    "{% elif message['role'] == 'assistant' %}Assistant: {{ message['content'] | trim }}{{ eos_token }}\n"
    "{% elif message['role'] == 'tool' %}Tool: {{ message['content'] | trim }}\n"
    "{% else %}User: {{ message['content'] | trim }}\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_GEMMA = (
    "{% for message in messages %}<start_of_turn>{{ 'model' if message['role'] == 'assistant' else 'user' }}\n"
    "{{ message['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
NAMED = {"plain": _PLAIN, "chatml": _CHATML, "gemma": _GEMMA}
"""Name -> template; `plain` needs no token besides the end token."""
_NEEDS = {"chatml": ("<|im_start|>", "<|im_end|>"), "gemma": ("<start_of_turn>", "<end_of_turn>")}


def chosen(name: str, own: str | None, vocabulary: Container[str], *, begins: bool) -> tuple[str, str]:
    """Return (name, template) for what was asked.

    name: `auto` takes the model's own, else the first whose turn tokens the vocabulary knows, else plain; `own`, a name
    of NAMED, or a file. begins: whether the tokenizer puts a begin token before a text: a template of ours then does too.
    Raises BadValue.
    """
    if name in (AUTO, OWN) and own:
        return OWN, own
    if name == OWN:
        raise BadValue("task.template: the model has no chat template of its own.", hint=f"Set task.template to auto, {', '.join(NAMED)}, or a .jinja file.")
    if name == AUTO:
        name = next((kind for kind, tokens in _NEEDS.items() if all(token in vocabulary for token in tokens)), "plain")
    if name in NAMED:
        absent = [token for token in _NEEDS.get(name, ()) if token not in vocabulary]
        if absent:
            raise BadValue(f"task.template: {name} needs the token {absent[0]}, which the model does not know.", hint="Set task.template=plain.")
        return name, ("{{ bos_token }}" if begins else "") + NAMED[name]
    path = Path(name).expanduser()
    try:
        return name, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadValue(
            f"task.template: '{name}' is neither a known template nor a file that can be read.", hint=f"Known: auto, own, {', '.join(NAMED)}."
        ) from None


# ------------------------------------------------------------ what a template takes

TOLD_TOOLS = """You may call these functions:
{tools}
To call one, answer with nothing but {{"name": ..., "arguments": {{...}}}}, a line for each call."""
"""How a system turn tells functions where a template has no place for them: one definition a line, as JSON."""


@dataclass(frozen=True, slots=True)
class Takes:
    """Which turns a template writes, besides questions and answers; the others are put into words."""

    system: bool = True
    tools: bool = False
    """Definitions of functions, handed to the template by themselves."""
    calls: bool = False
    """Calls of an assistant turn, handed to the template by themselves."""
    results: bool = True
    """Turns of the role tool."""


def taken(render: Callable[[Sequence[Turn]], str]) -> Takes:
    """Return what a template takes, by trying. render: writes turns, and raises ModelError where the template fails."""
    asked, answered = Turn("user", "aqza"), Turn("assistant", "cqzc")  # in no template's own words
    call = Turn("assistant", "", calls=json.dumps([{"name": "fqzf", "arguments": {"x": "gqzg"}}]))

    def writes(turns: Sequence[Turn], *words: str) -> bool:
        try:
            text = render(turns)
        except ModelError:
            return False
        return all(word in text for word in words)

    return Takes(
        system=writes([Turn("system", "bqzb"), asked], "bqzb"),
        tools=writes([Turn("system", "", tools=json.dumps([{"name": "fqzf", "description": "dqzd", "parameters": {}}])), asked], "fqzf", "dqzd"),
        calls=writes([asked, call], "fqzf", "gqzg"),
        results=writes([asked, answered, Turn("tool", "eqze"), answered], "eqze"),
    )


def in_words(turns: Sequence[Turn], takes: Takes) -> Sequence[Turn]:
    """Return turns that a template writes: what it does not take is put into words.

    Functions are told in the system turn, in the words of TOLD_TOOLS; calls are the text of an answer, as JSON, one to a
    line; results are a user's turn, those of several calls one; a system turn stands at the head of the first question.
    """
    found: list[Turn] = []
    for turn in turns:
        if turn.tools and not takes.tools:
            listed = Turn(turn.role, "", tools=turn.tools).text
            turn = Turn(turn.role, f"{turn.content}\n\n{TOLD_TOOLS.format(tools=listed)}".strip())
        elif turn.calls and not takes.calls:
            turn = Turn(turn.role, turn.text)
        elif turn.role == "tool" and not takes.results:
            if found and found[-1].role == "user":
                turn = Turn("user", f"{found.pop().content}\n{turn.content}")
            else:
                turn = Turn("user", turn.content)
        found.append(turn)
    if len(found) > 1 and found[0].role == "system" and found[0].content and not takes.system:
        told, first, *rest = found
        return [*([Turn("system", "", tools=told.tools)] if told.tools else []), Turn(first.role, f"{told.content}\n\n{first.content}"), *rest]
    return found


def messages(turns: Sequence[Turn]) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    """Return messages and function definitions as transformers' apply_chat_template takes them; None where there are no definitions."""
    found: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []
    tools, number = None, 0
    for turn in turns:
        if turn.tools:
            tools = [{"type": "function", "function": each} for each in json.loads(turn.tools)]
            if not turn.content:
                continue
        message: dict[str, Any] = {"role": turn.role, "content": turn.content}
        if turn.calls:
            waiting = []
            for function in json.loads(turn.calls):
                number += 1
                waiting.append({"type": "function", "id": f"call{number:05}", "function": function})  # nine letters and digits, which Mistral's asks for
            message["tool_calls"] = list(waiting)
        elif turn.role == "tool" and waiting:
            answered = waiting.pop(0)
            message |= {"tool_call_id": answered["id"], "name": answered["function"]["name"]}
        found.append(message)
    return found, tools
