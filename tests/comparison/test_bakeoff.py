"""Methods compared under a budget: who takes part, for how many steps, what is kept, and which is picked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import weitiao
from tiny import DEVICE
from weitiao.comparison import bakeoff, verdict
from weitiao.comparison.page import render
from weitiao.core.durations import seconds_of
from weitiao.errors import BadValue, Conflict, Interrupted

METHODS = ("full", "bitfit", "norm")


@pytest.fixture
def recipe(recipe_dict: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    recipe_dict["train"] = {"epochs": 1, "batch_size": 8, "learning_rate": 5e-3, "dtype": "fp32", "device": str(DEVICE)}
    path = tmp_path / "reviews.yaml"
    path.write_text(yaml.safe_dump(recipe_dict), encoding="utf-8")
    return path


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any]) -> list[list[str]]:
    """Let runs stay in this process, which saves the seconds of a new one; return their settings, run by run."""
    seen: list[list[str]] = []

    def here(command: Sequence[str], *, ended: int) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-m", "weitiao", "train"]
        seen.append(list(command[4:]))
        answer = cli(*command[3:])
        return subprocess.CompletedProcess(command, answer.code, answer.out, answer.err)

    monkeypatch.setattr(bakeoff, "_run", here)
    return seen


def test_methods_take_the_same_steps_and_the_best_on_dev_is_picked(recipe: Path, commands: list[list[str]]) -> None:
    heard: list[bakeoff.Told] = []
    asked = bakeoff.Asked(recipe, names=METHODS, budget=3600, seeds=2)
    found = bakeoff.compare(asked, out=Path("out"), tell=heard.append)
    assert found["steps"] == found["steps_of_recipe"] and len(found["runs"]) == 6 == len(heard), "three methods, all of them finalists"
    assert {word for command in commands for word in command if word.startswith("train.steps=")} == {f"train.steps={found['steps']}"}
    own = [command for command in commands if "method=full" in command]
    others = [command for command in commands if "method=full" not in command]
    assert all("train.learning_rate=null" in command for command in others) and not any("train.learning_rate=null" in command for command in own)
    assert {one["name"] for one in found["methods"]} == set(METHODS)
    assert [one["dev"] for one in found["methods"]] == sorted((one["dev"] for one in found["methods"]), reverse=True)
    best = found["methods"][0]
    assert found["pick"] == best["name"] and best["dev"] == max(one["dev"] for one in found["methods"]) and best["in_front"]
    for one in found["methods"]:
        report = json.loads((Path(one["run"]) / "report.json").read_text())
        assert report["plan"]["steps"] == found["steps"] and one["proof"]["value"] == report["metrics"]["accuracy"]["after"]["value"]
        assert len(one["seeds"]) == 2 and one["dev"] == pytest.approx(sum(seed["dev"] for seed in one["seeds"]) / 2)
        assert one["artifact_bytes"] > 0 and (one["p_value"] is None) == (one["name"] == found["pick"])
    page = Path("out/comparison.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3 and "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert json.loads(Path("out/comparison.json").read_text()) == found
    again = bakeoff.compare(asked, out=Path("out"))
    assert again["already_finished"] and len(commands) == 6
    with pytest.raises(Conflict, match="holds a comparison of something else"):
        bakeoff.compare(bakeoff.Asked(recipe, names=METHODS, budget=60), out=Path("out"))


def test_a_comparison_that_was_stopped_goes_on_where_it_was(recipe: Path, commands: list[list[str]]) -> None:
    def stop(told: bakeoff.Told) -> None:
        raise KeyboardInterrupt

    asked = bakeoff.Asked(recipe, names=("bitfit", "norm"), budget=3600, seeds=1)
    with pytest.raises(KeyboardInterrupt):
        bakeoff.compare(asked, out=Path("out"), tell=stop)
    assert len(commands) == 1
    found = bakeoff.compare(asked, out=Path("out"))
    assert len(commands) == 2 and len(found["runs"]) == 2 and found["finished"]


def test_a_method_that_cannot_be_trained_is_listed_with_its_reason(
    recipe: Path, commands: list[list[str]], tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = yaml.safe_load(recipe.read_text())
    recipe.write_text(yaml.safe_dump({**settings, "model": str(tiny("llama"))}))
    own, fails = bakeoff._run, ["norm"]

    def broken(command: Sequence[str], *, ended: int) -> subprocess.CompletedProcess[str]:
        if f"method={fails[0]}" in command:
            return subprocess.CompletedProcess(command, 5, "", "reading rows ...\nerror: step 1: the memory is not enough.\nhint: Set method=lora.\n")
        return own(command, ended=ended)

    monkeypatch.setattr(bakeoff, "_run", broken)
    found = bakeoff.compare(bakeoff.Asked(recipe, names=("bitfit", "norm", "lora"), budget=3600, seeds=1), out=Path("out"))
    assert [one["name"] for one in found["methods"]] == ["lora"] and found["sentence"].count("the only method that was trained") == 1
    reasons = {failure["name"]: failure["reason"] for failure in found["failures"]}
    assert "no biases" in reasons["bitfit"] and reasons["norm"] == "step 1: the memory is not enough."
    assert "no biases" in Path("out/comparison.html").read_text(encoding="utf-8")


def test_a_short_budget_takes_fewer_steps_and_leaves_out_what_does_not_fit(recipe: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bakeoff, "FEWEST_STEPS", 2)
    candidates = [bakeoff.Candidate(name, _plan(fixed, each)) for name, fixed, each in (("a", 10.0, 1.0), ("b", 20.0, 3.0))]
    assert bakeoff._steps(candidates, 100, 1000) == 100
    assert bakeoff._steps(candidates, 100, 100) == int((0.6 * 100 - 30) / 4)
    with pytest.raises(Conflict, match="1 minutes are too short for 2 methods: about 1 would let each take 2 steps"):
        bakeoff._steps(candidates, 100, 40)
    kept = bakeoff._kept

    def slow(*arguments: Any) -> dict[str, Any]:
        return {**kept(*arguments), "seconds": 3000.0}

    monkeypatch.setattr(bakeoff, "_kept", slow)
    found = bakeoff.compare(bakeoff.Asked(recipe, names=("bitfit", "norm"), budget=3600, seeds=3), out=Path("out"))
    assert len(found["runs"]) == 1 and "the budget was used up" in found["failures"][0]["reason"]


def _plan(fixed: float, each: float) -> Any:
    return type("Planned", (), {"forecast": {"seconds": {"loading": fixed, "steps": 99.0}, "seconds_per_step": each}})()


def test_python_gets_what_the_command_prints(recipe: Path, commands: list[list[str]]) -> None:
    found = weitiao.compare_methods(recipe, methods=["norm"], budget="1h", seeds=1, out="out", overrides=["data.train_rows=16"])
    assert found["pick"] == "norm" and "data.train_rows=16" in commands[0] and found["rows"]["train"] <= 16


def test_methods_that_train_together_are_one_entry(recipe: Path, commands: list[list[str]]) -> None:
    found = weitiao.compare_methods(recipe, methods=["bitfit+norm", "norm"], budget="1h", seeds=1, out="out")
    assert {one["name"] for one in found["methods"]} == {"bitfit+norm", "norm"} and not found["failures"]
    assert any("method=[bitfit,norm]" in command for command in commands)
    sizes = {one["name"]: one["trainable"] for one in found["methods"]}
    assert sizes["bitfit+norm"] > sizes["norm"]
    with pytest.raises(BadValue, match="no method 'nrom'"):
        weitiao.compare_methods(recipe, methods=["bitfit+nrom"], budget="1h", seeds=1, out="other")


def test_wrong_names_and_times_are_told(recipe: Path) -> None:
    with pytest.raises(BadValue, match="no method 'bitfitt'.*bitfit"):
        bakeoff.compare(bakeoff.Asked(recipe, names=("bitfitt",)))
    for text, seconds in (("90s", 90), ("30m", 1800), ("1.5h", 5400), ("45", 45)):
        assert seconds_of(text, key="--budget") == seconds
    for text in ("", "0m", "half an hour", "-3m"):
        with pytest.raises(BadValue, match="--budget"):
            seconds_of(text, key="--budget")


def run_of(name: str, dev: float, trainable: int, *, number: int = 0, higher: bool = True) -> dict[str, Any]:
    return {"name": name, "number": number, "seed": number, "metric": "accuracy", "higher_is_better": higher, "dev": dev, "trainable": trainable}


def test_the_best_on_dev_is_first_and_of_equals_the_smaller() -> None:
    runs = [run_of("a", 0.8, 100), run_of("b", 0.9, 100), run_of("c", 0.9, 10), run_of("a", 0.96, 100, number=1)]
    assert verdict.ranked({"runs": runs}) == ["c", "b", "a"]
    assert verdict.ranked({"runs": [run_of("a", 1.5, 1, higher=False), run_of("b", 1.2, 1, higher=False)]}) == ["b", "a"], "a loss is better when lower"
    assert verdict.in_front([(0.9, 100), (0.9, 10), (0.8, 10), (0.95, 1000), (0.9, 10)]) == [1, 3, 4], "of points that are equal none beats the other"


def entry(name: str, dev: float, trainable: int, p_value: float | None, seeds: int = 1) -> dict[str, Any]:
    proof = {"value": dev - 0.01, "low": dev - 0.05, "high": dev + 0.03, "n": 100}
    told = {"metric": "accuracy", "higher_is_better": True, "before": 0.5, "dev_is_proof": False}
    return {**told, "name": name, "dev": dev, "proof": proof, "trainable": trainable, "p_value": p_value, "seeds": [{}] * seeds}


def test_the_sentence_says_why_and_names_a_smaller_one_that_is_not_told_apart() -> None:
    said = verdict.sentence([entry("full", 0.91, 22_000_000, None, 3), entry("lora", 0.905, 700_000, 0.31), entry("bitfit", 0.85, 20_000, 0.001)])
    assert said.startswith("full: accuracy 0.9100 on dev, mean of 3 seeds, the best of 3 methods; on the proof rows 0.9000 (0.8600 to 0.9400).")
    assert "lora trains 31 times fewer weights and is not told apart from it on the proof rows (p = 0.310)" in said and "bitfit" not in said
    assert "no better than before" not in said
    short = verdict.sentence([{**entry("ia3", 0.6564, 10, None), "before": 0.7893}])
    assert "That is no better than before (0.7893): with more steps it may be." in short
    assert verdict.sentence([entry("bitfit", 0.9, 10, None), entry("full", 0.8, 1000, 0.2)]).endswith("Not told apart from it on the proof rows: full.")
    assert verdict.sentence([entry("bitfit", 0.9, 10, None), entry("full", 0.8, 1000, 0.002)]).endswith("told apart from every other (p < 0.05).")


def test_texts_on_the_page_are_never_markup(recipe: Path, commands: list[list[str]]) -> None:
    found = bakeoff.compare(bakeoff.Asked(recipe, names=("bitfit",), budget=3600, seeds=1), out=Path("out"))
    page = render({**found, "failures": [{"name": "x", "reason": "<b>bold</b> & more"}]})
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; more" in page and "<b>bold</b>" not in page


@pytest.mark.soak
def test_ctrl_c_saves_the_run_and_the_same_command_goes_on(recipe: Path) -> None:
    command = [sys.executable, "-m", "weitiao", "compare", "methods", str(recipe), "--methods", "full,norm", "--seeds", "1", "--out", "out", "--json"]
    command.insert(6, "train.epochs=40")
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while first.poll() is None and not list(Path("out").glob("runs/*/state/*")):
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGINT)
    _, said = first.communicate(timeout=120)
    assert first.returncode == Interrupted.exit_code and "The same command goes on from there" in said and "Traceback" not in said
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout)["finished"]
