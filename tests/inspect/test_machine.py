"""What the machine is said to have: parsers on recorded outputs, broken ones among them."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from weitiao.inspect import machine as looked
from weitiao.inspect.machine import Gpu

XEON = """processor	: 0
vendor_id	: GenuineIntel
model		: 143
model name	: Intel(R) Xeon(R) Platinum 8488C
flags		: fpu sse4_2 avx avx2 avx512f avx512dq avx512_bf16 amx_bf16 avx512_fp16 amx_tile amx_int8

processor	: 1
vendor_id	: GenuineIntel
model name	: Intel(R) Xeon(R) Platinum 8488C
flags		: fpu
"""
GRAVITON = """processor	: 0
BogoMIPS	: 2100.00
Features	: fp asimd evtstrm aes crc32 atomics fphp asimdhp sve asimdfhm svei8mm svebf16 i8mm bf16 dgh rng
CPU implementer	: 0x41
CPU part	: 0xd40
"""
MEMINFO = """MemTotal:       24684092 kB
MemFree:        24374484 kB
MemAvailable:   24343164 kB
HugePages_Total:       0
"""
SMI_TWO = "NVIDIA H100 80GB HBM3, 81559 MiB, 550.54.15\nNVIDIA GeForce RTX 4090, 24564 MiB, 550.54.15\n"
SMI_DOWN = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running.\n\n"
MOUNTS_V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNTS_V1 = """32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/8f3a /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_cpu_features_that_matter_are_named_alike_on_x86_and_arm() -> None:
    assert looked.cpu_features(looked.parse_cpuinfo(XEON)) == ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    assert looked.cpu_features(looked.parse_cpuinfo(GRAVITON)) == ("neon", "bf16", "i8mm", "sve")
    assert looked.cpu_features({}) == ()


def test_cpuinfo_is_read_from_the_first_processor() -> None:
    assert looked.parse_cpuinfo(XEON)["model name"] == "Intel(R) Xeon(R) Platinum 8488C"
    assert looked.parse_cpuinfo("") == looked.parse_cpuinfo("no colon here\n\n:\n") == {}


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("200000", 2.0), ("", None), ("garbage x", None), ("-1 100000", None), ("5 0", None)]
)
def test_a_cpu_quota_is_cores_or_none(text: str, cores: float | None) -> None:
    assert looked.parse_cpu_max(text) == cores


def test_meminfo_is_in_bytes_and_may_lack_everything() -> None:
    assert looked.parse_meminfo(MEMINFO) == (24684092 * 1024, 24343164 * 1024)
    assert looked.parse_meminfo("MemTotal: 1024 kB\nMemFree: 512 kB\n") == (2**20, 2**19)  # kernels before 3.14 have no MemAvailable
    assert looked.parse_meminfo("MemTotal: lots\n\n") == (None, None)


def test_memory_is_narrowed_to_the_limit_and_droppable_pages_count_as_free() -> None:
    assert looked.within_limit(1000, 900, "400\n", "300\n", "anon 1\ninactive_file 100\n") == (400, 200)
    assert looked.within_limit(1000, 900, "400", "", "") == (400, 400)
    assert looked.within_limit(1000, 50, "400", "100", "") == (400, 50)
    assert looked.within_limit(1000, 900, "max", "300", "") == (1000, 900)
    assert looked.within_limit(1000, 900, "9223372036854771712", "300", "") == (1000, 900)
    assert looked.within_limit(None, None, "400", "500", "") == (400, 0)


def test_the_cgroup_is_found_in_both_versions_and_inside_a_container() -> None:
    assert looked.cgroup_folders("0::/user.slice/run-1.scope\n", MOUNTS_V2, None) == [
        "/sys/fs/cgroup/user.slice/run-1.scope",
        "/sys/fs/cgroup/user.slice",
        "/sys/fs/cgroup",
    ]
    assert looked.cgroup_folders("0::/../../elsewhere\n", MOUNTS_V2, None) == ["/sys/fs/cgroup"]
    v1 = "8:memory:/docker/8f3a/inner\n4:cpu,cpuacct:/\n0::/\n"
    assert looked.cgroup_folders(v1, MOUNTS_V1, "memory") == ["/sys/fs/cgroup/memory/inner", "/sys/fs/cgroup/memory"]
    assert looked.cgroup_folders(v1, MOUNTS_V1, "cpu") == ["/sys/fs/cgroup/cpu,cpuacct"]
    assert looked.cgroup_folders("8:memory:/not/of/this/mount\n", MOUNTS_V1, "memory") == ["/sys/fs/cgroup/memory"]
    assert looked.cgroup_folders("", "", None) == looked.cgroup_folders("0::/\n", "broken line\n", None) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (SMI_TWO, ["NVIDIA H100 80GB HBM3", "NVIDIA GeForce RTX 4090"]),
        (SMI_DOWN, []),
        ("No devices were found\n", []),
        ("", []),
        ("\x00\x01binary, rubbish\n, ,\n", []),
        ("Warning: infoROM is corrupted at gpu 0000:00:1E.0, see, docs\nTesla T4, 15360 MiB, 535.161.08\n", ["Tesla T4"]),
    ],
)
def test_nvidia_smi_is_read_and_its_rubbish_is_not(text: str, names: list[str]) -> None:
    assert [gpu.name for gpu in looked.parse_nvidia_smi(text)] == names


