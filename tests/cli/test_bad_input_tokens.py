"""Bad input around tags of words, through the command line: one sentence and a hint, the right exit code, nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiny import FILLER, GOOD

ROWS = [{"tokens": [FILLER[n % 9], GOOD[n % 7], str(n)], "tags": ["O", "B-FINE", "O"]} for n in range(40)]
CASES: dict[str, tuple[int, str, str, dict[str, Any], list[Any]]] = {
    # name: (exit code, words of the message, words of the hint, settings of the task, rows after the good ones)
    "fewer tags than words": (3, "a.jsonl:41: tags: expected 2 tags, one for each word, got 1.", "skip", {}, [{"tokens": ["a", "b"], "tags": ["O"]}]),
    "no tags": (3, "a.jsonl:41: there is no column 'tags', 'ner_tags', 'labels', 'label' or 'entities'", "data.label", {}, [{"tokens": ["a"]}]),
    "no words": (3, "a.jsonl:41: tokens: there is no word.", "skip", {}, [{"tokens": [], "tags": []}]),
    "numbers for tags": (3, "expected the name of a tag, got the number 0", "names of the tags", {}, [{"tokens": ["a"], "tags": [0]}]),
    "a tag of no scheme": (3, "a.jsonl:41: word 1 of the train row ('a') has the tag 'FINE'", "task.scheme=plain", {}, [{"tokens": ["a"], "tags": ["FINE"]}]),
    "an entity within a word": (3, "is only a part of the word 'night'", "count characters from 0", {}, [{"text": "night", "entities": [[0, 3, "X"]]}]),
    "an unknown scheme": (2, "task.scheme: ", "", {"scheme": "bogus"}, []),
    "labels that lack one": (2, "task.labels lacks 'I-FINE'", "[O, B-PER, I-PER]", {"labels": ["O", "B-FINE"]}, []),
    "labels that are not listed": (3, "the training rows hold 'FINE', which task.labels does not list", "", {"labels": ["O", "B-X", "I-X"]}, []),
    "a weight of nothing": (2, "task.class_weights: there is no 'FIN'. Did you mean 'FINE'?", "Known: O", {"class_weights": {"FIN": 2}}, []),
    "nothing marked": (3, "no entity is marked: every tag is O", "data.label", {"scheme": "iob2"}, [None]),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_sentence_and_a_hint(
    cli: Callable[..., Any], tiny_bert: Path, write_recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, words, hint, settings, more = CASES[name]
    rows = [{**row, "tags": ["O"] * 3} for row in ROWS] if more == [None] else [*ROWS, *more]
    Path("a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = {"name": "token_classification", "max_length": 16, **settings}
    made = {"model": str(tiny_bert), "data": {"name": "json", "train": "a.jsonl"}, "task": task, "train": {"steps": 1, "device": "cpu", "dtype": "fp32"}}
    answer = cli("train", write_recipe(made), "--json")
    assert words in answer.err and answer.code == code, answer.err
    assert hint in answer.err.partition("hint: ")[2], answer.err
    assert answer.err.count("error: ") == 1 and "Traceback" not in answer.err and answer.out == ""
    assert not list(tmp_path.rglob("report.json"))


def test_rows_that_cannot_be_used_are_left_out_on_request(cli: Callable[..., Any], tiny_bert: Path, write_recipe: Callable[..., Path], tmp_path: Path) -> None:
    bad = [{"tokens": ["a"], "tags": ["FINE"]}, {"tokens": ["a", "b"], "tags": ["O"]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, [*ROWS, *bad])))
    made = {
        "model": str(tiny_bert),
        "data": {"name": "json", "train": str(tmp_path / "a.jsonl"), "bad_rows": "skip"},
        "task": {"name": "token_classification", "max_length": 16, "scheme": "bio"},
        "train": {"steps": 1, "device": "cpu", "dtype": "fp32"},
    }
    report = cli("train", write_recipe(made), "--out", tmp_path / "run", "--json").json()
    assert report["skipped"]["train"]["count"] == 2 and "a.jsonl:41: word 1 ('a') has the tag 'FINE'" in report["skipped"]["train"]["reasons"][0]


def test_items_without_words_are_refused_when_predicting(cli: Callable[..., Any], tiny_bert: Path, write_recipe: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    data, task = {"name": "json", "train": str(tmp_path / "a.jsonl")}, {"name": "token_classification", "max_length": 16}
    made = {"model": str(tiny_bert), "data": data, "task": task, "train": {"steps": 1, "device": "cpu", "dtype": "fp32"}}
    artifact = cli("train", write_recipe(made), "--out", tmp_path / "run", "--json").json()["artifact"]
    for line, said in (
        ('{"tokens": []}', "stdin:1: tokens: there is no word."),
        ('{"sentence": "x"}', "stdin:1: there is no column 'tokens', 'words' or 'text'"),
    ):
        answer = cli("predict", artifact, "-", stdin=line)
        assert answer.code == 3 and said in answer.err and "hint: " in answer.err and "Traceback" not in answer.err
