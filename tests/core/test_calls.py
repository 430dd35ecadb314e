"""Calls of functions are read however a model or a data set writes them."""

from __future__ import annotations

import json

import pytest

from weitiao.core import calls
from weitiao.core.calls import Call, call_in, calls_in, definitions_in

WEATHER = {"name": "weather", "arguments": {"city": "Ulm", "days": 2}}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(WEATHER),
        json.dumps([WEATHER]),
        json.dumps({"name": "weather", "parameters": WEATHER["arguments"]}),  # Llama 3.1
        json.dumps({"name": "weather", "arguments": json.dumps(WEATHER["arguments"])}),  # OpenAI
        json.dumps({"type": "function", "function": WEATHER}),
        json.dumps({"tool_calls": [{"id": "1", "type": "function", "function": WEATHER}]}),
        f"<tool_call>\n{json.dumps(WEATHER)}\n</tool_call>",  # Hermes, Qwen
        f"<functioncall> {json.dumps(WEATHER)}",  # glaive
        f"[TOOL_CALLS] [{json.dumps(WEATHER)}]",  # Mistral
        f"I'll look {{it}} up [1].\n```json\n{json.dumps(WEATHER, indent=2)}\n```\nDone.",
        f'{{"thought": "look"}} {json.dumps(WEATHER)}',
    ],
)
def test_a_call_is_found_in_every_known_form(text: str) -> None:
    assert calls_in(text) == [Call("weather", {"city": "Ulm", "days": 2})]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The weather in Ulm is fine.",
        '{"name": "Ulm"}',
        '{"name": 3, "arguments": {}}',
        '{"name": "", "arguments": {}}',
        '{"name": "weather", "arguments": [1]}',
        '{"name": "weather", "arguments": {"city": "Ulm"',
        '{"name": "weather", "arguments": "{broken"}',
        "{" * 4000,
        "[" * 100_000,
    ],
)
def test_what_is_no_call_is_none(text: str) -> None:
    assert calls_in(text) == []


def test_several_calls_keep_their_order_and_what_lies_in_arguments_is_no_call() -> None:
    outer = {"name": "plan", "arguments": {"steps": [WEATHER]}}
    assert [call.name for call in calls_in(f"{json.dumps(outer)}\n{json.dumps(WEATHER)}")] == ["plan", "weather"]
    assert calls_in(calls.as_json([Call("a", {}), Call("b", {"x": 1})])) == [Call("a", {}), Call("b", {"x": 1})]
    assert call_in({"name": "now", "arguments": ""}) == Call("now", {})


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", []),
        ("[]", []),
        ([{"name": "a", "parameters": {}}], ["a"]),
        ('{"name": "a"}', ["a"]),
        (json.dumps([{"type": "function", "function": {"name": "a"}}, {"name": "b"}]), ["a", "b"]),
        ("[f]", None),
        ("search(query)", None),
        ([{"description": "no name"}], None),
        (["a"], None),
        (3, None),
    ],
)
def test_definitions_are_read_from_json_or_a_text_of_it(value: object, names: list[str] | None) -> None:
    found = definitions_in(value)
    assert found is None if names is None else [each["name"] for each in found or []] == names
