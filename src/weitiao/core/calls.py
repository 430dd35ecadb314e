"""Functions that an assistant may call, and its calls: as data write them, and as models say them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Call:
    """A function that is called."""

    name: str
    arguments: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return name and arguments."""
        return {"name": self.name, "arguments": dict(self.arguments)}


def as_json(calls: Sequence[Call]) -> str:
    """Return calls as a turn holds them."""
    return json.dumps([call.as_dict() for call in calls], ensure_ascii=False)


def call_in(value: Any) -> Call | None:
    """Return the call that a JSON value is: {name, arguments}, {name, parameters}, or one inside {type: function, function: ...}; else None.

    Arguments may be written as a text of JSON, as OpenAI's messages have them; where there are none, there are none.
    """
    if not isinstance(value, Mapping):
        return None
    if isinstance(inner := value.get("function"), Mapping):
        value = inner
    name, arguments = value.get("name"), value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            return None
    if not isinstance(name, str) or not name.strip() or not isinstance(arguments, Mapping):
        return None
    return Call(name.strip(), arguments)


def calls_in(text: str) -> list[Call]:
    """Return the calls that a text holds, in their order: JSON objects with a name and arguments, alone, in lists, in fences or tags.

    So what Hermes, Qwen, Llama 3.1, Mistral and glaive write is read, whatever stands around it; JSON that is no call is passed over, and
    so is what lies inside of a call.
    """
    return [call for value in _values(text) for call in _members(value)]


def definitions_in(value: Any) -> list[dict[str, Any]] | None:
    """Return function definitions, {name, description, parameters} each, of a list or a JSON text of one; None where it is neither.

    A definition may stand inside {type: function, function: ...}. An empty text is an empty list.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else []
        except (ValueError, RecursionError):
            return None
    given = value if isinstance(value, list) else [value]
    found = [each["function"] if isinstance(each, Mapping) and isinstance(each.get("function"), Mapping) else each for each in given]
    if any(not isinstance(each, Mapping) or not isinstance(each.get("name"), str) or not each["name"].strip() for each in found):
        return None
    return [dict(each) for each in found]


def _values(text: str) -> Iterator[Any]:
    at = 0
    while (start := min((place for bracket in "{[" if (place := text.find(bracket, at)) >= 0), default=-1)) >= 0:
        try:
            value, at = _DECODER.raw_decode(text, start)
            yield value
        except ValueError:
            at = start + 1
        except RecursionError:  # brackets repeated a thousand times: looking behind each of them would take minutes
            return


def _members(value: Any) -> Iterator[Call]:
    if isinstance(value, list):
        for each in value:
            yield from _members(each)
    elif (call := call_in(value)) is not None:
        yield call
    elif isinstance(value, Mapping):  # such as {"tool_calls": [...]}
        for inner in value.values():
            if isinstance(inner, list | Mapping):
                yield from _members(inner)
