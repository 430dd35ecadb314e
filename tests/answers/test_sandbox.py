"""Code that a model wrote: what it may do, what it is kept from, and how each end is counted."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from weitiao.answers import sandbox
from weitiao.answers.sandbox import KINDS, Limits, Outcome
from weitiao.errors import MachineError

TIGHT = Limits(seconds=1, memory_mb=256, file_mb=1)
KERNEL, HOOK = {"kernel": True, "hook": False}, {"kernel": False, "hook": True}
HAS_KERNEL = pytest.mark.skipif(bool(sandbox.lacking()), reason="this system has no Landlock or no seccomp")
EACH = pytest.mark.parametrize("layer", [pytest.param(KERNEL, marks=HAS_KERNEL), HOOK], ids=["kernel", "python"])


def ended(candidate: str, tests: str = "", **layers: bool) -> Outcome:
    return sandbox.run(candidate, tests, TIGHT, **layers)


@pytest.mark.parametrize(
    ("candidate", "tests", "kind", "detail"),
    [
        ("def f(x): return x + 1", "assert f(1) == 2", "passed", ""),
        ("def f(x): return x", "assert f(1) == 2, 'no'", "wrong_answer", "AssertionError: no"),
        ("def f(x): return y", "assert f(1) == 2", "exception", "NameError: name 'y' is not defined"),
        ("def f(x) return x", "assert f(1) == 2", "syntax_error", "SyntaxError: expected ':' (candidate.py, line 1)"),
        ("x = '\0'", "", "syntax_error", "SyntaxError: source code string cannot contain null bytes"),
        ("x = " + "(" * 500 + ")" * 500, "", "syntax_error", None),
        ("def f(): return f()", "f()", "exception", "RecursionError"),
        ("x = [0] * 10**9", "", "memory", "MemoryError"),
        ("x = []\nwhile True: x.append('a' * 10**6)", "", "memory", "MemoryError"),
        ("import sys; sys.exit(0)", "assert False", "exception", "SystemExit: 0"),
        ("import os; os._exit(0)", "assert False", "exception", "left the process"),
        ("import os; os.abort()", "", "exception", "ended by signal 6"),
        ("print('passed'); input()", "", "exception", "EOFError"),
        ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", "", "exception", "an exception that cannot be shown"),
        ("if __name__ == '__main__': raise ValueError", "", "passed", ""),
        ("from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int", "assert A(1).x == 1", "passed", ""),
        ("import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()", "", "passed", ""),
        ("open('a', 'w').write('x')", "import os\nassert open('a').read() == 'x'\nos.remove('a')", "passed", ""),
        ("open('a', 'w').write('x' * 10**7)", "", "exception", "OSError: [Errno 27] File too large"),
        ("import os", "assert set(os.environ) <= {'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'LC_CTYPE'}", "passed", ""),
        ("import sys", f"assert {str(Path.cwd())!r} not in sys.path", "passed", ""),
    ],
)
def test_every_end_is_of_its_kind(candidate: str, tests: str, kind: str, detail: str | None) -> None:
    found = ended(candidate, tests)
    assert found.kind == kind and kind in KINDS
    assert detail is None or found.detail.startswith(detail)


def test_code_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    assert ended("while True: pass") == Outcome("timeout"), "by the processor time it took"
    assert time.monotonic() - began < 3
    monkeypatch.setattr(sandbox, "_PATIENCE", 1)
    assert ended("import time; time.sleep(100)") == Outcome("timeout"), "by the clock"


@pytest.mark.soak
def test_code_that_ignores_the_signal_of_its_end_is_killed() -> None:
    assert ended("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass") == Outcome("timeout")


@EACH
@pytest.mark.parametrize(
    "candidate",
    [
        "import os; os.fork()",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true') and 1 / 0",
        "import os; os.execv('/bin/true', ['true'])",
        "import multiprocessing as m; p = m.get_context('fork').Process(target=print); p.start()",
        "import os; os.kill(os.getppid(), 0)",
        "import socket; socket.socket()",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
    ],
)
def test_processes_and_network_are_refused(candidate: str, layer: dict[str, bool]) -> None:
    found = ended(candidate, **layer)
    assert found.kind == "exception"
    assert "refused" in found.detail or "not permitted" in found.detail or "ZeroDivision" in found.detail, found


def test_a_listener_on_this_machine_is_not_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        assert ended(f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 1)").kind == "exception"
        with pytest.raises(TimeoutError):
            server.accept()


@EACH
@pytest.mark.parametrize(
    "code",
    [
        "open({0!r}, 'w')",
        "open({1!r}, 'a')",
        "import os; os.remove({1!r})",
        "import os; os.rename({1!r}, 'a')",
        "import os; os.mkdir({0!r})",
        "import os; os.chmod({1!r}, 0)",
    ],
)
def test_nothing_is_written_outside_the_folder(code: str, layer: dict[str, bool], tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    found = ended(code.format(str(tmp_path / "new"), str(kept)), **layer)
    assert found.kind == "exception" and found.detail.startswith("PermissionError")
    assert kept.read_text() == "mine" and os.access(kept, os.R_OK) and list(tmp_path.iterdir()) == [kept]


@HAS_KERNEL
def test_what_goes_round_python_is_refused_by_the_kernel() -> None:
    call = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nassert libc.{} == -1 and ctypes.get_errno() == {}"
    for asked, number in (("socket(2, 1, 0)", 1), ("fork()", 1), ("syscall(435, 0, 0)", 38), ("chmod(b'/tmp', 0)", 1), ("open(b'/tmp/weitiao-x', 65)", 13)):
        assert ended(call.format(asked, number), **KERNEL) == Outcome("passed"), asked
    assert not Path("/tmp/weitiao-x").exists()


def test_the_folder_is_gone_afterwards_and_holds_no_file_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path))
    seen = "import os\nassert os.listdir() == []\nos.mkdir('deep', 0)\nopen('left', 'w').write('x')"
    assert ended(seen) == Outcome("passed")
    assert list(tmp_path.iterdir()) == []


def test_many_are_run_in_order() -> None:
    programs = [(f"x = {n}", f"assert x != {n}" if n % 3 == 0 else "") for n in range(9)]
    assert [outcome.kind for outcome in sandbox.run_all(programs)] == ["wrong_answer" if n % 3 == 0 else "passed" for n in range(9)]
    assert sandbox.run_all([]) == []


def test_a_process_that_does_not_start_is_an_error_and_no_failed_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemError('no such thing')")
    monkeypatch.setattr(sandbox, "_SCRIPT", broken)
    with pytest.raises(MachineError, match="does not start: SystemError: no such thing") as caught:
        ended("")
    assert "task.run_tests=false" in caught.value.hint
    monkeypatch.setattr(sandbox.os, "name", "nt")
    with pytest.raises(MachineError, match="only Linux and macOS"):
        ended("")
    monkeypatch.setattr(sandbox.os, "name", "posix" if sys.platform != "win32" else "nt")
