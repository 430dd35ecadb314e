"""Code that a model wrote, run against tests in a process of its own, with limits.

What it is protected from, by means that need no rights: on Linux with Landlock and seccomp (x86_64 and aarch64) the kernel
lets the process reach no network, start or signal no other process, write nothing outside a temporary folder, and change no
rights of files; elsewhere Python's audit hooks refuse the same, which code can get around that sets out to. Everywhere
processor time, memory, the size of a file and the time on the clock are limited, the environment is empty, and the process
group is killed and the folder removed afterwards.

What it is NOT protected from: the code can read every file that you can read; it can fill the disk with many files until its
time is over; a hole in the kernel or in Python is a hole here; and since tests and code run in one process, code that means
to can make its tests pass. It is a guard against accidents, not against an attacker: for models you do not trust use a
container or a virtual machine that holds nothing of value.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import IO, Literal, get_args

from weitiao.errors import MachineError

Kind = Literal["passed", "wrong_answer", "exception", "syntax_error", "timeout", "memory"]
"""wrong_answer: an assertion of the tests failed; exception: anything else was raised, or the process crashed."""
KINDS: tuple[Kind, ...] = get_args(Kind)
_SCRIPT = Path(__file__).with_name("guarded.py")
_PATIENCE = 4
"""Seconds on the clock for each second of processor time: code that sleeps ends too, and a busy machine fails no test."""
_SAID_MOST = 4096
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""All that is left of the environment: libraries that start a thread per core would take their memory for it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a piece of code may take."""

    seconds: float = 5.0
    """Of processor time; four times as many may pass on the clock."""
    memory_mb: int = 1024
    """Address space of the process, Python's own 30 MB included."""
    file_mb: int = 16
    """Size of a file that it writes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    kind: Kind
    detail: str = ""
    """The exception it ended in."""


def run(candidate: str, tests: str, limits: Limits = Limits(), *, kernel: bool = True, hook: bool = True) -> Outcome:
    """Return how tests end that are run behind a candidate, in the same module. Raises MachineError where no process can be started.

    kernel, hook: whether the kernel's protections and Python's are asked for; both but for tests of each.
    """
    return _run(candidate, tests, limits, kernel=kernel, hook=hook)[0]


def run_all(programs: Sequence[tuple[str, str]], limits: Limits = Limits()) -> list[Outcome]:
    """Return the outcomes of candidates with their tests, in order; as many run at a time as there are cores."""
    with ThreadPoolExecutor(max_workers=_cores()) as pool:
        return list(pool.map(lambda program: run(program[0], program[1], limits), programs))


@functools.cache
def lacking() -> tuple[str, ...]:
    """Return which protections of the kernel this system lacks: landlock, seccomp. Raises MachineError where no process can be started."""
    return _run("", "", Limits(), kernel=True, hook=True)[1]


def _run(candidate: str, tests: str, limits: Limits, *, kernel: bool, hook: bool) -> tuple[Outcome, tuple[str, ...]]:
    if os.name != "posix":
        raise MachineError("generated code is run with limits that only Linux and macOS have.", hint="Set task.run_tests=false, or use WSL or a container.")
    token = secrets.token_hex(16)
    asked = {"token": token, "candidate": candidate, "tests": tests, "kernel": kernel, "hook": hook}
    asked |= {"seconds": limits.seconds, "memory_mb": limits.memory_mb, "file_mb": limits.file_mb}
    with (
        tempfile.TemporaryDirectory(prefix="weitiao-code-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as said,
        tempfile.TemporaryFile() as complaint,
    ):
        began, late = time.monotonic(), False
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=complaint,
            cwd=folder,
            env=_ONE_THREAD,
            start_new_session=True,
        )
        try:
            process.communicate(dumps(asked).encode(), timeout=_PATIENCE * limits.seconds)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        ready, *lines = _read(said).split("\n")
        if not ready.startswith("ready") and not late:
            raise MachineError(
                f"the process in which generated code is run does not start: {_read(complaint).strip().rpartition(chr(10))[2] or process.returncode}.",
                hint="Set task.run_tests=false to measure without running code.",
            )
    lacks = tuple(ready.split()[1:])
    for line in lines:
        named, _, rest = line.partition(" ")
        if named == token:
            kind, _, detail = rest.partition(" ")
            return Outcome(kind, detail), lacks  # type: ignore[arg-type]
    return _without_a_word(process.returncode, late or time.monotonic() - began >= limits.seconds), lacks


def _without_a_word(code: int, late: bool) -> Outcome:
    """Return the outcome of a process that did not say it: killed for its time or its memory, crashed, or left by itself."""
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and late):
        return Outcome("timeout")
    if code == -signal.SIGKILL:
        return Outcome("memory", "killed by the system")
    return Outcome("exception", f"ended by signal {-code}" if code < 0 else "left the process")


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(_SAID_MOST).decode(errors="replace")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
