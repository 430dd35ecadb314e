"""The verbs as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPORT_KEYS = {
    "run",
    "artifact",
    "report",
    "split",
    "selected_on_same_rows",
    "metrics",
    "train_seconds",
    "tokens_seen",
    "examples_seen",
    "tokens_per_second",
    "examples_per_second",
    "peak_memory_gb",
}


@pytest.fixture
def trained(
    cli: Callable[..., Any], recipe_dict: dict[str, Any], write_recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    recipe_dict["train"] |= {"epochs": 8, "dropout": 0.0}
    answer = cli("train", write_recipe(recipe_dict), "--json")
    assert answer.code == 0, answer.err
    report: dict[str, Any] = answer.json()
    return report


def test_train_evaluate_and_predict_agree(cli: Callable[..., Any], trained: dict[str, Any], tmp_path: Path) -> None:
    assert set(trained) >= REPORT_KEYS
    accuracy = trained["metrics"]["accuracy"]
    assert set(accuracy) >= {"before", "after", "p_value"} and set(accuracy["after"]) >= {"value", "low", "high", "n"}
    assert accuracy["after"]["low"] <= accuracy["after"]["value"] <= accuracy["after"]["high"]
    assert Path(trained["report"]).is_file() and Path(trained["artifact"]).is_dir()
    for key in ("train_seconds", "tokens_seen", "tokens_per_second", "examples_per_second", "peak_memory_gb"):
        assert trained[key] > 0

    scored = cli("evaluate", trained["artifact"], "--json").json()
    assert scored["metrics"]["accuracy"] == accuracy["after"], "the same rows, the same scores, the same interval"
    assert scored["hashes"]["rows"] == trained["hashes"]["proof_rows"] and scored["hashes"]["artifact"] == trained["hashes"]["artifact"]

    expected = [json.loads(line) for line in (Path(trained["run"]) / "predictions" / "after.jsonl").read_text().splitlines()]
    rows = {line.rsplit(",", 1)[0]: line for line in (tmp_path / "reviews.csv").read_text().splitlines()[1:]}
    by_text = {record["text"]: record for record in cli("predict", trained["artifact"], stdin="\n".join(rows)).out.splitlines() and _texts(cli, trained, rows)}
    from weitiao.core.rows import content_key

    for row in expected:
        text = next(text for text, line in rows.items() if content_key({"text": text, "label": line.rsplit(",", 1)[1]}) == row["id"])
        assert by_text[text]["prediction"] == row["prediction"]
        assert by_text[text]["scores"] == pytest.approx(row["scores"], abs=1e-4)


def _texts(cli: Callable[..., Any], trained: dict[str, Any], rows: dict[str, str]) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in cli("predict", trained["artifact"], stdin="\n".join(rows)).out.splitlines()]
    return [{"text": text, **line} for text, line in zip(rows, lines, strict=True)]


def test_predict_reads_files_objects_and_plain_lines(cli: Callable[..., Any], trained: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("text\nlovely film and great story\ndull and awful\n")
    (tmp_path / "new.jsonl").write_text('{"text": "lovely film and great story"}\n{"text": "dull and awful"}\n')
    from_csv = [json.loads(line) for line in cli("predict", trained["artifact"], tmp_path / "new.csv").out.splitlines()]
    from_jsonl = cli("predict", trained["artifact"], tmp_path / "new.jsonl", "--json").json()
    from_stdin = [
        json.loads(line) for line in cli("predict", trained["run"], stdin='lovely film and great story\n{"text": "dull and awful"}\n').out.splitlines()
    ]
    assert [p["prediction"] for p in from_csv] == ["pos", "neg"]
    assert from_csv == from_jsonl == from_stdin
    answer = cli("predict", trained["artifact"], tmp_path / "new.csv", "--out", tmp_path / "out.jsonl")
    assert answer.out == "" and [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == from_csv


def test_predict_without_rows_prints_nothing(cli: Callable[..., Any], trained: dict[str, Any]) -> None:
    answer = cli("predict", trained["artifact"], stdin="")
    assert (answer.code, answer.out) == (0, "")


def test_the_terminal_shows_verdict_table_paths_and_the_next_command(
    cli: Callable[..., Any], recipe_dict: dict[str, Any], write_recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = write_recipe(recipe_dict)
    answer = cli("train", recipe)
    for words in ("Accuracy", "macro_f1", "95 % interval", "report    ", "artifact  ", "next      weitiao predict runs/recipe-full-", "examples/s"):
        assert words in answer.out, words
    assert "dev: loss" in answer.err
    assert "trained already" in cli("train", recipe).out


def test_plan_stops_before_anything_is_written(
    cli: Callable[..., Any], recipe_dict: dict[str, Any], write_recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = write_recipe(recipe_dict)
    plan = cli("train", recipe, "--plan", "--json").json()
    assert plan["steps"] == 2 * plan["steps_per_epoch"] and plan["parameters"]["trainable"] == plan["parameters"]["total"]
    assert "GB at the peak" in cli("train", recipe, "method=layers", "--plan").out
    assert not (tmp_path / "runs").exists()


def test_show_lists_and_describes(cli: Callable[..., Any]) -> None:
    for kind, known in (("tasks", "text_classification"), ("methods", "layers"), ("sources", "csv"), ("regularizers", "l2")):
        entries = cli("show", kind, "--json").json()
        assert known in [entry["name"] for entry in entries] and all(entry["summary"] for entry in entries)
    shown = cli("show", "method", "layers").out
    assert "arXiv:1911.03090" in shown and "embeddings" in shown
    described = cli("show", "method", "layers", "--json").json()
    assert {field["name"] for field in described["fields"]} >= {"last", "first", "range", "pattern", "embeddings", "head"}
    wrong = cli("show", "method", "layer")
    assert wrong.code == 2 and "Did you mean 'layers'" in wrong.err
    assert cli("show", "metods").code == 2


def test_the_python_functions_take_the_same_names(recipe_dict: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import weitiao

    monkeypatch.chdir(tmp_path)
    report = weitiao.train(**{**recipe_dict, "train": {**recipe_dict["train"], "epochs": 8, "dropout": 0.0}})
    again = weitiao.train(recipe_dict, overrides={"train.epochs": 8, "train.dropout": 0.0})
    assert again["already_finished"] and again["run"] == report["run"]
    assert weitiao.evaluate(report["artifact"])["metrics"]["accuracy"] == report["metrics"]["accuracy"]["after"]
    assert [p["prediction"] for p in weitiao.predict(report["artifact"], ["a great lovely day", "awful dull"])] == ["pos", "neg"]
    assert weitiao.load(report["artifact"]).predict({"text": "great"} and "great lovely")[0].value == "pos"
    assert callable(weitiao.train) and callable(weitiao.evaluate), "no package may shadow a verb"


def test_a_flipped_byte_in_an_artifact_is_found_and_named(cli: Callable[..., Any], trained: dict[str, Any]) -> None:
    file = Path(trained["artifact"]) / "model" / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-5] ^= 1
    file.write_bytes(raw)
    answer = cli("predict", trained["artifact"], stdin="good")
    assert answer.code == 7 and "model/model.safetensors is not what was sealed" in answer.err and answer.out == ""


def test_what_is_no_artifact_is_told(cli: Callable[..., Any], tmp_path: Path) -> None:
    for folder, words in ((tmp_path / "nowhere", "there is no artifact"), (tmp_path, "is not a complete artifact")):
        answer = cli("evaluate", folder)
        assert answer.code == 7 and words in answer.err and "hint: " in answer.err


def test_help_takes_less_than_half_a_second() -> None:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "weitiao", "--help"], check=True, capture_output=True, timeout=30)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


def test_an_unexpected_fault_leaves_no_traceback_on_the_terminal(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("weitiao.cli.show.show", broken)
    answer = cli("show", "tasks")
    assert answer.code == 1 and answer.err.startswith("error: unexpected RuntimeError: boom\nhint: ") and "Traceback" not in answer.err
    details = Path(answer.err.rsplit(" ", 1)[1].strip().rstrip("."))
    assert "Traceback" in details.read_text()
    details.unlink()
