"""Code: which columns are read, what of a row is learnt and continued, and what passing rests on."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pytest

import tiny_language
from weitiao.answers import sandbox
from weitiao.core.contracts import IGNORED, Answer, Prediction
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Record, Row
from weitiao.core.snippets import snippet
from weitiao.errors import BadRow, MachineError, MissingColumn, RecipeError
from weitiao.evaluation import score
from weitiao.models.locate import Located
from weitiao.models.tokens import Tokenizer
from weitiao.sources.json import Json
from weitiao.tasks.code_generation import CodeGeneration, program

PROMPT = 'def add(a, b):\n    """ Return the sum. """\n'
SOLUTION = "    return a + b\n"
TEST = "def check(candidate):\n    assert candidate(1, 2) == 3\n"
HUMANEVAL = {"task_id": "X/0", "prompt": PROMPT, "entry_point": "add", "canonical_solution": SOLUTION, "test": TEST}
MBPP = {
    "task_id": 2,
    "text": "Write a function that adds two numbers.",
    "code": "def add(a, b):\r\n    return a + b",
    "test_list": ["assert add(1, 2) == 3", "assert add(one, 0) == 1"],
    "test_setup_code": "one = 1",
}


def read(values: dict[str, Any], *, labelled: bool = True, data: dict[str, Any] | None = None, **task: Any) -> Row:
    return CodeGeneration(**task).read(Record(values, "a.json", 7, "id"), Json(train="a.json", **(data or {})), labelled=labelled)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tokenizer]:
    """Return a function that makes the tokenizer of a chat model, or of one that only continues text."""

    def make(*, chat: bool) -> Tokenizer:
        place = tmp_path_factory.mktemp("tokenizer")
        made = tiny_language.tokenizer(model_max_length=2048)
        made.chat_template = tiny_language.CHATML if chat else None
        made.save_pretrained(place)
        return Tokenizer(Located("tiny", str(place), True, "tiny"), 2048)

    return make


def answered(task: CodeGeneration, rows: list[Row], *completions: list[str]) -> list[Prediction]:
    answers = [[Answer(text, 5, True) for text in texts] for texts in completions]
    return task.all_answered(rows, [Prediction(row.id, None) for row in rows], answers)


# ------------------------------------------------------------ rows


def test_a_row_of_humaneval_is_a_head_to_be_continued_with_its_tests() -> None:
    row = read(HUMANEVAL)
    assert row.text == PROMPT.rstrip() and row.target == "\n" + SOLUTION
    assert program(row.text, row.target) == PROMPT + SOLUTION + "\n"
    assert row.parts == (TEST + "\n\ncheck(add)\n",)
    assert sandbox.run(program(row.text, row.target), row.parts[0]).kind == "passed"
    asked = read({"prompt": PROMPT}, labelled=False)
    assert asked.text == row.text and asked.target is None and asked.parts == ()


def test_a_row_of_mbpp_is_a_sentence_and_a_whole_program() -> None:
    row = read(MBPP)
    assert row.text == MBPP["text"] + "\nYour code should pass these tests:\nassert add(1, 2) == 3\nassert add(one, 0) == 1"
    assert read(MBPP, labelled=False).text == row.text and read(MBPP, show_tests=False).text == MBPP["text"]
    assert program(row.text, row.target) == "def add(a, b):\r\n    return a + b\n"
    assert row.parts == ("one = 1\nassert add(1, 2) == 3\nassert add(one, 0) == 1",)
    assert sandbox.run(program(row.text, row.target), row.parts[0]).kind == "passed"


def test_rows_without_tests_teach() -> None:
    for values in ({"prompt": PROMPT, "completion": SOLUTION}, {"prompt": PROMPT, "completion": SOLUTION, "test": None}, {**MBPP, "test_list": []}):
        assert read({key: value for key, value in values.items() if key != "test_setup_code"}).parts == ()
    assert read({"q": "Add.", "a": "x = 1", "checks": "assert x == 1"}, data={"text": "q", "label": "a"}, tests="checks").parts == ("assert x == 1",)


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({**HUMANEVAL, "test": "def check(x:"}, BadRow, r"a.json:7: test: the tests are not Python: '\(' was never closed"),
        ({**HUMANEVAL, "test": ["assert 1", 2]}, BadRow, "a.json:7: test: expected Python as text, or a list of lines"),
        ({**HUMANEVAL, "test": 3}, BadRow, "a.json:7: test: expected Python as text, or a list of lines, got 3"),
        ({**HUMANEVAL, "test": "x = " + "(" * 500 + ")" * 500}, BadRow, "the tests are not Python"),
        ({**HUMANEVAL, "entry_point": "add)"}, BadRow, r"a.json:7: entry_point: expected the name of a function, got 'add\)'"),
        ({**HUMANEVAL, "canonical_solution": " \n"}, BadRow, "a.json:7: canonical_solution: the answer is empty"),
        ({**HUMANEVAL, "prompt": 3}, BadRow, "a.json:7: prompt: expected text, got 3"),
        ({"body": "x"}, MissingColumn, "such as prompt and canonical_solution; the columns are: body"),
    ],
)
def test_rows_that_cannot_be_used_are_named(values: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read(values)


def test_a_column_of_tests_that_is_not_there_is_named() -> None:
    with pytest.raises(MissingColumn, match="there is no column 'tset' for the tests. Did you mean 'test'"):
        read(HUMANEVAL, tests="tset")


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"k": [1, 10], "samples": 5, "temperature": 0.8}, "pass@10 needs 10 completions, and samples is 5"),
        ({"samples": 5}, "samples needs a temperature, such as 0.8"),
        ({"seconds": 0}, "task.seconds"),
        ({"memory_mb": 8}, "task.memory_mb"),
    ],
)
def test_settings_that_cannot_be_are_refused(task: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Recipe.load({"model": "x", "data": {"name": "json", "train": "a"}, "task": {"name": "code_generation", **task}})


def test_solutions_that_go_on_behind_a_stop_string_are_told() -> None:
    rows = [read(HUMANEVAL), read({**MBPP, "code": "def a(): pass\n\ndef b(): pass"})]
    (said,) = CodeGeneration().remarks(rows, "train")
    assert said.startswith("1 of the 2 rows of train have solutions that go on behind '\\ndef'")
    assert list(CodeGeneration(stop=("\n```",)).remarks(rows, "train")) == []


# ------------------------------------------------------------ what the model sees


def test_a_chat_model_goes_on_in_a_code_block_that_was_begun_for_it(tokens: Callable[..., Tokenizer]) -> None:
    chat, row = tokens(chat=True), read(HUMANEVAL)
    task = CodeGeneration().settled(chat)
    (prompt,) = task.prompts([row], chat)
    said = chat.decode(prompt, special=True)
    assert said.endswith(f"<|im_end|>\n<|im_start|>assistant\n```python\n{row.text}") and said.count(row.text) == 2
    (feature,) = task.encode([row], chat)
    assert list(feature.input_ids[: len(prompt)]) == prompt
    assert chat.decode([token for token in feature.target if token != IGNORED], special=True) == "\n    return a + b\n```<|im_end|>"
    (prompt,) = task.prompts([read(MBPP)], chat)
    assert chat.decode(prompt).endswith("```python\n")


def test_a_model_without_a_template_goes_on_with_the_prompt_itself(tokens: Callable[..., Tokenizer]) -> None:
    plain, row = tokens(chat=False), read(HUMANEVAL)
    task = CodeGeneration(template="plain").settled(plain)
    (prompt,) = task.prompts([row], plain)
    assert plain.decode(prompt, special=True) == row.text
    (feature,) = task.encode([row], plain)
    assert list(feature.input_ids[: len(prompt)]) == prompt
    assert plain.decode([token for token in feature.target if token != IGNORED], special=True) == row.target + "<eos>"
    (prompt,) = task.prompts([read(MBPP, show_tests=False)], plain)
    assert plain.decode(prompt, special=True) == f'"""\n{MBPP["text"]}\n"""\n'
    (prompt,) = CodeGeneration(template="plain", prompt="# Python\n{text}").settled(plain).prompts([row], plain)
    assert plain.decode(prompt, special=True) == f"# Python\n{row.text}"


def test_a_row_that_is_too_long_is_left_out_and_not_cut(tokens: Callable[..., Tokenizer]) -> None:
    chat = tokens(chat=True)
    task = CodeGeneration(max_length=100).settled(chat)
    assert task.encode([read({**HUMANEVAL, "prompt": "# " + "x " * 200 + "\n" + PROMPT})], chat) == []


@pytest.mark.parametrize("template", ["own", "plain"])
def test_the_lines_of_a_model_card_are_python_and_begin_the_answer(template: str) -> None:
    task = CodeGeneration(prompt=CodeGeneration().instruction(), template=template)
    lines = "\n".join(snippet({"auto_class": "AutoModelForCausalLM", "takes": task.takes, "folder": "model"}, task.settings()))
    ast.parse(lines)
    assert ("continue_final_message=True" in lines) == (template == "own") and "stop_strings=" in lines


# ------------------------------------------------------------ scores


def test_completions_are_run_and_counted_by_how_they_end() -> None:
    task = CodeGeneration(samples=4, k=(2,), temperature=0.8, seconds=1)
    rows = [read(HUMANEVAL), Row("b", "def f():", "\n    pass", "a.json:8")]
    first, second = answered(task, rows, ["\n    return a + b", "\n    return a", "\n    return c", "\n   return ("], ["\n    1"] * 4)
    assert first.value == "\n    return a + b"
    assert {name: first.measures[name] for name in ("completions_run", *sandbox.KINDS)} == {
        "completions_run": 4.0, "passed": 1.0, "wrong_answer": 1.0, "exception": 1.0, "syntax_error": 1.0, "timeout": 0.0, "memory": 0.0,
    }  # fmt: skip
    assert "passed" not in second.measures and second.value == "\n    1", "a row without tests has an answer and no score"
    found = {metric.name: score.value(metric, [first, second], [row.target for row in rows]) for metric in task.metrics()}
    assert found["pass@1"] == pytest.approx(0.25) and found["pass@2"] == pytest.approx(0.5) and found["syntax_error"] == pytest.approx(0.25)


def test_nothing_is_run_where_the_recipe_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **more: Any) -> Any:
        raise MachineError("code was run", hint="")

    monkeypatch.setattr(sandbox, "_run", refuse)
    monkeypatch.setattr(sandbox, "lacking", refuse)
    rows = [read(HUMANEVAL)]
    for task, held in ((CodeGeneration(run_tests=False), rows), (CodeGeneration(), [read({"prompt": PROMPT, "completion": SOLUTION})])):
        task.check(held, "test")
        assert "passed" not in answered(task, held, ["\n    return a + b"])[0].measures and task.rests_on(held) == []
    with pytest.raises(MachineError):
        CodeGeneration().check(rows, "test")


def test_a_report_says_on_what_passing_rests() -> None:
    rows = [read(HUMANEVAL), read({"prompt": PROMPT, "completion": SOLUTION})]
    (said,) = CodeGeneration(generate_rows=1).rests_on(rows)
    assert said.startswith("The tests of up to 1 proof rows were run on this machine, with limits. 1 proof rows have no tests.")
