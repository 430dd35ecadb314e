"""Models and data sets by their hub id, against a small hub on loopback: fetched once, then found in the cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hub_server import Hub, serving
from tiny import DEVICE, sentences, write_csv

pytest.importorskip("datasets", reason="data sets of the hub are read with the package datasets: pip install 'weitiao[hub]'")

NOWHERE = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""

COMMANDS = """
import json, sys, time
from weitiao.cli import app
for arguments in json.loads(sys.argv[1]):
    sys.argv, begun, code = ["weitiao", *arguments], time.monotonic(), 0
    try:
        app.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    sys.stdout.flush()
    print(f"<<{code} {time.monotonic() - begun:.1f}>>", file=sys.stderr, flush=True)
"""


@pytest.fixture(scope="module")
def hub(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    reviews = tmp_path_factory.mktemp("reviews")
    write_csv(reviews / "train.csv", sentences(80))
    write_csv(reviews / "test.csv", sentences(40, seed=1))
    model = tiny("bert")
    with serving(
        Hub({"owner/tiny": model, "owner/secret": model}, {"owner/reviews": reviews, "owner/closed": reviews}, frozenset({"owner/secret", "owner/closed"}))
    ) as hub:
        yield hub


def write(folder: Path, name: str, *, model: str = "owner/tiny", dataset: str = "owner/reviews") -> Path:
    document: dict[str, Any] = {
        "model": model,
        "data": {"name": "hub", "dataset": dataset, "train": "train", "test": "test"},
        "task": {"name": "text_classification", "max_length": 16},
        "method": {"name": "full"},
        "train": {"steps": 3, "batch_size": 8, "learning_rate": 3e-3, "dtype": "fp32", "device": str(DEVICE)},
        "evaluate": {"best": False},
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(document))
    return path


def run(variables: dict[str, str], *commands: list[Any]) -> list[tuple[int, float, str]]:
    """Run commands one after the other in one fresh process: exit code, seconds and what was said, for each."""
    kept = {key: value for key, value in os.environ.items() if "proxy" not in key.lower() and not key.startswith("HF_")}
    words = json.dumps([[str(word) for word in command] for command in commands])
    done = subprocess.run([sys.executable, "-c", COMMANDS, words], capture_output=True, text=True, env={**kept, **variables}, timeout=280, check=False)
    parts = done.stderr.split("<<")
    assert len(parts) == len(commands) + 1, done.stderr
    answers = []
    for said, closing in zip([parts[0], *(part.partition(">>")[2] for part in parts[1:])], parts[1:], strict=False):
        code, seconds = closing.partition(">>")[0].split()
        answers.append((int(code), float(seconds), said))
    return answers


@dataclass
class First:
    """A cache that one process has filled, where it worked, and what it answered to each command."""

    home: Path
    folder: Path
    answers: list[tuple[int, float, str]]


@pytest.fixture(scope="module")
def first(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> First:
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("first")
    answers = run(
        hub.variables(home),
        ["train", write(folder, "good"), "--out", folder / "good"],
        ["train", write(folder, "gated", model="owner/secret"), "--out", folder / "gated"],
        ["train", write(folder, "missing", model="owner/nothing"), "--out", folder / "missing"],
        ["train", write(folder, "closed", dataset="owner/closed"), "--out", folder / "closed"],
        ["train", write(folder, "unknown", dataset="owner/none"), "--out", folder / "unknown"],
    )
    assert answers[0][0] == 0, answers[0][2]
    return First(home, folder, answers)


def test_a_recipe_of_hub_ids_trains(hub: Hub, first: First) -> None:
    report = json.loads((first.folder / "good" / "report.json").read_text())
    assert report["steps"] == 3 and report["split"] == "test"
    assert any(line.startswith("GET /owner/tiny/resolve/") and line.endswith("/model.safetensors") for line in hub.asked)
    assert "it/s" not in first.answers[0][2] and "%|" not in first.answers[0][2], "bars of other libraries are off"


@pytest.mark.parametrize(
    ("place", "name", "code", "sentence", "hint"),
    [
        (1, "gated", 4, "error: the model 'owner/secret' is gated: ", "hf auth login"),
        (2, "missing", 4, "error: there is no model 'owner/nothing': the hub does not know it, or it is private", "Check the id"),
        (3, "closed", 3, "error: the data set 'owner/closed' is gated: ", "hf auth login"),
        (4, "unknown", 3, "error: there is no data set 'owner/none': the hub does not know it, or it is private", "Check the id"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(first: First, place: int, name: str, code: int, sentence: str, hint: str) -> None:
    found, _, said = first.answers[place]
    assert found == code and sentence in said and hint in said and "Traceback" not in said, said
    assert not (first.folder / name / "artifact").exists()


def test_what_was_fetched_once_is_found_without_a_hub(hub: Hub, first: First, tmp_path: Path) -> None:
    asked = len(hub.asked)
    again, other, elsewhere = run(
        {**hub.variables(first.home), "HF_HUB_OFFLINE": "1"},
        ["train", write(tmp_path, "good"), "--out", tmp_path / "again"],
        ["train", write(tmp_path, "other", model="owner/never-seen"), "--out", tmp_path / "other"],
        ["train", write(tmp_path, "elsewhere", dataset="owner/never-seen"), "--out", tmp_path / "elsewhere"],
    )
    assert again[0] == 0, again[2]
    assert len(hub.asked) == asked, "told to stay offline, it asks for nothing"
    assert other[0] == 4 and "there is no model 'owner/never-seen': it is not in the local cache" in other[2]
    assert elsewhere[0] == 3 and "there is no data set 'owner/never-seen': it is not in the local cache and HF_HUB_OFFLINE is set" in elsewhere[2]


def test_without_a_network_the_cache_serves_and_the_rest_is_refused_at_once(hub: Hub, first: First, tmp_path: Path) -> None:
    again, other, elsewhere = run(
        {**hub.variables(first.home), "HF_ENDPOINT": NOWHERE},
        ["train", write(tmp_path, "good"), "--out", tmp_path / "again"],
        ["train", write(tmp_path, "other", model="owner/never-seen"), "--out", tmp_path / "other"],
        ["train", write(tmp_path, "elsewhere", dataset="owner/never-seen"), "--out", tmp_path / "elsewhere"],
    )
    assert again[0] == 0 and again[1] < 60, again  # imports included, on a busy machine; the client's own tries take two minutes
    assert other[0] == 4 and "it is not in the local cache and 127.0.0.1 cannot be reached" in other[2]
    assert elsewhere[0] == 3 and "it is not in the local cache and 127.0.0.1 cannot be reached" in elsewhere[2]
    assert other[1] < 15 and elsewhere[1] < 15, "the libraries alone try for half a minute and more"
