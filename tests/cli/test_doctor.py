"""`weitiao doctor`: every finding has a level and says what to do; the exit code follows from the problems."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from weitiao.cli import doctor as command
from weitiao.cli.doctor import Finding, doctor, examine
from weitiao.inspect.machine import Gpu, Machine, TorchState

GOOD = Machine(
    python="3.11.7",
    platform="Linux",
    versions={"weitiao": "0.1", "torch": "2.13.0+cpu", "transformers": "5.23.0", "tokenizers": "0.23.3", "safetensors": "0.8.0", "numpy": "2.4.6"},
    cpu="A processor",
    cores_physical=4,
    cores_logical=8,
    cores_quota=None,
    cpu_features=("avx2",),
    memory_total_gb=32.0,
    memory_available_gb=30.0,
    disk_folder="/data",
    disk_free_gb=100.0,
    gpus=(),
    gpu_problem=None,
    container=None,
)
CPU_TORCH = TorchState("2.13.0+cpu", threads=4)
CUDA_TORCH = TorchState("2.13.0+cu130", cuda_build="13.0", cuda_available=True, cuda_devices=1, threads=4)
T4 = Gpu("Tesla T4", 16.1, "535.161.08")
BF16 = {"dtype": "bf16", "fp32_tflops": 0.5, "bf16_tflops": 1.5, "ratio": 3.0}


def worst(machine: Machine, torch: TorchState = CPU_TORCH, precision: dict[str, object] | None = None) -> Finding:
    return examine(machine, torch, precision)[0]


def test_a_good_machine_has_nothing_but_good_findings() -> None:
    findings = examine(GOOD, CPU_TORCH, BF16)
    assert {finding.level for finding in findings} == {"ok"}
    assert any("3.0 times as fast" in finding.what for finding in findings)


@pytest.mark.parametrize(
    ("machine", "torch", "level", "what", "hint"),
    [
        (dataclasses.replace(GOOD, python="3.10.14"), CPU_TORCH, "problem", "Python 3.10.14", "newer Python"),
        (GOOD, TorchState(None, "not installed"), "problem", "torch: not installed", "pip install torch"),
        (GOOD, TorchState("2.13.0", "cannot be imported: libcudart"), "problem", "libcudart", "again"),
        (dataclasses.replace(GOOD, versions={**GOOD.versions, "transformers": None}), CPU_TORCH, "problem", "transformers is not", "pip install transformers"),
        (dataclasses.replace(GOOD, gpus=(T4,)), CPU_TORCH, "warning", "Tesla T4 (driver 535.161.08), but torch 2.13.0+cpu is a CPU-only build", "CUDA build"),
        (
            dataclasses.replace(GOOD, gpus=(T4,)),
            dataclasses.replace(CUDA_TORCH, cuda_available=False, cuda_devices=0, problem="The NVIDIA driver on your system is too old"),
            "warning",
            "too old",
            "CUDA 13.0",
        ),
        (dataclasses.replace(GOOD, gpu_problem="nvidia-smi ended with 9: no driver"), CPU_TORCH, "warning", "ended with 9", "nvidia-smi"),
        (dataclasses.replace(GOOD, memory_available_gb=3.9), CPU_TORCH, "warning", "only 3.9 GB of memory", "smaller batch"),
        (dataclasses.replace(GOOD, memory_available_gb=0.5), CPU_TORCH, "problem", "only 0.5 GB of memory", "smaller batch"),
        (dataclasses.replace(GOOD, disk_free_gb=4.9), CPU_TORCH, "warning", "only 4.9 GB of disk free for /data", "--out"),
        (dataclasses.replace(GOOD, cores_quota=2.0), dataclasses.replace(CPU_TORCH, threads=64), "warning", "64 threads", "OMP_NUM_THREADS=2"),
    ],
)
def test_what_is_wrong_comes_first_with_a_hint(machine: Machine, torch: TorchState, level: str, what: str, hint: str) -> None:
    found = worst(machine, torch)
    assert found.level == level and what in found.what and hint in found.hint


def test_a_gpu_that_torch_sees_is_good_news() -> None:
    findings = examine(dataclasses.replace(GOOD, gpus=(T4,)), CUDA_TORCH, None)
    assert {finding.level for finding in findings} == {"ok"}
    assert any(finding.what == "torch sees 1 CUDA device." for finding in findings)


def test_what_the_system_does_not_tell_is_no_finding() -> None:
    assert worst(dataclasses.replace(GOOD, memory_available_gb=None, memory_total_gb=None, disk_free_gb=None, cores_physical=None)).level == "ok"


def test_a_precision_that_could_not_be_measured_is_a_warning() -> None:
    assert worst(GOOD, CPU_TORCH, {"dtype": "fp32", "failed": "no kernel"}).hint == "Set train.dtype=fp32."


def test_the_json_is_one_document_and_holds_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    code = doctor(as_json=True)
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert set(report) == {"machine", "torch", "precision", "findings", "healthy"} and printed.err == ""
    assert report["precision"]["dtype"] in ("fp32", "bf16") and report["precision"]["fp32_tflops"] > 0
    assert all(set(finding) == {"level", "what", "hint"} for finding in report["findings"])
    assert code == (0 if report["healthy"] else 5)


def test_people_get_a_table_and_the_findings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "machine", lambda folder: dataclasses.replace(GOOD, gpus=(T4,), cores_quota=2.5, cpu="[bold]odd[/bold] processor"))
    monkeypatch.setattr(command, "torch_state", lambda: CPU_TORCH)
    monkeypatch.setattr(command, "_precision", lambda: BF16)
    assert doctor(as_json=False) == 0
    text = capsys.readouterr().out
    assert "[bold]odd[/bold] processor" in text and "limited to 2.5" in text and "Tesla T4, 16.1 GB" in text
    assert "warning: there is a GPU, Tesla T4" in text and "hint: Install a CUDA build" in text


def test_the_exit_code_is_5_without_torch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        command, "machine", lambda folder: dataclasses.replace(GOOD, versions={}, memory_available_gb=None, disk_free_gb=None, gpu_problem="broken")
    )
    monkeypatch.setattr(command, "torch_state", lambda: TorchState(None, "not installed"))
    assert doctor(as_json=True) == 5
    report = json.loads(capsys.readouterr().out)
    assert report["precision"] is None and report["healthy"] is False
    assert doctor(as_json=False) == 5
    assert "problem: torch: not installed." in capsys.readouterr().out
