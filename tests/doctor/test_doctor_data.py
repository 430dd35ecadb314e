"""`weitiao doctor data`: real files, every finding in its place, a copy that is right, and nothing touched."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_language
import weitiao
from tiny import sentences, write_csv
from weitiao.core.recipe import Recipe
from weitiao.doctor import page, suspects
from weitiao.doctor.suspects import confident
from weitiao.errors import BadValue
from weitiao.training.prepare import encode, prepare


@pytest.fixture
def doubtful(tmp_path: Path, tiny_bert: Path) -> dict[str, Any]:
    """Return a recipe whose rows have one of everything."""
    rows = [(f"{text} number {n}", label) for n, (text, label) in enumerate(sentences(60))]
    proof = [(f"{text} proof {n}", label) for n, (text, label) in enumerate(sentences(30))]
    odd = [rows[0], (rows[1][0].upper(), rows[1][1]), (rows[2][0], "odd"), ("...", rows[0][1]), proof[0], ("a\x07bell and z\u200bero", rows[0][1])]
    many = [(" ".join(["the good film"] * 60), rows[0][1]), ("mail anna@example.com", rows[0][1]), ("", rows[0][1])]
    write_csv(tmp_path / "train.csv", [*rows, *odd, *many])
    write_csv(tmp_path / "test.csv", proof)
    return {
        "model": str(tiny_bert),
        "data": {"name": "csv", "train": str(tmp_path / "train.csv"), "test": str(tmp_path / "test.csv")},
        "task": {"name": "text_classification", "max_length": 24},
    }


def found(report: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["check"], one["split"]): one for one in report["findings"]}


def test_everything_is_found_and_the_copy_is_without_it(doubtful: dict[str, Any], tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")}
    report = weitiao.examine_data(doubtful, fix=tmp_path / "mended")
    checks = found(report)
    assert not report["healthy"] and report["counts"]["problem"] == 2
    assert checks["leakage", "train"]["level"] == checks["unreadable", "train"]["level"] == "problem"
    for check in ("duplicates", "duplicates_normalised", "conflicts", "empty", "characters_control", "characters_unseen", "personal_email", "labels_rare"):
        assert checks[check, "train"]["level"] == "warning", check
    assert checks["conflicts", "train"]["rows"][0]["said"].startswith(f"{tmp_path / 'train.csv'}:")
    assert report["splits"]["train"]["tokens"]["share_past_limit"] > 0 and checks["lengths", "train"]["count"] == 1
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")} == before

    ledger = [json.loads(line) for line in Path(report["copy"]["ledger"]).read_text().splitlines()]
    told = sorted((line["what"], line["why"]) for line in ledger)
    assert told == [
        ("left out", "duplicates"),
        ("left out", "duplicates_normalised"),
        ("left out", "empty"),
        ("left out", "leakage"),
        ("left out", f"unreadable: {tmp_path / 'train.csv'}:70: text: the text is empty."),
        ("mended", "characters"),
    ]
    again = weitiao.examine_data(Path(report["copy"]["recipe"]))
    left = {check for check, split in found(again) if split == "train"}
    assert again["healthy"] and not left & {"duplicates", "duplicates_normalised", "empty", "leakage", "unreadable", "characters_control", "characters_unseen"}
    assert again["splits"]["test"] == report["splits"]["test"]
    with pytest.raises(BadValue, match="is there already"):
        weitiao.examine_data(doubtful, fix=tmp_path / "mended")


def test_the_page_holds_what_was_found_and_no_text_becomes_markup(doubtful: dict[str, Any]) -> None:
    report = weitiao.examine_data(doubtful)
    report["findings"][0]["message"] = "<script>alert(1)</script>"
    drawn = page.render(report)
    assert drawn == page.render(report) and "<script" not in drawn and "&lt;script&gt;" in drawn
    assert "Not fit" in drawn and "anna@" not in drawn and "personal" in drawn.lower()


def test_the_command_prints_writes_and_exits_with_3(doubtful: dict[str, Any], tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(yaml.safe_dump(doubtful))
    answer = cli("doctor", "data", "r.yaml", "--page", "found.html")
    assert answer.code == 3 and "not fit" in answer.out and "found.html" in answer.out and "anna@" not in answer.out
    assert Path("found.html").read_text().startswith("<!DOCTYPE html>")
    answer = cli("doctor", "data", "none.yaml")
    assert answer.code == 3 and "there is no recipe" in answer.err


@pytest.mark.parametrize("kind", ["pairs", "tags", "chat", "questions"])
def test_rows_of_other_kinds_are_copied_so_that_their_task_reads_them(kind: str, tmp_path: Path, tiny_bert: Path) -> None:
    texts = [text for text, _ in sentences(40)]
    model, task, rows = str(tiny_bert), dict[str, Any](), list[dict[str, Any]]()
    if kind == "pairs":
        task, rows = (
            {"name": "text_pair"},
            [{"sentence1": a, "sentence2": b, "label": "yn"[n % 2]} for n, (a, b) in enumerate(itertools.pairwise(texts))],
        )
    elif kind == "tags":
        task, rows = (
            {"name": "token_classification"},
            [{"tokens": [*text.split(), str(n)], "tags": ["O"] * len(text.split()) + ["B-N"]} for n, text in enumerate(texts)],
        )
    elif kind == "questions":
        task = {"name": "question_answering", "max_length": 48, "doc_stride": 8}
        rows = [
            {"id": str(n), "question": f"where {n}", "context": f"{text} {n}", "answers": {"text": [text.split()[0]], "answer_start": [0]}}
            for n, text in enumerate(texts)
        ]
    else:
        model, task, rows = str(tiny_language.build(tmp_path / "llama", "llama")), {"name": "chat", "max_length": 64}, tiny_language.dialogues(40)
    rows += [rows[0]] if kind != "questions" else [{**rows[0], "id": "again"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    asked = {"model": model, "task": task, "data": {"name": "json", "train": str(tmp_path / "rows.jsonl")}, "evaluate": {"best": False}}
    report = weitiao.examine_data(asked, fix=tmp_path / "mended")
    again = weitiao.examine_data(Path(report["copy"]["recipe"]))
    counted = [sum(split["rows"] for split in one["splits"].values()) for one in (report, again)]
    assert counted[1] == counted[0] - report["copy"]["left_out"] and report["copy"]["left_out"] <= 1


def test_healthy_rows_are_fit(recipe_dict: dict[str, Any], tmp_path: Path) -> None:
    rows = write_csv(tmp_path / "rows.csv", [(f"{text} {n}", label) for n, (text, label) in enumerate(sentences(120))])
    report = weitiao.examine_data(recipe_dict | {"data": {"name": "csv", "train": str(rows)}})
    assert report["healthy"] and report["counts"]["problem"] == report["counts"]["warning"] == 0


def numbered(path: Path, rows: list[tuple[str, str]]) -> str:
    path.write_text("\n".join(["id,text,label", *(f"{n},{text},{label}" for n, (text, label) in enumerate(rows))]))
    return str(path)


def test_repeats_in_the_proof_rows_take_no_row_of_the_same_id_out_of_train(doubtful: dict[str, Any], tmp_path: Path) -> None:
    rows = [(f"{text} number {n}", label) for n, (text, label) in enumerate(sentences(40))]
    proof = [(f"{text} proof {n}", label) for n, (text, label) in enumerate(sentences(30))]
    files = {"train": numbered(tmp_path / "a.csv", rows), "test": numbered(tmp_path / "b.csv", [*proof, proof[0], ("...", proof[0][1])])}
    report = weitiao.examine_data({**doubtful, "data": {"name": "csv", "id": "id", **files}}, fix=tmp_path / "mended")
    assert {("duplicates", "test"), ("empty", "test")} <= found(report).keys()
    assert report["copy"]["left_out"] == 0 and report["copy"]["kept"] == 40 + 32


def test_proof_rows_that_do_not_fit_are_told(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"{n} hello"}, {"role": "assistant", "content": f"fine {n}"}]} for n in range(40)]
    long = {"messages": [{"role": "user", "content": "hello there " * 80}, {"role": "assistant", "content": "fine"}]}
    for name, held in (("train", rows), ("test", [*rows[:5], long])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, held)))
    asked = {
        "model": str(tiny_language.build(tmp_path / "llama", "llama")),
        "task": {"name": "chat", "max_length": 32},
        "data": {"name": "json", "train": str(tmp_path / "train.jsonl"), "test": str(tmp_path / "test.jsonl")},
        "evaluate": {"best": False},
    }
    assert found(weitiao.examine_data(asked))["left_out", "test"]["count"] == 1


def test_rows_that_a_mixture_takes_twice_are_no_repeats_and_it_is_not_cleaned_as_a_whole(recipe_dict: dict[str, Any], tmp_path: Path) -> None:
    sources = []
    for name, weight in (("a", 2), ("b", 1)):
        rows = write_csv(tmp_path / f"{name}.csv", [(f"{text} {name} {n}", label) for n, (text, label) in enumerate(sentences(60))])
        sources.append({"name": "csv", "train": str(rows), "weight": weight})
    asked = recipe_dict | {"data": {"name": "mixture", "sources": sources}}
    report = weitiao.examine_data(asked)
    assert not {check for check, _ in found(report)} & {"duplicates", "duplicates_normalised"}
    with pytest.raises(BadValue, match="mixture is several sources"):
        weitiao.examine_data(asked, fix=tmp_path / "mended")
    assert not (tmp_path / "mended").exists()


# ------------------------------------------------------------ labels that are probably wrong


def test_confident_learning_names_the_rows_whose_label_was_changed() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 600)
    chances = random.dirichlet([1, 1, 1], 600) * 0.3 + 0.7 * np.eye(3)[truth]
    given = truth.copy()
    wrong = random.permutation(600)[:30]
    given[wrong] = (truth[wrong] + 1) % 3
    found = confident(chances, given)
    named = {row for row, *_ in found}
    assert named <= set(wrong.tolist()) and len(named) >= 15
    assert all(other == truth[row] for row, other, _ in found)
    gaps = [chances[row, given[row]] - chances[row, other] for row, other, _ in found]
    assert gaps == sorted(gaps)
    assert confident(chances, truth) == []


def test_suspects_are_looked_for_where_it_is_asked_and_named_by_their_rows(
    recipe_dict: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(f"{text} {n}", label) for n, (text, label) in enumerate(sentences(160))]
    asked = recipe_dict | {"data": {"name": "csv", "id": "id", "train": numbered(tmp_path / "rows.csv", rows), "dev_share": 0.05, "test_share": 0.05}}
    wrong = prepare(Recipe.load(asked)).data.splits.train[7]

    def judged(task: Any, features: Any, states: Any, *, seed: int) -> np.ndarray:
        sure = np.eye(len(task.labels))[[item.target for item in features]] * 0.7 + 0.1
        at = [item.row for item in features].index(wrong.id)
        sure[at] = np.where(sure[at] > 0.5, 0.05, 0.95)  # surer than others of that label, on average
        return sure

    monkeypatch.setattr(suspects, "judged", judged)
    assert "labels_suspect" not in {one["check"] for one in weitiao.examine_data(asked)["findings"]}
    named = found(weitiao.examine_data(asked, suspects=True))["labels_suspect", "train"]
    assert [(row["id"], row["place"]) for row in named["rows"]] == [(wrong.id, wrong.place)] and f"got '{wrong.target}', expected" in named["rows"][0]["said"]


def test_every_row_is_judged_by_heads_that_have_not_seen_it(recipe_dict: dict[str, Any], tmp_path: Path) -> None:
    rows = [(f"{text} {n}", label) for n, (text, label) in enumerate(sentences(100))]
    asked = recipe_dict | {"data": {"name": "csv", "train": str(write_csv(tmp_path / "rows.csv", rows))}}
    made, encoded = encode(prepare(Recipe.load(asked)))
    features = list(encoded.train)
    apart = [np.full((1, 4), float(item.target), dtype=np.float32) for item in features]
    chances = suspects.judged(made.recipe.task, features, apart, seed=1)
    assert (chances.argmax(1) == [item.target for item in features]).all()
    alone = [np.eye(len(features), dtype=np.float32)[n : n + 1] for n in range(len(features))]  # a head that had seen a row would know it again
    known = (suspects.judged(made.recipe.task, features, alone, seed=1).argmax(1) == [item.target for item in features]).mean()
    assert known < 0.8
