"""What this machine has: processor, memory, disk, GPUs, versions.

Nothing here imports torch but `torch_state`, and nothing raises: what cannot be found out is None or an empty tuple.
Linux tells most (through /proc, /sys and cgroups); macOS and Windows tell less. GB are 10^9 bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

PACKAGES = ("weitiao", "torch", "transformers", "tokenizers", "safetensors", "numpy")
"""Packages whose versions decide what a run does."""

CPU_FEATURES = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_bf16": "avx512_bf16",
    "amx_bf16": "amx_bf16",
    "asimd": "neon",
    "neon": "neon",
    "bf16": "bf16",
    "i8mm": "i8mm",
    "sve": "sve",
}
"""Flag in /proc/cpuinfo -> the name people use. These decide how fast matrices multiply, and in which precision."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as the driver names it."""

    name: str
    memory_gb: float | None
    driver: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found; None where the system does not tell."""

    python: str
    platform: str
    versions: Mapping[str, str | None]
    """Package -> installed version, None where it is not installed."""
    cpu: str
    cores_physical: int | None
    """Cores this process may run on, hyper-threads of one core counted once."""
    cores_logical: int
    """Processors this process may run on."""
    cores_quota: float | None
    """Processor time a container may use, in cores; None where it is not limited."""
    cpu_features: tuple[str, ...]
    memory_total_gb: float | None
    """Physical memory, or the container's limit where that is lower."""
    memory_available_gb: float | None
    disk_folder: str
    disk_free_gb: float | None
    gpus: tuple[Gpu, ...]
    gpu_problem: str | None
    """Why nvidia-smi could not say more, where it is installed."""
    container: str | None
    """docker, podman, kubernetes, lxc or wsl, where there are signs of it."""

    @property
    def cores_usable(self) -> float:
        """Cores' worth of work that can be done at a time: the processors, or the container's share of them."""
        return min(float(self.cores_logical), self.cores_quota or float("inf"))

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            **found,
            "versions": dict(self.versions),
            "cpu_features": list(self.cpu_features),
            "gpus": [dataclasses.asdict(gpu) for gpu in self.gpus],
            "cores_usable": self.cores_usable,
        }


@dataclass(frozen=True, slots=True)
class TorchState:
    """What torch says of itself and of the devices it can use."""

    version: str | None
    problem: str | None = None
    """Why torch cannot be imported, or what it warned of when asked for CUDA."""
    cuda_build: str | None = None
    """CUDA version torch was built for; None for a CPU-only build."""
    cuda_available: bool = False
    cuda_devices: int = 0
    mps_available: bool = False
    threads: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)


def machine(folder: Path = Path(), *, root: Path = Path("/")) -> Machine:
    """Return what this machine has; `folder` is where free disk is looked up, `root` where /proc and /sys are (for tests)."""
    cpuinfo = parse_cpuinfo(_text(root, "/proc/cpuinfo"))
    processors = _affinity()
    total, available = _memory(root)
    gpus, gpu_problem = find_gpus()
    return Machine(
        python=platform.python_version(),
        platform=platform.platform(),
        versions={package: _version(package) for package in PACKAGES},
        cpu=cpuinfo.get("model name") or cpuinfo.get("Model") or platform.processor() or platform.machine(),
        cores_physical=_physical_cores(root, processors),
        cores_logical=len(processors),
        cores_quota=_cpu_quota(root),
        cpu_features=cpu_features(cpuinfo),
        memory_total_gb=_gb(total),
        memory_available_gb=_gb(available),
        disk_folder=str(folder.absolute()),
        disk_free_gb=_gb(_free_disk(folder)),
        gpus=gpus,
        gpu_problem=gpu_problem,
        container=_container(root),
    )


