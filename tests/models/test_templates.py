"""Functions, calls and results in templates that take them and in those that do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_language
from weitiao.core.rows import Turn
from weitiao.models import dialogue, templates
from weitiao.models.locate import Located
from weitiao.models.tokens import Tokenizer

HERMES = (  # the way of Hermes and Qwen: definitions in the system turn, calls and results in tags
    "{% if tools %}{{ '<|im_start|>system\n' }}{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\n\n' }}{% endif %}"
    "{{ '<tools>' }}{% for tool in tools %}{{ '\n' + tool | tojson }}{% endfor %}{{ '\n</tools><|im_end|>\n' }}"
    "{% elif messages[0]['role'] == 'system' %}{{ '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{% if m['role'] == 'user' or (m['role'] == 'assistant' and not m['tool_calls']) %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% elif m['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' + m['content'] }}{% for call in m['tool_calls'] %}"
    "{{ '<tool_call>\n' + ({'name': call['function']['name'], 'arguments': call['function']['arguments']} | tojson) + '\n</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}"
    "{% elif m['role'] == 'tool' %}{{ '<|im_start|>user\n<tool_response>\n' + m['content'] + '\n</tool_response><|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ALTERNATES = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ m['role'] + ': ' + m['content'] + '<eos>\n' }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
DROPS = (
    "{% for m in messages if m['role'] in ('user', 'assistant') %}{{ m['role'] + ': ' + m['content'] + '<eos>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
SUM = {"name": "sum", "description": "adds", "parameters": {"type": "object", "properties": {"x": {"type": "array"}}}}
CALL = {"name": "sum", "arguments": {"x": [2, 2]}}
ONE = Turn("assistant", "", calls=json.dumps([CALL]))
TALK = [Turn("system", "S", tools=json.dumps([SUM])), Turn("user", "2+2?"), ONE, Turn("tool", "[4]"), Turn("assistant", "four")]
AS_MESSAGES = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": CALL}]},
    {"role": "tool", "content": "[4]"},
    {"role": "assistant", "content": "four"},
]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tokenizer]:
    def open_with(template: str) -> Tokenizer:
        folder: Path = tmp_path_factory.mktemp("tokenizer")
        made = tiny_language.tokenizer()
        made.chat_template = template
        made.save_pretrained(folder)
        return Tokenizer(Located("tiny", str(folder), True, "tiny"), 2048)

    return open_with


def learnt(found: dialogue.Encoded, tokens: Tokenizer) -> str:
    return tokens.decode([id for id, trained in zip(found.ids, found.trained, strict=True) if trained], special=True)


def test_a_template_that_takes_functions_gets_them_as_transformers_hands_them_over(opened: Callable[[str], Tokenizer]) -> None:
    tokens = opened(HERMES)
    own = tokens.tokenizer.apply_chat_template(AS_MESSAGES, tools=[{"type": "function", "function": SUM}], tokenize=True, return_dict=True)["input_ids"]
    found = dialogue.encode(TALK, tokens)
    assert found.ids == own
    assert learnt(found, tokens) == f"<tool_call>\n{json.dumps(CALL)}\n</tool_call><|im_end|>four<|im_end|>"


def test_functions_without_a_system_prompt_open_no_system_message_of_their_own(opened: Callable[[str], Tokenizer]) -> None:
    tokens = opened(HERMES)
    turns = [Turn("system", "", tools=TALK[0].tools), *TALK[1:]]
    own = tokens.tokenizer.apply_chat_template(AS_MESSAGES[1:], tools=[{"type": "function", "function": SUM}], tokenize=True, return_dict=True)["input_ids"]
    assert dialogue.encode(turns, tokens).ids == own


def test_results_name_the_call_that_they_answer() -> None:
    calls = Turn("assistant", "", calls=json.dumps([CALL, {"name": "now", "arguments": {}}]))
    messages, tools = templates.messages([Turn("user", "?"), calls, Turn("tool", "4"), Turn("tool", "noon"), Turn("assistant", "ok")])
    assert tools is None
    ids = [call["id"] for call in messages[1]["tool_calls"]]
    assert [(m["tool_call_id"], m["name"]) for m in messages[2:4]] == [(ids[0], "sum"), (ids[1], "now")] and len(set(ids)) == 2
    assert all(len(id) == 9 and id.isalnum() for id in ids), "Mistral's template refuses others"


@pytest.mark.parametrize("template", ["plain", "chatml", "gemma"])
def test_our_own_templates_tell_functions_calls_and_results_in_words(opened: Callable[[str], Tokenizer], template: str) -> None:
    tokens = opened(tiny_language.CHATML)
    tokens.tokenizer.add_special_tokens({"additional_special_tokens": ["<start_of_turn>", "<end_of_turn>", "<|im_start|>", "<|im_end|>"]})
    tokens.use_template(template)
    text = tokens.render(TALK, answer=False)
    assert f"S\n\nYou may call these functions:\n{json.dumps(SUM)}\nTo call one, answer with nothing but" in text
    places = [text.index(part) for part in (json.dumps(SUM), "2+2?", json.dumps(CALL), "[4]", "four")]
    assert places == sorted(places)
    assert json.dumps(CALL) in learnt(dialogue.encode(TALK, tokens), tokens)


@pytest.mark.parametrize("template", [ALTERNATES, DROPS], ids=["refuses", "drops"])
def test_results_that_a_template_refuses_or_drops_are_told_as_a_question(opened: Callable[[str], Tokenizer], template: str) -> None:
    tokens = opened(template)
    talk = [TALK[0], TALK[1], ONE, Turn("tool", "[4]"), Turn("tool", "[5]"), TALK[-1]]
    text = tokens.render(talk, answer=False)
    assert f"assistant: {json.dumps(CALL)}<eos>\nuser: [4]\n[5]<eos>\nassistant: four<eos>" in text
    assert "user: S\n\nYou may call these functions:" in text
    assert learnt(dialogue.encode(talk, tokens), tokens).replace(" ", "") == f"{json.dumps(CALL)}<eos>four<eos>".replace(" ", "")


def test_prompts_end_where_the_call_begins(opened: Callable[[str], Tokenizer]) -> None:
    for template in (HERMES, tiny_language.CHATML):
        tokens = opened(template)
        found, prompt = dialogue.encode(TALK, tokens), dialogue.prompt(TALK[:2], tokens)
        assert found.ids[: len(prompt)] == prompt and found.trained[len(prompt)] and not any(found.trained[: len(prompt)])
