"""The script in which code that a model wrote is run: it gives up what the code must not do, then runs it, then says how it ended.

It is started by `sandbox.py` as `python -I guarded.py` and imports nothing but the standard library. On stdin it gets a JSON
object: token, candidate, tests, seconds, memory_mb, file_mb, kernel, hook. On stdout it says "ready" with what it lacks, and at
the end the token with the outcome.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import platform
import resource
import signal
import struct
import sys
import types
from typing import Any

_REFUSED = {
    # name: number on x86_64, number on aarch64 (None where there is none)
    "socket": (41, 198),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "mount": (165, 40),
    "umount2": (166, 39),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
}
"""System calls that answer "not permitted": network, other processes, owners and rights of files."""
_CLONE, _CLONE3, _KILL, _TGKILL = (56, 220), (435, 435), (62, 129), (234, 131)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_CLONE_THREAD = 0x10000
_ALLOW, _KILL_PROCESS, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2

_LANDLOCK = (444, 445, 446)
"""create_ruleset, add_rule, restrict_self: the same numbers everywhere."""
_WRITES = 1 << 1 | sum(1 << n for n in range(4, 13))
"""Writing, removing and making files of any kind; with later versions of Landlock also moving and shortening them."""
_WRITES_SINCE = ((2, 1 << 13), (3, 1 << 14))

_REFUSED_EVENTS = (
    *("socket.", "subprocess.", "pty.", "os.fork", "os.posix_spawn", "os.exec", "os.system", "os.spawn", "os.kill"),
    *("ctypes.dlopen", "ctypes.dlsym"),
)
"""Beginnings of the names of audit events."""
_WRITING_EVENTS = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.utime"}


def main() -> None:
    """Read what to run, run it, and say how it ended."""
    asked = json.load(sys.stdin)
    out = os.dup(1)
    os.set_inheritable(out, False)
    lacking = _give_up(asked)
    os.write(out, f"ready {' '.join(lacking)}\n".encode())
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    write, leave, token = os.write, os._exit, asked["token"]
    if asked["hook"]:
        _refuse_in_python()
    kind, detail = _outcome(asked["candidate"], asked["tests"])
    write(out, f"{token} {kind} {detail}\n".encode(errors="replace"))
    leave(0)


def _outcome(candidate: str, tests: str) -> tuple[str, str]:
    """Return the kind of the outcome, and in what exception it ended."""
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module  # dataclasses look there
    space: dict[str, Any] = module.__dict__
    try:
        compiled = compile(candidate, "candidate.py", "exec")
    except MemoryError:
        return "memory", "MemoryError"
    except (SyntaxError, ValueError, RecursionError) as error:
        return "syntax_error", _said(error)
    try:
        exec(compiled, space)  # noqa: S102 (this is what the whole file is for)
        exec(compile(tests, "tests.py", "exec"), space)  # noqa: S102
    except AssertionError as error:
        return "wrong_answer", _said(error)
    except MemoryError:
        return "memory", "MemoryError"
    except BaseException as error:
        return "exception", _said(error)
    return "passed", ""


def _said(error: BaseException) -> str:
    with contextlib.suppress(BaseException):
        return f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
    return "an exception that cannot be shown"


# ------------------------------------------------------------ what is given up


def _give_up(asked: dict[str, Any]) -> list[str]:
    """Set the limits; return which of the kernel's protections are lacking."""
    lacking = []
    if asked["kernel"]:
        lacking = [name for name, ask in (("landlock", _keep_to_folder), ("seccomp", _filter_calls)) if not _works(ask)]
    else:
        lacking = ["landlock", "seccomp"]
    seconds, memory, file = math.ceil(asked["seconds"]), int(asked["memory_mb"] * 2**20), int(asked["file_mb"] * 2**20)
    limits = [(resource.RLIMIT_CPU, seconds, seconds + 1), (resource.RLIMIT_FSIZE, file, file), (resource.RLIMIT_CORE, 0, 0), (resource.RLIMIT_NOFILE, 64, 64)]
    if "seccomp" in lacking:
        limits.append((resource.RLIMIT_NPROC, 0, 0))  # threads too, and not for root; seccomp tells them apart
    limits.append((resource.RLIMIT_AS, memory, memory))
    for limit, soft, hard in limits:
        with contextlib.suppress(ValueError, OSError):  # a system that lacks a limit: macOS refuses RLIMIT_AS
            resource.setrlimit(limit, (soft, hard))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that is too large is an OSError
    return lacking