def torch_state() -> TorchState:
    """Return what torch says, importing it (some seconds). Never raises: a broken torch is a finding, not a crash."""
    try:
        import torch
    except ModuleNotFoundError as error:
        return TorchState(None, "not installed" if error.name == "torch" else f"cannot be imported: {error}")
    except (ImportError, OSError, RuntimeError, AttributeError, TypeError, ValueError, SystemError) as error:  # a broken library, a numpy of another ABI
        return TorchState(_version("torch"), f"cannot be imported: {first_line(str(error))}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        devices = torch.cuda.device_count() if available else 0
    problem = first_line(str(caught[0].message)) if caught else None
    mps = bool(torch.backends.mps.is_available())
    return TorchState(str(torch.__version__), problem, torch.version.cuda, available, devices, mps, torch.get_num_threads())


# ---------------------------------------------------------------- processor


def parse_cpuinfo(text: str) -> dict[str, str]:
    """Return the fields of /proc/cpuinfo, those of the first processor that has them."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip():
            fields.setdefault(key.strip(), value.strip())
    return fields


def cpu_features(cpuinfo: Mapping[str, str]) -> tuple[str, ...]:
    """Return the features that matter, from the fields of /proc/cpuinfo (x86: `flags`, arm: `Features`)."""
    flags = set((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    return tuple(dict.fromkeys(name for flag, name in CPU_FEATURES.items() if flag in flags))


def parse_cpu_max(text: str) -> float | None:
    """Return cores from cgroup v2's cpu.max (`quota period`, or `max period`), None where there is no limit."""
    quota, _, period = text.strip().partition(" ")
    return cores_of_quota(quota, period or "100000")


def cores_of_quota(quota: str, period: str) -> float | None:
    """Return quota / period, None where there is no limit (`max`, -1) or it is not a number."""
    try:
        allowed, length = int(quota), int(period)
    except ValueError:
        return None
    return allowed / length if allowed > 0 and length > 0 else None


def _affinity() -> list[int]:
    with contextlib.suppress(AttributeError, OSError):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _physical_cores(root: Path, processors: Iterable[int]) -> int | None:
    siblings = [_text(root, f"/sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list").strip() for n in processors]
    return len(set(siblings)) if all(siblings) else None


def _cpu_quota(root: Path) -> float | None:
    found = [parse_cpu_max(_text(root, f"{folder}/cpu.max")) for folder in _cgroups(root, None)]
    found += [cores_of_quota(_text(root, f"{folder}/cpu.cfs_quota_us"), _text(root, f"{folder}/cpu.cfs_period_us")) for folder in _cgroups(root, "cpu")]
    return min((cores for cores in found if cores is not None), default=None)


# ---------------------------------------------------------------- memory


def parse_meminfo(text: str) -> tuple[int | None, int | None]:
    """Return (total, available) in bytes from /proc/meminfo."""
    kilobytes: dict[str, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        number = value.split()[:1]
        if number and number[0].isdigit():
            kilobytes[key.strip()] = int(number[0])
    total, available = kilobytes.get("MemTotal"), kilobytes.get("MemAvailable", kilobytes.get("MemFree"))
    return None if total is None else total * 1024, None if available is None else available * 1024


def within_limit(total: int | None, available: int | None, limit: str, used: str, stat: str) -> tuple[int | None, int | None]:
    """Return (total, available) in bytes, narrowed to a cgroup's limit.

    limit, used, stat: what memory.max (or memory.limit_in_bytes), memory.current (or memory.usage_in_bytes) and
    memory.stat say. File pages that the kernel can drop (inactive_file) count as free.
    """
    if not limit.strip().isdigit():  # "max", or no such file
        return total, available
    ceiling = int(limit)
    if total is not None and ceiling >= total:  # v1 writes 2^63 - 4096 for "no limit"
        return total, available
    droppable = 0
    for line in stat.splitlines():
        key, _, value = line.partition(" ")
        if key in ("inactive_file", "total_inactive_file") and value.strip().isdigit():
            droppable = int(value)
    left = ceiling - max(int(used) - droppable, 0) if used.strip().isdigit() else ceiling
    return ceiling, max(left, 0) if available is None else max(min(left, available), 0)


def memory_for_this_process(root: Path = Path("/")) -> float | None:
    """Return the memory (GB) that this process may use in all: what is available, and what it holds already."""
    _, available = _memory(root)
    fields = _text(root, "/proc/self/statm").split()
    resident = int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 and fields[1].isdigit() else 0
    return None if available is None else _gb(available + resident)


def _memory(root: Path) -> tuple[int | None, int | None]:
    total, available = parse_meminfo(_text(root, "/proc/meminfo"))
    if total is None:
        with contextlib.suppress(AttributeError, ValueError, OSError):  # macOS
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    names = {None: ("memory.max", "memory.current"), "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes")}
    for controller, (limit, used) in names.items():
        for folder in _cgroups(root, controller):
            texts = [_text(root, f"{folder}/{name}") for name in (limit, used, "memory.stat")]
            total, available = within_limit(total, available, *texts)
    return total, available


# ---------------------------------------------------------------- cgroups and containers


def cgroup_folders(cgroup: str, mountinfo: str, controller: str | None) -> list[str]:
    """Return the folders of this process's cgroup, innermost first, up to where it is mounted: each may set a limit.

    cgroup, mountinfo: /proc/self/cgroup and /proc/self/mountinfo. controller: a v1 controller such as `memory`, or
    None for v2. Inside a container the path often points outside of the mount; then the mount itself is the answer.
    """
    inside = None
    for line in cgroup.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (number == "0" and not controllers) if controller is None else controller in controllers.split(","):
            inside = PurePosixPath(path or "/")
    if inside is None:
        return []
    for line in mountinfo.splitlines():
        mount, _, system = line.partition(" - ")
        fields, kind = mount.split(), system.split()
        if len(fields) < 5 or not kind or kind[0] != ("cgroup2" if controller is None else "cgroup"):
            continue
        if controller is not None and controller not in kind[-1].split(","):
            continue
        top = PurePosixPath(fields[4])
        below = inside.relative_to(fields[3]) if inside.is_relative_to(fields[3]) else PurePosixPath()
        if ".." in below.parts:
            below = PurePosixPath()
        return [str(top / part) for part in (below, *below.parents)] if below.parts else [str(top)]
    return []


def _cgroups(root: Path, controller: str | None) -> list[str]:
    return cgroup_folders(_text(root, "/proc/self/cgroup"), _text(root, "/proc/self/mountinfo"), controller)


def _container(root: Path) -> str | None:
    if _exists(root, "/.dockerenv"):
        return "docker"
    if _exists(root, "/run/.containerenv"):
        return "podman"
    cgroup = _text(root, "/proc/1/cgroup")
    signs = {"kubepods": "kubernetes", "docker": "docker", "libpod": "podman", "lxc": "lxc"}
    for sign, name in signs.items():
        if sign in cgroup:
            return name
    return "wsl" if "microsoft" in _text(root, "/proc/sys/kernel/osrelease").lower() else None


# ---------------------------------------------------------------- GPUs


def parse_nvidia_smi(text: str) -> tuple[Gpu, ...]:
    """Return the GPUs in the output of `nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader`.

    Lines that are not of that form (warnings, "No devices were found") are left out; a memory of [N/A] is None.
    """
    gpus = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.rsplit(",", 2)]
        if len(cells) != 3 or not cells[0] or not cells[2][:1].isdigit():
            continue
        amount, _, unit = cells[1].partition(" ")
        known = unit == "MiB" and amount.isdigit()
        if known or cells[1].startswith("["):
            gpus.append(Gpu(cells[0], round(int(amount) * 2**20 / 1e9, 1) if known else None, cells[2]))
    return tuple(gpus)


