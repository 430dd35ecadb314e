"""Every kind of bad input: one sentence and a hint, the exit code of its branch, no traceback, nothing that looks finished."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GOOD = "text,label\n" + "".join(f"row {n} is {word},{label}\n" for n in range(30) for word, label in (("good", "pos"), ("bad", "neg")))


def data(**fields: Any) -> dict[str, Any]:
    return {"data": fields}


CASES: dict[str, tuple[int, str, dict[str, Any], dict[str, str | bytes]]] = {
    # name: (exit code, words of the message, changes to the recipe, files)
    "unknown key": (2, "train.epcohs: train has no setting 'epcohs'. Did you mean 'epochs'?", {"train": {"epcohs": 1}}, {}),
    "unknown section": (2, "a recipe has no section 'trian'. Did you mean 'train'?", {"trian": {}}, {}),
    "unknown task": (2, "there is no task 'text_clasification'. Did you mean 'text_classification'?", {"task": "text_clasification"}, {}),
    "unknown method": (2, "there is no method 'lorra'", {"method": "lorra"}, {}),
    "unknown column": (3, "a.csv:2: there is no column 'sentence' for the text.", data(text="sentence"), {}),
    "unknown label column": (3, "there is no column 'labels' for the label. Did you mean 'label'?", data(label="labels"), {}),
    "negative epochs": (2, "train.epochs: input should be greater than 0, got -1", {"train": {"epochs": -1}}, {}),
    "file missing": (3, "there is no file", data(train="nothing.csv"), {}),
    "file empty": (3, "a.csv is empty", {}, {"a.csv": ""}),
    "header only": (3, "holds no rows", {}, {"a.csv": "text,label\n"}),
    "empty split": (3, "data.dev: ", data(dev="dev.csv"), {"dev.csv": "text,label\n"}),
    "too few rows to split": (3, "10% of 4 rows leaves nothing for", {}, {"a.csv": "text,label\na,x\nb,y\nc,x\nd,y\n"}),
    "one class only": (3, "the training rows hold one class only: 'pos'", {}, {"a.csv": "text,label\n" + "a,pos\nb,pos\n" * 20}),
    "empty text": (3, "a.csv:62: text: the text is empty.", {}, {"a.csv": GOOD + "  ,pos\n"}),
    "empty label": (3, "a.csv:62: label: the label is empty.", {}, {"a.csv": GOOD + "x,\n"}),
    "several bad rows": (3, "7 rows cannot be used:\n  ", {}, {"a.csv": GOOD + ",pos\n" * 7}),
    "open quote": (3, "a.csv:62: a quote opens here and never closes", {}, {"a.csv": GOOD + '"open,pos\nx,neg\n'}),
    "broken JSON at line 17": (
        3,
        "b.jsonl:17: this line is not JSON",
        data(name="json", train="b.jsonl"),
        {"b.jsonl": '{"text": "a", "label": "x"}\n' * 16 + '{"text": \n'},
    ),
    "not UTF-8": (3, "a.csv:62: byte 0xe9 at column 4 is not utf-8 text", {}, {"a.csv": GOOD.encode() + b"caf\xe9,pos\n"}),
    "a NUL byte": (3, "a.csv:62: a NUL byte at column 2", {}, {"a.csv": GOOD.encode() + b"a\0b,pos\n"}),
    "a label in dev that train lacks": (
        3,
        "dev.csv:2: the dev row has the label 'positive', which no training row has. Did you mean 'pos'?",
        data(dev="dev.csv"),
        {"dev.csv": "text,label\na,positive\n" + GOOD.partition("\n")[2]},
    ),
    "labels that are floats": (
        3,
        "a.csv:2: label: expected the name of a class, got the number 0.5",
        {},
        {"a.csv": "text,label\n" + "a,0.5\nb,0.7\n" * 20},
    ),
    "words for numbers": (
        3,
        "expected a number, got 'pos'",
        {"task": {"name": "text_classification", "problem_type": "regression"}},
        {"a.csv": "text,label\na,pos\n"},
    ),
    "a list as label": (3, "expected one label, got a list", data(name="json", train="b.json"), {"b.json": '[{"text": "a", "label": ["x"]}]'}),
    "a number as text": (3, "b.json:1: text: expected text, got 3", data(name="json", train="b.json"), {"b.json": '[{"text": 3, "label": "x"}]'}),
    "an answer that its context lacks": (
        3,
        "b.json:1: answers: the answer 'blue' does not stand in the context, and not at answer_start 1.",
        {"task": "question_answering", **data(name="json", train="b.json")},
        {"b.json": '[{"question": "a?", "context": "it is red", "answers": [{"text": "blue", "answer_start": 1}]}]'},
    ),
    "a column of contexts that is not there": (
        3,
        "b.json:1: there is no column 'context'. Did you mean 'contexts'?",
        {"task": "question_answering", **data(name="json", train="b.json")},
        {"b.json": '[{"question": "a?", "contexts": "it is red", "answers": []}]'},
    ),
    "an answer that is none of the options": (
        3,
        "b.json:1: answer: the answer 'C' is none of the options 'A', 'B'.",
        {"task": "multiple_choice", **data(name="json", train="b.json")},
        {"b.json": '[{"question": "a?", "choices": {"label": ["A", "B"], "text": ["x", "y"]}, "answer": "C"}]'},
    ),
    "options named twice": (
        2,
        "task: options and same_options both say what the options are: set one",
        {"task": {"name": "multiple_choice", "options": ["a", "b"], "same_options": ["yes", "no"]}},
        {},
    ),
    "no training rows named": (2, "data.train: missing", data(train=None), {}),
    "model folder without tokenizer": (4, "has no tokenizer", {"model": "no-tokenizer"}, {}),
    "model with truncated weights": (4, "the weights are damaged or cut short", {"model": "truncated"}, {}),
    "model folder without weights": (4, "there is no model.safetensors", {"model": "no-weights"}, {}),
    "model folder that is not there": (4, "there is no model folder", {"model": "./nowhere"}, {}),
    "model id that does not exist": (4, "there is no model 'nobody/no-such-model': it is not in the local cache", {"model": "nobody/no-such-model"}, {}),
    "misspelt short name": (4, "Did you mean 'minilm'?", {"model": "minilmm"}, {}),
    "model package not installed": (4, "the Python package 'no-such-package' is not installed", {"model": "package:no-such-package"}, {}),
    "a GPU where there is none": (5, "train.device: cuda was asked for, but", {"train": {"device": "cuda"}}, {}),
    "a device that is none": (5, "there is no device called 'gpu'", {"train": {"device": "gpu"}}, {}),
    "layers the model lacks": (4, "method: last 9 leaves the model, which has 3 layers", {"method": {"name": "layers", "last": 9}}, {}),
    "a pattern that matches nothing": (4, "matches no parameter of the model", {"method": {"name": "layers", "pattern": "lstm"}}, {}),
    "a pattern that is none": (2, "not a regular expression", {"method": {"name": "layers", "pattern": "("}}, {}),
    "text longer than the model": (2, "task.max_length: 512 is more than the 64 tokens", {"task": {"name": "text_classification", "max_length": 512}}, {}),
    "class weights of no class": (2, "there is no label 'positive'", {"task": {"name": "text_classification", "class_weights": {"positive": 2}}}, {}),
}


@pytest.fixture
def broken_models(tiny_bert: Path, tmp_path: Path) -> None:
    for name in ("no-tokenizer", "truncated", "no-weights"):
        shutil.copytree(tiny_bert, tmp_path / name)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "no-tokenizer" / file).unlink()
    weights = tmp_path / "truncated" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    (tmp_path / "no-weights" / "model.safetensors").unlink()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("broken_models")
def test_bad_input_is_one_sentence_and_a_hint(
    cli: Callable[..., Any], tiny_bert: Path, write_recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import torch

    code, words, changes, contents = CASES[name]
    if name == "a GPU where there is none" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.chdir(tmp_path)
    for file, content in {"a.csv": GOOD, **contents}.items():
        (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    recipe: dict[str, Any] = {"model": str(tiny_bert), "data": {"name": "csv", "train": "a.csv"}, "task": {"name": "text_classification", "max_length": 32}}
    for section, value in changes.items():
        recipe[section] = {**recipe[section], **value} if section == "data" else value
    answer = cli("train", write_recipe(recipe), "--json")
    assert answer.code == code, answer.err
    assert words in answer.err
    assert answer.err.count("error: ") == 1 and answer.err.count("hint: ") == 1
    assert "Traceback" not in answer.err and answer.out == ""
    assert not list(tmp_path.rglob("artifact")) and not list(tmp_path.rglob("report.json"))
    assert not list(tmp_path.rglob("COMPLETE"))


def test_rows_can_be_left_out_and_are_counted(
    cli: Callable[..., Any], recipe_dict: dict[str, Any], write_recipe: Callable[..., Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reviews.write_text(reviews.read_text() + ",pos\nno label,\n")
    recipe_dict["data"]["bad_rows"] = "skip"
    report = cli("train", write_recipe(recipe_dict), "train.steps=2", "--json").json()
    assert report["skipped"]["train"]["count"] == 2
    assert "reviews.csv:202: text: the text is empty" in report["skipped"]["train"]["reasons"][0]
    assert any("2 rows of train left out" in note for note in report["notes"])


def test_prediction_of_bad_rows_names_them(
    cli: Callable[..., Any], recipe_dict: dict[str, Any], write_recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    artifact = cli("train", write_recipe(recipe_dict), "train.steps=2", "--json").json()["artifact"]
    (tmp_path / "new.csv").write_text("review\nx\n")
    for arguments, stdin, code, words in (
        ((tmp_path / "new.csv",), None, 3, "new.csv:2: there is no column 'text' for the text."),
        ((tmp_path / "gone.csv",), None, 3, "there is no file"),
        (("-",), b"caf\xe9\n", 3, "stdin:1: byte 0xe9 is not utf-8"),
        (("-",), '{"text": \n', 3, "stdin:1: this line begins like a JSON object"),
        (("-",), '{"txet": "x"}\n', 3, "stdin:1: there is no column 'text' for the text. Did you mean 'txet'?"),
    ):
        answer = cli("predict", artifact, *arguments, stdin=stdin)
        assert answer.code == code and words in answer.err and "Traceback" not in answer.err, answer.err
    (tmp_path / "scored.csv").write_text("text,label\ngood,unheard of\n")
    answer = cli("evaluate", artifact, tmp_path / "scored.csv")
    assert answer.code == 3 and "has the label 'unheard of'" in answer.err
