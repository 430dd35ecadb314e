"""`weitiao doctor`: what this machine has, and what stands in the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.text import Text

from weitiao.cli.output import print_json, stdout
from weitiao.errors import MachineError
from weitiao.inspect.machine import Machine, TorchState, first_line, machine, torch_state

MEMORY_GB, DISK_GB = 4.0, 5.0
"""Below these a small encoder still trains, but little is left for anything larger; below a quarter of them nothing runs well."""

NEEDED = ("transformers", "tokenizers", "safetensors", "numpy")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked: what was found, and what to do about it."""

    level: Literal["ok", "warning", "problem"]
    what: str
    hint: str = ""


def doctor(as_json: bool) -> int:
    """Print versions, hardware, the measured precision and findings; return 0, or 5 where something keeps training from working."""
    found, torch = machine(Path.cwd()), torch_state()
    precision = _precision() if torch.version and not _broken(torch) else None
    findings = examine(found, torch, precision)
    healthy = all(finding.level != "problem" for finding in findings)
    if as_json:
        report = {
            "machine": found.as_dict(),
            "torch": torch.as_dict(),
            "precision": precision,
            "findings": [dataclasses.asdict(finding) for finding in findings],
            "healthy": healthy,
        }
        print_json(report)
    else:
        _show(found, torch, precision, findings)
    return 0 if healthy else MachineError.exit_code


def examine(found: Machine, torch: TorchState, precision: Mapping[str, Any] | None) -> list[Finding]:
    """Return what is right and what is not, worst first. Pure: it looks at nothing but its arguments."""
    findings = [*_software(found, torch), *_gpu(found, torch), *_room(found), *_processor(found, torch, precision)]
    order = ("problem", "warning", "ok")
    return sorted(findings, key=lambda finding: order.index(finding.level))


def _software(found: Machine, torch: TorchState) -> list[Finding]:
    findings = []
    if tuple(int(part) for part in found.python.split(".")[:2]) < (3, 11):
        findings.append(Finding("problem", f"Python {found.python}: weitiao needs 3.11 or newer.", "Make an environment with a newer Python."))
    else:
        findings.append(Finding("ok", f"Python {found.python}."))
    if torch.version is None:
        findings.append(Finding("problem", f"torch: {torch.problem}.", "pip install torch, into the Python that runs weitiao."))
    elif _broken(torch):
        findings.append(Finding("problem", f"torch {torch.version} {torch.problem}.", "Install torch again: pip install --force-reinstall torch."))
    else:
        findings.append(Finding("ok", f"torch {torch.version}, {torch.threads} threads."))
    for package in NEEDED:
        if found.versions.get(package) is None:
            findings.append(Finding("problem", f"{package} is not installed.", f"pip install {package}, into the Python that runs weitiao."))
    return findings


def _gpu(found: Machine, torch: TorchState) -> list[Finding]:
    findings = []
    if found.gpu_problem:
        findings.append(Finding("warning", f"{found.gpu_problem}.", "Run nvidia-smi by hand: the driver may be missing, or not match the kernel or container."))
    if torch.cuda_available:
        findings.append(Finding("ok", f"torch sees {torch.cuda_devices} CUDA device{'s' if torch.cuda_devices != 1 else ''}."))
    elif found.gpus and torch.version and not _broken(torch):
        named = f"{found.gpus[0].name} (driver {found.gpus[0].driver})"
        if torch.cuda_build is None:
            hint = "Install a CUDA build of torch: https://pytorch.org/get-started/locally. Until then everything runs on the CPU."
            findings.append(Finding("warning", f"there is a GPU, {named}, but torch {torch.version} is a CPU-only build.", hint))
        else:
            reason = f": {torch.problem}" if torch.problem else ""
            hint = (
                f"The driver may be older than CUDA {torch.cuda_build} needs, or CUDA_VISIBLE_DEVICES may hide the GPU. Until then everything runs on the CPU."
            )
            findings.append(Finding("warning", f"there is a GPU, {named}, but torch cannot use it{reason}.", hint))
    elif torch.problem and torch.version and not _broken(torch):
        findings.append(Finding("warning", f"torch warns: {torch.problem}.", "Everything runs on the CPU; on a machine with a GPU, check its driver."))
    return findings