def find_gpus(command: str = "nvidia-smi", *, timeout_s: float = 5) -> tuple[tuple[Gpu, ...], str | None]:
    """Return the GPUs that nvidia-smi names, and why it could not where it is installed."""
    program = shutil.which(command)
    if program is None:
        return (), None
    arguments = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(arguments, capture_output=True, timeout=timeout_s, stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        return (), f"{command} did not answer within {timeout_s:g} s"
    except OSError as error:
        return (), f"{command} cannot be started: {error.strerror or error}"
    said = done.stdout.decode("utf-8", "replace")
    gpus = parse_nvidia_smi(said)
    if done.returncode == 0 and gpus:
        return gpus, None
    shown = first_line(said) or first_line(done.stderr.decode("utf-8", "replace")) or "no output"
    return gpus, f"{command} ended with {done.returncode}: {shown}"


# ---------------------------------------------------------------- reading what may not be there


def first_line(text: str, limit: int = 200) -> str:
    """Return the first line with content, shortened: how foreign messages are quoted."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= limit else line[: limit - 4] + " ..."


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        module = sys.modules.get(package)  # run from a checkout, without an installation
        return getattr(module, "__version__", None)


def _text(root: Path, path: str) -> str:
    try:
        return (root / path.lstrip("/")).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return ""


def _exists(root: Path, path: str) -> bool:
    return (root / path.lstrip("/")).exists()


def _free_disk(folder: Path) -> int | None:
    for place in (folder.absolute(), *folder.absolute().parents):  # the folder may not have been made yet
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free
    return None


def _gb(amount: int | None) -> float | None:
    return None if amount is None else round(amount / 1e9, 2)