def test_gpu_memory_that_the_driver_does_not_tell_is_none() -> None:
    assert looked.parse_nvidia_smi("NVIDIA GB10, [N/A], 580.95.05\n") == (Gpu("NVIDIA GB10", None, "580.95.05"),)
    assert looked.parse_nvidia_smi("Tesla T4, 15360 MiB, 535.161.08") == (Gpu("Tesla T4", 16.1, "535.161.08"),)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins for nvidia-smi are shell scripts")
@pytest.mark.parametrize(
    ("body", "count", "said"),
    [
        ("echo 'Tesla T4, 15360 MiB, 535.161.08'", 1, None),
        ("echo 'NVIDIA-SMI has failed: no driver'; exit 9", 0, "ended with 9: NVIDIA-SMI has failed: no driver"),
        ("echo 'No devices were found'", 0, "No devices were found"),
        ("exit 0", 0, "no output"),
        ("printf '\\377\\376\\n'; echo oops >&2; exit 255", 0, "ended with 255"),
        ("sleep 30", 0, "did not answer within 0.2 s"),
    ],
)
def test_nvidia_smi_may_fail_in_any_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, count: int, said: str | None) -> None:
    program(tmp_path, "nvidia-smi", f"exec {body}" if body.startswith("sleep") else body)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    gpus, problem = looked.find_gpus(timeout_s=0.2 if body.startswith("sleep") else 5)
    assert len(gpus) == count
    assert problem is None if said is None else problem is not None and said in problem


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_a_program_that_cannot_be_started_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia-smi").write_bytes(b"\x7fELF not really")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    gpus, problem = looked.find_gpus()
    assert gpus == () and problem is not None and "cannot be started" in problem
    monkeypatch.setenv("PATH", "/nowhere")
    assert looked.find_gpus() == ((), None)


def test_the_tighter_of_nested_limits_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(
        tmp_path,
        {
            "/proc/cpuinfo": XEON,
            "/proc/meminfo": MEMINFO,
            "/proc/self/cgroup": "0::/a/b\n",
            "/proc/self/mountinfo": MOUNTS_V2,
            "/sys/fs/cgroup/a/b/memory.max": "max\n",
            "/sys/fs/cgroup/a/memory.max": "4000000000\n",
            "/sys/fs/cgroup/a/memory.current": "1000000000\n",
            "/sys/fs/cgroup/a/b/cpu.max": "150000 100000\n",
            "/sys/fs/cgroup/a/cpu.max": "max 100000\n",
            "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list": "0-1\n",
            "/sys/devices/system/cpu/cpu1/topology/thread_siblings_list": "0-1\n",
            "/proc/1/cgroup": "0::/kubepods/besteffort/pod1\n",
        },
    )
    monkeypatch.setattr(looked, "_affinity", lambda: [0, 1])
    found = looked.machine(tmp_path, root=root)
    assert (found.memory_total_gb, found.memory_available_gb) == (4.0, 3.0)
    assert (found.cores_logical, found.cores_physical, found.cores_quota, found.cores_usable) == (2, 1, 1.5, 1.5)
    assert found.cpu == "Intel(R) Xeon(R) Platinum 8488C" and found.container == "kubernetes"


def test_cgroup_v1_limits_are_seen(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "/.dockerenv": "",
            "/proc/meminfo": MEMINFO,
            "/proc/self/cgroup": "8:memory:/docker/8f3a\n4:cpu,cpuacct:/\n0::/\n",
            "/proc/self/mountinfo": MOUNTS_V1,
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": "2000000000\n",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes": "1500000000\n",
            "/sys/fs/cgroup/memory/memory.stat": "total_inactive_file 500000000\n",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    found = looked.machine(tmp_path, root=root)
    assert (found.memory_total_gb, found.memory_available_gb, found.cores_quota, found.container) == (2.0, 1.0, 0.5, "docker")


def test_a_machine_without_proc_and_sys_still_answers(tmp_path: Path) -> None:
    found = looked.machine(tmp_path / "not" / "there" / "yet", root=tmp_path)
    assert found.cores_logical >= 1 and found.cpu_features == () and found.cores_physical is None and found.container is None
    assert found.disk_free_gb is not None
    assert json.loads(json.dumps(found.as_dict()))["versions"]["torch"] == found.versions["torch"]


def test_this_machine_is_described_without_importing_torch() -> None:
    import subprocess

    code = "import sys; from weitiao.inspect.machine import machine; machine(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False).returncode == 0


def test_torch_says_what_it_can_use() -> None:
    import torch

    state = looked.torch_state()
    assert state.version == torch.__version__ and state.threads == torch.get_num_threads() and state.cuda_available == torch.cuda.is_available()
    assert json.loads(json.dumps(state.as_dict()))["version"] == torch.__version__


def test_a_missing_or_broken_torch_is_told_not_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # what an import of a blocked module meets
    assert looked.torch_state().problem == "not installed"
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.12: cannot open shared object file\\nmore')")
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.syspath_prepend(str(tmp_path))
    state = looked.torch_state()
    assert state.threads is None and state.problem == "cannot be imported: libcudart.so.12: cannot open shared object file"


def test_first_line_shortens_what_others_say() -> None:
    assert looked.first_line("\n  one  \ntwo") == "one" and looked.first_line("") == ""
    assert len(looked.first_line("x" * 1000)) == 200
