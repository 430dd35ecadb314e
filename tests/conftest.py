"""Tiny random models of several families, small data files, and the command line without a process of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny import DEVICE, SHARED, build_tiny, sentences, write_csv


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if "PYTEST_XDIST_WORKER" in os.environ:  # one thread a worker: two workers on two cores do not fight
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(autouse=True)
def own_features(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep features apart for each test: what one has tokenized, another does not find."""
    folder = tmp_path_factory.getbasetemp() / "features" / str(abs(hash(request.node.nodeid)))
    monkeypatch.setattr("weitiao.core.environment.features_folder", lambda: folder)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    return SHARED


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a family's name to the folder of a tiny random model of it, built once a worker."""
    root = tmp_path_factory.mktemp("models")
    built: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in built:
            built[family] = build_tiny(root / family, family)
        return built[family]

    return folder


@pytest.fixture(scope="session")
def tiny_bert(tiny: Callable[[str], Path]) -> Path:
    return tiny("bert")


@pytest.fixture(scope="session")
def tiny_chat_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a tiny llama tuned on 40 short conversations, some in several windows, and one too long for any. Its run is the parent folder."""
    import tiny_language
    import weitiao

    root = tmp_path_factory.mktemp("chat")
    long = {"messages": [{"role": "user", "content": "name of moon?"}, {"role": "assistant", "content": "pale " * 80}]}
    (root / "chat.json").write_text(json.dumps([*tiny_language.dialogues(40), long]), encoding="utf-8")
    report = weitiao.train(
        model=str(tiny_language.build(root / "model", "llama")),
        data={"name": "json", "train": str(root / "chat.json")},
        task={"name": "chat", "max_length": 64, "max_new_tokens": 16, "generate_rows": 3},
        method="full",
        train={"steps": 80, "batch_size": 8, "learning_rate": 1e-2, "dtype": "fp32", "device": str(DEVICE)},
        out=root / "run",
    )
    return Path(report["artifact"])


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """200 short texts with two labels."""
    return write_csv(tmp_path / "reviews.csv", sentences(200))


@pytest.fixture
def recipe_dict(tiny_bert: Path, reviews: Path) -> dict[str, Any]:
    """A recipe that trains in a second."""
    return {
        "model": str(tiny_bert),
        "data": {"name": "csv", "train": str(reviews)},
        "task": {"name": "text_classification", "max_length": 32},
        "method": {"name": "full"},
        "train": {"epochs": 2, "batch_size": 16, "learning_rate": 3e-3, "dtype": "fp32", "device": str(DEVICE)},
    }


@dataclass
class Answer:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Return a function that runs the command line in this process."""
    from weitiao.cli import app

    def run(*arguments: object, stdin: str | bytes | None = None) -> Answer:
        monkeypatch.setattr(sys, "argv", ["weitiao", *map(str, arguments)])
        if stdin is not None:
            import io

            raw = stdin.encode() if isinstance(stdin, str) else stdin
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))
        capsys.readouterr()
        code = 0
        try:
            app.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Return a function that writes a recipe file."""
    import yaml

    def write(document: dict[str, Any], name: str = "recipe.yaml") -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return path

    return write
