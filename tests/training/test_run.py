"""The way of a run: what it leaves, how it goes on, and that nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny_language
import weitiao
from tiny import DEVICE, sentences, write_csv
from weitiao.core.events import Saved, Stepped
from weitiao.errors import Interrupted, Occupied, ResumeMismatch
from weitiao.parallel.single import Single
from weitiao.training import state


class PowerCut(BaseException):
    """Nothing after this line runs: no handler saves anything."""


def weights(artifact: str) -> dict[str, torch.Tensor]:
    return dict(load_file(Path(artifact) / "model" / "model.safetensors"))


def same_bits(first: str, second: str) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def at_step(step: int, raised: type[BaseException]) -> Callable[[Any], None]:
    """Return a recorder that raises once the loop tells of a step."""

    def recorder(event: Any) -> None:
        if isinstance(event, Stepped) and event.step >= step:
            raise raised

    return recorder


@pytest.fixture
def small(recipe_dict: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield recipe_dict
    torch.set_num_threads(threads)


def test_a_run_leaves_everything_and_a_second_call_points_to_it(small: dict[str, Any]) -> None:
    small |= {"train": {**small["train"], "epochs": 10, "dropout": 0.0}, "evaluate": {"patience": None}}
    report = weitiao.train(small)
    run = Path(report["run"])
    for name in (
        "recipe.yaml",
        "plan.json",
        "environment.json",
        "log.jsonl",
        "report.json",
        "report.html",
        "predictions/before.jsonl",
        "predictions/after.jsonl",
    ):
        assert (run / name).is_file(), name
    for name in ("manifest.json", "recipe.yaml", "task.json", "model/model.safetensors", "tokenizer/tokenizer.json", "report.json", "README.md", "COMPLETE"):
        assert (run / "artifact" / name).is_file(), name
    assert not (run / "state").exists() and not (run / "failure.json").exists()
    assert report["metrics"]["accuracy"]["after"]["value"] >= 0.9 > report["baselines"]["majority"]["accuracy"]["value"]
    assert report["examples_seen"] == 10 * report["rows"]["train"]
    again = weitiao.train(small)
    assert again["already_finished"] and again["run"] == report["run"]
    other = weitiao.train(small, again=True)
    assert other["run"] != report["run"] and same_bits(report["artifact"], other["artifact"]), "the same recipe gives the same bits"


def test_tokens_are_counted_without_padding(small: dict[str, Any]) -> None:
    report = weitiao.train(small, train={"epochs": 1})
    artifact = weitiao.load(report["artifact"])
    from weitiao.inspect.rows import read

    rows = read(artifact.artifact.recipe).splits.train
    assert report["tokens_seen"] == sum(len(f.input_ids) for f in artifact.task.encode(rows, artifact.tokenizer))
    assert report["tokens_per_second"] == pytest.approx(report["tokens_seen"] / report["train_seconds"], rel=0.01)


@pytest.mark.parametrize("method", [{"name": "full"}, {"name": "layers", "last": 1}], ids=["full", "layers"])
def test_a_run_killed_at_any_step_goes_on_to_the_same_bits(small: dict[str, Any], method: dict[str, Any]) -> None:
    small |= {"method": method, "evaluate": {"every": 3, "patience": None}, "train": {**small["train"], "epochs": 1, "batch_size": 20, "save_every": 2}}
    whole = weitiao.train(small, out="whole")
    steps = whole["steps"]
    assert steps >= 6
    for step in range(1, steps + 1):
        out = f"cut-{step}"
        with pytest.raises(PowerCut):
            weitiao.train(small, out=out, recorders=[at_step(step, PowerCut)])
        resumed = weitiao.train(small, out=out)
        assert same_bits(whole["artifact"], resumed["artifact"]), f"killed at step {step}"
        assert resumed["tokens_seen"] == whole["tokens_seen"] and resumed["best_step"] == whole["best_step"]
        assert resumed["curves"]["train_loss"] == whole["curves"]["train_loss"]
        assert resumed["metrics"] == whole["metrics"]


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language.build(tmp_path_factory.mktemp("language") / "llama", "llama")


LANGUAGE: dict[str, dict[str, Any]] = {
    "chat, lora, packed": {
        "task": {"name": "chat", "max_length": 96, "generate_rows": 2, "max_new_tokens": 4},
        "method": {"name": "lora", "r": 2, "lora_dropout": 0.2},
        "packing": True,
    },
    "chat, lora, padded": {
        "task": {"name": "chat", "max_length": 96, "generate_rows": 0},
        "method": {"name": "lora", "r": 2, "lora_dropout": 0.2},
        "packing": False,
    },
    "text, dropout": {"task": {"name": "language_modeling", "max_length": 24, "overlap": 4}, "method": {"name": "full"}, "packing": None, "dropout": 0.2},
}


@pytest.mark.parametrize("name", LANGUAGE)
def test_a_language_model_killed_at_any_step_goes_on_to_the_same_bits(small: dict[str, Any], tiny_llama: Path, tmp_path: Path, name: str) -> None:
    case = dict(LANGUAGE[name])
    chat = case["task"]["name"] == "chat"
    rows = tiny_language.dialogues(90) if chat else [{"text": text} for text in tiny_language.texts(60)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dropout = {"dropout": case["dropout"]} if "dropout" in case else {}
    small |= {
        "model": str(tiny_llama),
        "data": {"name": "json", "train": str(tmp_path / "rows.jsonl")},
        "task": case["task"],
        "method": case["method"],
        "evaluate": {"every": 3, "patience": None},
        "train": {"epochs": 1, "batch_size": 12, "device": str(DEVICE), "dtype": "fp32", "save_every": 2, "packing": case["packing"], **dropout},
    }
    whole = weitiao.train(small, out="whole")
    file = "adapter/adapter_model.safetensors" if case["method"]["name"] == "lora" else "model/model.safetensors"
    expected = load_file(Path(whole["artifact"]) / file)
    assert whole["steps"] >= 4
    assert json.loads(Path("whole/plan.json").read_text())["packing"] is (case["packing"] is not False)
    for step in (1, 3, whole["steps"]):  # before the first checkpoint, between two, behind the last
        with pytest.raises(PowerCut):
            weitiao.train(small, out=f"cut-{step}", recorders=[at_step(step, PowerCut)])
        resumed = weitiao.train(small, out=f"cut-{step}")
        found = load_file(Path(resumed["artifact"]) / file)
        assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected), f"killed at step {step}"
        assert resumed["metrics"] == whole["metrics"] and resumed["curves"]["train_loss"] == whole["curves"]["train_loss"]
        assert resumed["tokens_seen"] == whole["tokens_seen"]


def test_a_run_cut_while_saving_goes_on_from_the_checkpoint_before(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    small |= {"evaluate": {"every": 3, "patience": None}, "train": {**small["train"], "save_every": 3}}
    whole = weitiao.train(small, out="whole")
    save, calls = Single.save, [0]

    def cut(self: Single, tensors: Any, path: Path) -> None:
        calls[0] += 1
        if calls[0] == 5:  # inside the second or third checkpoint: some files written, not all
            path.write_bytes(b"half")
            raise PowerCut
        save(self, tensors, path)

    monkeypatch.setattr(Single, "save", cut)
    with pytest.raises(PowerCut):
        weitiao.train(small, out="cut")
    monkeypatch.setattr(Single, "save", save)
    assert same_bits(whole["artifact"], weitiao.train(small, out="cut")["artifact"])


def test_early_stopping_restores_the_best_weights(small: dict[str, Any]) -> None:
    report = weitiao.train(small, train={"epochs": 30, "learning_rate": 5e-3}, evaluate={"every": 2, "best": "loss", "patience": 2})
    assert report["stopped_early"] and report["best_step"] == report["steps"] - 4
    losses = dict(map(tuple, report["curves"]["dev_loss"]))
    assert losses[report["best_step"]] == min(losses.values())


def test_a_run_in_use_is_not_entered(small: dict[str, Any]) -> None:
    entered = []

    def second(event: Any) -> None:
        if isinstance(event, Stepped) and not entered:
            entered.append(1)
            with pytest.raises(Occupied, match="another process is training"):
                weitiao.train(small, out="one")

    weitiao.train(small, out="one", recorders=[second])
    assert entered


def test_changed_data_or_recipe_is_refused_with_the_difference(small: dict[str, Any], reviews: Path) -> None:
    with pytest.raises(PowerCut):
        weitiao.train(small, out="one", recorders=[at_step(1, PowerCut)])
    with pytest.raises(Occupied, match="run of another recipe"):
        weitiao.train(small, out="one", train={"seed": 9})
    reviews.write_text(reviews.read_text().replace("good", "fine"))
    with pytest.raises(ResumeMismatch, match=r"since it began the data changed \(same number of rows, other content\)"):
        weitiao.train(small, out="one")


def test_a_finished_run_of_other_data_is_not_taken_for_this_one(small: dict[str, Any], reviews: Path) -> None:
    weitiao.train(small)
    reviews.write_text(reviews.read_text() + "a new row,pos\n")
    with pytest.raises(ResumeMismatch, match="finished run of this recipe, but since it began the data changed"):
        weitiao.train(small)
    assert not weitiao.train(small, again=True).get("already_finished")


def test_out_does_not_touch_a_folder_of_something_else(small: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(Occupied, match="not a run of weitiao"):
        weitiao.train(small, out="mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_resumed_run_obeys_the_plan_and_does_not_probe_again(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    small["train"]["dtype"] = "auto"
    with pytest.raises(PowerCut):
        weitiao.train(small, out="one", recorders=[at_step(1, PowerCut)])
    plan = json.loads(Path("one/plan.json").read_text())
    Path("one/plan.json").write_text(json.dumps({**plan, "dtype": "bf16"}))

    def probe(*_: object) -> None:
        raise AssertionError("probed again")

    monkeypatch.setattr("weitiao.models.precision.choose", probe)
    assert weitiao.train(small, out="one")["machine"]["dtype"] == "bf16"


def start(folder: Path, recipe: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "weitiao", "train", str(recipe), "--json", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.parametrize(
    "signals",
    [
        pytest.param((signal.SIGKILL, signal.SIGTERM), id="kill then term", marks=pytest.mark.soak),
        pytest.param((signal.SIGINT, signal.SIGKILL), id="ctrl-c then kill"),
    ],
)
def test_signals_to_a_real_process_lose_nothing(
    small: dict[str, Any], tmp_path: Path, write_recipe: Callable[..., Path], signals: tuple[signal.Signals, ...]
) -> None:
    small |= {"evaluate": {"every": 40, "patience": None}, "train": {**small["train"], "epochs": 40, "save_every": 10}}
    recipe = write_recipe(small)
    for number, sent in enumerate(signals):
        process = start(tmp_path, recipe, "--out", "cut")
        wanted = 20 + 60 * number
        wait_for(lambda wanted=wanted: any(int(p.name) >= wanted for p in state.complete(tmp_path / "cut" / "state")), process)
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
        assert out == ""
        if sent == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 6
            assert "error: stopped; everything up to step" in err and "hint: The same command goes on from there." in err and "Traceback" not in err
        assert not (tmp_path / "cut" / "artifact").exists()
    process = start(tmp_path, recipe, "--out", "cut")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "going on at step" in err
    torch.set_num_threads(1)
    whole = weitiao.train(recipe, out="whole")
    assert same_bits(whole["artifact"], json.loads(out)["artifact"])


def test_an_interruption_before_the_first_step_says_so(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("weitiao.training.run.load.weights", interrupt)
    with pytest.raises(Interrupted, match="before the first checkpoint"):
        weitiao.train(small)


def test_recorders_are_told_of_every_checkpoint(small: dict[str, Any]) -> None:
    told: list[Any] = []
    weitiao.train(small, train={"save_every": 4}, recorders=[told.append])
    assert [event.step for event in told if isinstance(event, Saved)][:2] == [4, 8]


@pytest.mark.parametrize("kind", ["regression", "multi_label_classification"])
@pytest.mark.parametrize("source", ["csv", "json"])
def test_numbers_and_several_labels_go_the_whole_way(small: dict[str, Any], tmp_path: Path, kind: str, source: str) -> None:
    records = []
    for n, (text, label) in enumerate(sentences(160)):
        target: Any = (2.0 if label == "pos" else 1.0) if kind == "regression" else [label, *(["odd"] if n % 3 == 0 else [])]
        records.append({"review": text, "target": target})
    if source == "json":
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, records)))
        file = "rows.jsonl"
    else:
        cells = [f"{r['review']},{r['target'] if kind == 'regression' else '|'.join(r['target'])}" for r in records]
        (tmp_path / "rows.csv").write_text("\n".join(["review,target", *cells]))
        file = "rows.csv"
    report = weitiao.train(
        model=small["model"],
        data={"name": source, "train": file, "text": "review", "label": "target"},
        task={"name": "text_classification", "problem_type": kind, "max_length": 32, "label_separator": "|"},
        train={**small["train"], "epochs": 12, "dropout": 0.0},
        evaluate={"patience": None},
    )
    main = report["metrics"][report["main_metric"]]
    majority = report["baselines"]["majority"][report["main_metric"]]["value"]
    assert (main["after"]["value"] > majority) == main["higher_is_better"]
    assert Path(report["report"]).read_text().count("<svg") >= 3
    assert weitiao.evaluate(report["artifact"])["metrics"][report["main_metric"]] == main["after"]
    [said] = weitiao.predict(report["artifact"], ["great lovely superb"])
    assert isinstance(said["prediction"], float if kind == "regression" else list)


def test_few_dev_rows_serve_both_uses_and_the_report_warns(small: dict[str, Any], tmp_path: Path) -> None:
    write_csv(tmp_path / "dev.csv", sentences(20, seed=5))
    report = weitiao.train(small, data={"dev": "dev.csv"})
    assert (report["split"], report["selected_on_same_rows"], report["rows"]["proof"]) == ("dev", True, 20)
    write_csv(tmp_path / "dev2.csv", sentences(80, seed=5))
    report = weitiao.train(small, data={"dev": "dev2.csv"})
    assert (report["split"], report["selected_on_same_rows"], report["rows"]["proof"], report["rows"]["dev"]) == ("dev", False, 40, 40)
    report = weitiao.train(small, data={"dev": "dev2.csv"}, evaluate={"best": False})
    assert (report["selected_on_same_rows"], report["rows"]["proof"], report["best_step"]) == (False, 80, None)


def test_a_tuned_artifact_can_be_tuned_again_and_before_is_the_model_itself(small: dict[str, Any]) -> None:
    first = weitiao.train(small)
    second = weitiao.train(small, model=f"{first['artifact']}/model", train={"seed": 3})
    assert second["before_is"] == "model"
    assert second["metrics"]["accuracy"]["before"] == first["metrics"]["accuracy"]["after"]


def test_proof_rows_that_stand_in_train_are_told(small: dict[str, Any], reviews: Path) -> None:
    report = weitiao.train(small, data={"test": str(reviews)}, train={"steps": 2})
    assert any("proof rows (test) stand in train too, word for word" in note for note in report["notes"])