def _room(found: Machine) -> list[Finding]:
    rooms = [
        ("memory", found.memory_available_gb, MEMORY_GB, "", "Close other programs, raise the container's limit, or train with a smaller batch."),
        ("disk", found.disk_free_gb, DISK_GB, f" for {found.disk_folder}", "Remove old runs, or put the run elsewhere with --out."),
    ]
    findings = []
    for what, free, wanted, where, hint in rooms:
        if free is None:
            continue
        if free >= wanted:
            findings.append(Finding("ok", f"{free:.1f} GB of {what} free{where}."))
        else:
            level: Literal["warning", "problem"] = "warning" if free >= wanted / 4 else "problem"
            findings.append(Finding(level, f"only {free:.1f} GB of {what} free{where}, {wanted:g} GB or more is comfortable.", hint))
    return findings


def _processor(found: Machine, torch: TorchState, precision: Mapping[str, Any] | None) -> list[Finding]:
    findings = []
    if torch.threads and torch.threads > found.cores_usable * 1.5:
        allowed = max(1, int(found.cores_usable))
        what = f"torch uses {torch.threads} threads, but this process may only use {found.cores_usable:g} cores: they wait for each other."
        findings.append(Finding("warning", what, f"Set OMP_NUM_THREADS={allowed}, or raise the container's share of the processor."))
    if precision and "failed" in precision:
        findings.append(Finding("warning", f"precision could not be measured: {precision['failed']}.", "Set train.dtype=fp32."))
    elif precision:
        findings.append(Finding("ok", f"{precision['dtype']} on the CPU: bf16 multiplies {precision.get('ratio')} times as fast as fp32 here."))
    return findings


def _broken(torch: TorchState) -> bool:
    return torch.threads is None


def _precision() -> dict[str, Any]:
    try:
        import torch

        from weitiao.models import precision

        dtype, measured = precision.choose("auto", torch.device("cpu"))
    except (ImportError, RuntimeError, OSError) as error:
        return {"dtype": "fp32", "failed": first_line(str(error))}
    return {"dtype": dtype, **measured}


# ---------------------------------------------------------------- for people


def _show(found: Machine, torch: TorchState, precision: Mapping[str, Any] | None, findings: Sequence[Finding]) -> None:
    for name, value in _facts(found, torch, precision):
        stdout.print(Text.assemble((f"{name:<14}", "bold"), value))
    stdout.print()
    colours = {"ok": "green", "warning": "yellow", "problem": "red"}
    for finding in findings:
        stdout.print(Text.assemble((f"{finding.level}: ", colours[finding.level]), finding.what))
        if finding.hint:
            stdout.print(Text(f"  hint: {finding.hint}"))


def _facts(found: Machine, torch: TorchState, precision: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    share = "" if found.cores_quota is None else f", limited to {found.cores_quota:g} by the container"
    physical = "" if found.cores_physical is None else f" on {found.cores_physical} cores"
    cuda = f"CUDA {torch.cuda_build} build, {torch.cuda_devices} devices" if torch.cuda_build else "CPU-only build"
    if torch.mps_available:
        cuda += ", MPS available"
    facts = [
        ("Python", f"{found.python} on {found.platform}" + (f" ({found.container})" if found.container else "")),
        *((name, version or "not installed") for name, version in found.versions.items()),
        ("processor", f"{found.cpu}, {found.cores_logical} processors{physical}{share}"),
        ("features", ", ".join(found.cpu_features) or "none of those that matter, or not known"),
        ("memory", f"{_amount(found.memory_available_gb)} free of {_amount(found.memory_total_gb)}"),
        ("disk", f"{_amount(found.disk_free_gb)} free for {found.disk_folder}"),
        *(("GPU", f"{gpu.name}, {_amount(gpu.memory_gb)}, driver {gpu.driver}") for gpu in found.gpus),
    ]
    if not found.gpus:
        facts.append(("GPU", found.gpu_problem or "none found by nvidia-smi"))
    if torch.version and not _broken(torch):
        facts.append(("torch state", f"{cuda}, {torch.threads} threads"))
    if precision and "failed" not in precision:
        speeds = f"fp32 {precision['fp32_tflops']:g}, bf16 {precision['bf16_tflops']:g} TFLOP/s"
        facts.append(("precision", f"{precision['dtype']} on the CPU ({speeds})"))
    return facts


def _amount(gigabytes: float | None) -> str:
    return "an unknown amount" if gigabytes is None else f"{gigabytes:.1f} GB"