def _works(ask: Any) -> bool:
    try:
        ask()
    except (OSError, KeyError, AttributeError):
        return False
    return True


def _call(number: int, *arguments: Any) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    found = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(found)


def _prctl(*arguments: int | ctypes.Array[ctypes.c_char]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    padded = [*arguments, 0, 0, 0, 0][:5]
    if libc.prctl(*(ctypes.c_ulong(a) if isinstance(a, int) else a for a in padded)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _keep_to_folder() -> None:
    """Let nothing be written but in the working folder (Landlock, Linux 5.13). Raises OSError where that cannot be."""
    if sys.platform != "linux":
        raise OSError("no Landlock here")
    version = _call(_LANDLOCK[0], 0, 0, 1)
    writes = _WRITES | sum(bit for since, bit in _WRITES_SINCE if version >= since)
    rules = _call(_LANDLOCK[0], ctypes.create_string_buffer(struct.pack("<Q", writes), 8), 8, 0)
    for place, allowed in ((os.curdir, writes), (os.devnull, writes & (1 << 1 | 1 << 14))):
        folder = os.open(place, os.O_PATH | os.O_CLOEXEC)
        _call(_LANDLOCK[1], rules, 1, ctypes.create_string_buffer(struct.pack("<Qi", allowed, folder), 12), 0)
        os.close(folder)
    _prctl(_NO_NEW_PRIVS, 1)
    _call(_LANDLOCK[2], rules, 0)
    os.close(rules)


def _filter_calls() -> None:
    """Refuse system calls that reach the network or other processes (seccomp). Raises OSError, or KeyError for a processor not known here."""
    if sys.platform != "linux":
        raise OSError("no seccomp here")
    which, architecture = _ARCHITECTURES[platform.machine()]
    program: list[tuple[int, int, int, int]] = []
    load, equal, at_least, any_bit, answer = 0x20, 0x15, 0x35, 0x45, 0x06

    def unless(code: int, value: int, *then: tuple[int, int, int, int]) -> None:
        program.extend([(code, 0, len(then), value), *then])

    program.append((load, 0, 0, 4))
    program.extend([(equal, 1, 0, architecture), (answer, 0, 0, _KILL_PROCESS), (load, 0, 0, 0)])
    unless(at_least, 0x40000000, (answer, 0, 0, _EPERM))  # x86_64 has a second table of calls there
    for numbers in _REFUSED.values():
        if (number := numbers[which]) is not None:
            unless(equal, number, (answer, 0, 0, _EPERM))
    unless(equal, _CLONE3[which], (answer, 0, 0, _ENOSYS))  # its flags lie in memory, which a filter cannot read; libc then takes clone
    unless(equal, _CLONE[which], (load, 0, 0, 16), (any_bit, 1, 0, _CLONE_THREAD), (answer, 0, 0, _EPERM), (answer, 0, 0, _ALLOW))
    for number in (_KILL[which], _TGKILL[which]):  # a process may end itself
        unless(equal, number, (load, 0, 0, 16), (equal, 1, 0, os.getpid()), (answer, 0, 0, _EPERM), (answer, 0, 0, _ALLOW))
    program.append((answer, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in program))
    _prctl(_NO_NEW_PRIVS, 1)
    _prctl(_SECCOMP, _FILTER, ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code))))


def _refuse_in_python() -> None:
    """Refuse in Python what the kernel may not refuse here: network, processes, and files outside the working folder."""
    inside = os.path.realpath(os.curdir) + os.sep
    real, text, starts = os.path.realpath, os.fspath, str.startswith

    def outside(path: Any) -> bool:
        if isinstance(path, int):
            return False
        name = real(os.fsdecode(text(path)))
        return name != os.devnull and not starts(name + os.sep, inside)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if starts(event, _REFUSED_EVENTS):
            raise PermissionError(f"{event} is refused where generated code is run")
        if event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) and outside(arguments[0]):
            raise PermissionError(f"{arguments[0]} is not in the folder in which generated code may write")
        if event in _WRITING_EVENTS and any(outside(path) for path in arguments[:2] if isinstance(path, str | bytes)):
            raise PermissionError(f"{event} is refused outside the folder in which generated code may write")

    sys.addaudithook(hook)


if __name__ == "__main__":
    main()
