"""Bad input around language models, through the command line: one sentence and a hint, the right exit code, nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_language

GOOD = tiny_language.dialogues(40, longest=1)
LONG = {"messages": [{"role": "user", "content": "say it"}, {"role": "assistant", "content": "gold " * 100}]}
TWICE = {"messages": [message for n in range(9) for message in ({"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": "gold sea"})]}


def talk(*said: tuple[Any, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in said]}


def with_row(row: dict[str, Any]) -> dict[str, str]:
    return {"a.jsonl": "\n".join(map(json.dumps, [*GOOD, row]))}


CHAT = {"name": "chat", "max_length": 96}
TEXT = {"name": "language_modeling", "max_length": 64}
ORDERS = {"name": "controlled_generation", "max_length": 96, "begin_words": 1}
ORDERED = "\n".join(json.dumps({"text": f"gold and sea {n}", "label": "bad" if n % 2 else "good"}) for n in range(60))
PLAIN = {"a.txt": "".join(f"{text}\n" for text in tiny_language.texts(60))}


def new(**settings: Any) -> dict[str, Any]:
    return {"model": settings, "data": {"name": "text", "train": "a.txt", "rows": "line"}, "task": TEXT, "method": "full"}


CASES: dict[str, tuple[int, str, str, dict[str, Any], dict[str, str]]] = {
    # name: (exit code, words of the message, words of the hint, changes to the recipe, files)
    "no assistant turn": (3, "a.jsonl:41: the conversation has no assistant turn, so there is nothing to learn.", "skip", {}, with_row(talk(("user", "hi")))),
    "roles out of order": (
        3,
        "a.jsonl:41: roles out of order: turn 2 is user, after user; expected assistant.",
        "take turns",
        {},
        with_row(talk(("user", "a"), ("user", "b"), ("assistant", "c"))),
    ),
    "best by answers that are not generated": (
        2,
        "evaluate.best: rougeL scores generated answers, and none are generated for dev rows.",
        "Known: loss, perplexity",
        {"evaluate": {"best": "rougeL"}},
        {},
    ),
    "empty answer": (3, "a.jsonl:41: messages[2]: the answer is empty.", "skip", {}, with_row(talk(("user", "a"), ("assistant", " ")))),
    "unknown role": (3, "a.jsonl:41: messages[1]: the role is 'narrator', expected system", "skip", {}, with_row(talk(("narrator", "a")))),
    "content that is no text": (3, "a.jsonl:41: messages[2]: expected text, got", "skip", {}, with_row(talk(("user", "a"), ("assistant", {"x": 1})))),
    "content that is missing": (3, "a.jsonl:41: messages[2]: the text is missing.", "skip", {}, with_row(talk(("user", "a"), ("assistant", None)))),
    "no conversation at all": (3, "no conversation is found in the columns text, label", "data.text", {}, {"a.jsonl": '{"text": "x", "label": "y"}\n' * 30}),
    "a misspelt key": (3, "Did you mean 'messages'?", "messages (role, content)", {}, {"a.jsonl": '{"mesages": []}\n' * 30}),
    "too long, to be an error": (
        3,
        "the conversation has",
        "Raise task.max_length",
        {"task": {**CHAT, "too_long": "error"}},
        with_row(LONG),
    ),
    "every row too long": (
        3,
        "no train row fits: all",
        "Raise task.max_length",
        {},
        {"a.jsonl": "\n".join(json.dumps(talk(("user", f"say {n}"), ("assistant", "gold " * 100))) for n in range(60))},
    ),
    "context beyond the model": (2, "task.max_length: 4096 is more than the 256 tokens", "256 or less", {"task": {**CHAT, "max_length": 4096}}, {}),
    "a template that fails": (
        4,
        "the chat template fails: never today.",
        "task.template",
        {"task": {**CHAT, "template": "never.jinja"}},
        {"never.jinja": "{{ raise_exception('never today') }}"},
    ),
    "a template that fails for one conversation": (
        3,
        "the chat template fails: no tools.",
        "task.template",
        {"task": {**CHAT, "template": "some.jinja"}},
        {
            "some.jinja": "{% for m in messages %}{% if m['content'] == 'tool' %}{{ raise_exception('no tools') }}{% endif %}{{ m['content'] }}{% endfor %}",
            **with_row(talk(("user", "a"), ("assistant", "f"), ("user", "tool"), ("assistant", "c"))),
        },
    ),
    "a template with broken syntax": (4, "the chat template fails", "task.template", {"task": {**CHAT, "template": "bad.jinja"}}, {"bad.jinja": "{% for m in"}),
    "an unknown attribute": (
        3,
        "a.jsonl:7: label: the attribute 'goud' is not known. Did you mean 'good'?",
        "Known: good, bad.",
        {"task": {**ORDERS, "values": ["good", "bad"]}},
        {"a.jsonl": ORDERED.replace('"good"', '"goud"', 4).replace('"goud"', '"good"', 3)},
    ),
    "a classifier that is none": (7, "there is no artifact", "weitiao train", {"task": {**ORDERS, "classifier": "nowhere"}}, {"a.jsonl": ORDERED}),
    "a prompt without the attribute": (2, "prompt: expected {attribute} once", "", {"task": {**ORDERS, "prompt": "Write: {begin}"}}, {"a.jsonl": ORDERED}),
    "calls without arguments": (
        3,
        "a.jsonl:41: messages[2]: expected calls with a name and arguments (an object), got",
        "skip",
        {},
        with_row({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}]}),
    ),
    "a question about a text without an answer column": (
        3,
        "a.jsonl:1: there is no column 'answers' beside question and context.",
        "The columns are: question, context.",
        {},
        {"a.jsonl": json.dumps({"question": "why?", "context": "so."})},
    ),
    "an unknown template": (2, "task.template: 'chatlm' is neither a known template nor a file", "chatml", {"task": {**CHAT, "template": "chatlm"}}, {}),
    "a template the vocabulary lacks": (2, "task.template: gemma needs the token <start_of_turn>", "plain", {"task": {**CHAT, "template": "gemma"}}, {}),
    "target modules that match nothing": (
        4,
        "method.target_modules: 'query' matches no linear layer of the model.",
        "Linear layers: down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj",
        {"method": {"name": "lora", "target_modules": ["query"]}},
        {},
    ),
    "target modules that are no pattern": (4, "is not a regular expression", "q_proj", {"method": {"name": "lora", "target_modules": "q_("}}, {}),
    "no target modules": (4, "the list is empty", "q_proj", {"method": {"name": "lora", "target_modules": []}}, {}),
    "modules to save that are none": (
        4,
        "method.modules_to_save: the model has no module 'head'.",
        "lm_head",
        {"method": {"name": "lora", "modules_to_save": ["head"]}},
        {},
    ),
    "an adapter folder that is none": (4, "empty holds no adapter.", "adapter_config.json", {"method": {"name": "lora", "adapter": "empty"}}, {}),
    "hidden tokens without a mask token": (
        4,
        "the model has no mask token",
        "task.masked=false",
        {"model": "unmasked", "task": {**TEXT, "masked": True}, "data": {"name": "text", "train": "a.txt", "rows": "line"}, "method": "full"},
        PLAIN,
    ),
    "hidden tokens on a decoder": (
        4,
        "llama has no head for the task",
        "task.masked=false",
        {"task": {**TEXT, "masked": True}, "data": {"name": "text", "train": "a.txt", "rows": "line"}, "method": "full"},
        PLAIN,
    ),
    "chat on an encoder": (4, "sees both sides of a text", "decoder", {"model": "encoder"}, {}),
    "continuing text on an encoder": (
        4,
        "sees both sides of a text",
        "task.masked=true",
        {"model": "encoder", "task": TEXT, "data": {"name": "text", "train": "a.txt", "rows": "line"}, "method": "full"},
        PLAIN,
    ),
    "chat on an encoder-decoder without such a head": (4, "t5 has no head for the task", "another", {"model": "t5"}, {}),
    "a new encoder that shall continue text": (4, "sees both sides of a text", "decoder", new(architecture="bert"), PLAIN),
    "an architecture that is none": (2, "model.architecture: transformers knows no 'lama'. Did you mean 'llama'?", "gpt2", new(architecture="lama"), PLAIN),
    "a size that is none": (2, "llama has no setting 'hidden'.", "hidden_size", new(configuration={"hidden": 64}), PLAIN),
    "a size of another kind": (
        2,
        "model.configuration.hidden_size: expected a whole number from 1, got 'many'.",
        "size",
        new(configuration={"hidden_size": "many"}),
        PLAIN,
    ),
    "no layers": (2, "model.configuration: ", "transformers", new(configuration={"num_hidden_layers": 0.5}), PLAIN),
    "sizes that do not divide": (
        4,
        "cannot be made with these sizes",
        "Change model.configuration",
        new(configuration={"hidden_size": 50, "num_attention_heads": 4}),
        PLAIN,
    ),
    "GPT-2 sizes that do not divide": (
        4,
        "cannot be made with these sizes",
        "Change model.configuration",
        new(architecture="gpt2", configuration={"n_embd": 50, "n_head": 4}),
        PLAIN,
    ),
    "a tokenizer that is none": (2, "model.tokenizer", "characters", new(tokenizer="sentencepiece"), PLAIN),
    "an unknown key of a new model": (2, "model.vocab: model has no setting 'vocab'. Did you mean 'vocabulary'?", "vocabulary", new(vocab=5), PLAIN),
    "a text file that is empty": (3, "a.txt is empty", "", new(), {"a.txt": ""}),
    "a text file of blank lines": (3, "holds no rows", "", new(), {"a.txt": "\n \n\n"}),
    "an overlap that leaves no room": (2, "overlap: 60 is more than half of max_length=64", "", {"task": {**TEXT, "overlap": 60}}, {}),
}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("language")
    unmasked = tiny_language.build(root / "unmasked", "bert", mask_token=None)
    return {
        "unmasked": unmasked,
        **{name: tiny_language.build(root / name, family) for name, family in (("llama", "llama"), ("encoder", "bert"), ("t5", "t5"))},
    }


@pytest.fixture
def recipe(models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function from changes and files to a recipe in the working folder."""

    def make(changes: dict[str, Any], files: dict[str, str]) -> dict[str, Any]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
        (tmp_path / "empty").mkdir()
        for file, content in {"a.jsonl": "\n".join(map(json.dumps, GOOD)), **files}.items():
            (tmp_path / file).write_text(content)
        made = {"model": "llama", "data": {"name": "json", "train": "a.jsonl"}, "task": CHAT, "method": {"name": "lora", "r": 2}}
        made |= {"train": {"steps": 1, "device": "cpu", "dtype": "fp32"}, **changes}
        return {**made, "model": str(models[made["model"]])} if isinstance(made["model"], str) else made

    return make


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_sentence_and_a_hint(
    cli: Callable[..., Any], recipe: Callable[..., dict[str, Any]], write_recipe: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    code, words, hint, changes, files = CASES[name]
    answer = cli("train", write_recipe(recipe(changes, files)), "--json")
    assert words in answer.err and answer.code == code, answer.err
    assert hint in answer.err.partition("hint: ")[2], answer.err
    assert answer.err.count("error: ") == 1 and answer.err.count("hint: ") == 1
    assert "Traceback" not in answer.err and answer.out == ""
    assert not list(tmp_path.rglob("artifact")) and not list(tmp_path.rglob("report.json"))
    assert not list(tmp_path.rglob("COMPLETE"))


def test_rows_longer_than_the_context_are_counted_under_each_policy(
    cli: Callable[..., Any], recipe: Callable[..., dict[str, Any]], write_recipe: Callable[..., Path]
) -> None:
    """One row whose answer fits nowhere, one that can be split."""
    rows = {"a.jsonl": "\n".join(map(json.dumps, [*GOOD, LONG, TWICE])), "dev.jsonl": "\n".join(map(json.dumps, GOOD[:12]))}
    made = recipe({"data": {"name": "json", "train": "a.jsonl", "dev": "dev.jsonl", "test": "dev.jsonl"}}, rows)
    for policy, left_out, divided in (("split", 1, 1), ("drop", 2, 0)):
        path = write_recipe({**made, "task": {**CHAT, "too_long": policy, "generate_rows": 0}})
        report = cli("train", path, "--out", policy, "--json").json()
        assert report["left_out"]["train"]["rows"] == left_out
        assert report["left_out"]["train"]["places"][0].endswith("a.jsonl:41")
        assert report.get("divided", {}).get("train", {}).get("rows", 0) == divided
        assert any("do not fit and are left out" in note for note in report["notes"])
        assert report["rows"]["train"] == 42 - left_out
