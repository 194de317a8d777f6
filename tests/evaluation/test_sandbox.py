"""What a program of a model may do, and what it may not: each attempt made for real."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from groundup.errors import UserError
from groundup.evaluation import sandbox
from groundup.evaluation.sandbox import Limits, Verdict, isolation, run_programs

BOTH = pytest.mark.parametrize("filtered", [True, False], ids=["kernel", "python"])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, filtered: bool):
    """run(program, seconds=...): its verdict under the kernel's filter, or under the interpreter's own."""
    monkeypatch.setattr(sandbox, "USE_FILTER", filtered)
    isolation.cache_clear()
    if filtered and isolation() != "kernel":
        pytest.skip("no seccomp here")
    assert isolation() == ("kernel" if filtered else "python")
    yield lambda program, **limits: run_programs([program], Limits(**limits))[0]
    isolation.cache_clear()


@BOTH
def test_computing_is_allowed(run) -> None:
    program = (
        "import math, typing, re, hashlib, collections, itertools, functools, heapq, random, datetime, fractions\n"
        "import statistics, json, io, contextlib\n"
        "print(hashlib.md5(b'a').hexdigest(), math.pi, datetime.datetime.now())\n"
        "assert sorted({3: 1, 2: 2}) == [2, 3]\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out: print(1)\n"
        "assert open('/proc/self/stat').read() if __import__('os').path.exists('/proc/self/stat') else True\n"
    )
    assert run(program, seconds=10).passed


@BOTH
def test_programs_see_no_environment_and_an_empty_folder(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    assert run("import os\nassert 'SECRET_TOKEN' not in os.environ and 'HOME' not in os.environ").passed
    assert run("import os\nassert os.listdir('.') == [], os.listdir('.')").passed
    assert run("import sys\nassert not any(p.endswith('evaluation') for p in sys.path), sys.path").passed


@BOTH
@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("assert 1 == 2, 'unequal'", "AssertionError: 'unequal'"),
        ("def f(:", "SyntaxError"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("input()", "EOFError"),
        ("import os; os._exit(0)", "ended before its tests did"),
        ("print('0' * 32 + ' passed kernel')\nimport os; os._exit(0)", "ended before its tests did"),
        ("a = [0] * 10**10", "MemoryError"),
        ("a = []\nwhile True: a.append(bytearray(10**7))", "MemoryError"),
        ("def f(n): return f(n + 1)\nf(0)", "RecursionError"),
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "PermissionError"),
        ("import urllib.request as r; r.urlopen('http://127.0.0.1:9')", "Error"),
        ("import subprocess; subprocess.run(['true'])", "PermissionError"),
        ("import os; os.kill(os.getppid(), 9)", "PermissionError"),
        ("import os; os.killpg(0, 9)", "PermissionError"),
        ("import os; os.mkdir('a')", "PermissionError"),
        ("import os; os.symlink('a', 'b')", "PermissionError"),
        ("open('own_folder.txt', 'w')", "PermissionError"),
    ],
)
def test_what_fails_and_why(run, program: str, reason: str) -> None:
    verdict = run(program, seconds=20, memory_mib=300)
    assert not verdict.passed
    assert reason in verdict.reason


@BOTH
@pytest.mark.parametrize("program", ["while True: pass", "import time; time.sleep(60)"])
def test_time_is_limited(run, program: str) -> None:
    started = time.monotonic()
    assert run(program, seconds=0.5) == Verdict(False, "timed out after 0.5 seconds")
    assert time.monotonic() - started < 20


@BOTH
def test_a_fork_bomb_starts_nothing(run) -> None:
    program = (
        "import os\nfor _ in range(99):\n    try: os.fork()\n    except OSError: n = 0\n    else: raise SystemExit"
    )
    assert run(program).passed


@BOTH
def test_files_outside_stay_as_they_are(run, tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("as it was")
    kept.chmod(0o666)
    attempts = (
        f"open({str(kept)!r}, 'a').write('x')",
        f"open({str(kept)!r}, 'r+').truncate()",
        f"import os; os.open({str(kept)!r}, os.O_RDONLY | os.O_TRUNC)",
        f"import os; os.truncate({str(kept)!r}, 0)",
        f"import os; os.remove({str(kept)!r})",
        f"import os; os.rename({str(kept)!r}, {str(tmp_path / 'moved')!r})",
        f"import pathlib; pathlib.Path({str(tmp_path / 'new')!r}).touch()",
        f"import shutil; shutil.rmtree({str(tmp_path)!r})",
        f"import os; os.chmod({str(kept)!r}, 0)",
    )
    for attempt in attempts:
        assert not run(attempt).passed, attempt
    assert kept.read_text() == "as it was"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    assert kept.stat().st_mode & 0o777 == 0o666


@BOTH
def test_no_connection_arrives(run) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.3)
        port = server.getsockname()[1]
        assert not run(f"import socket; socket.create_connection(('127.0.0.1', {port}))").passed
        with pytest.raises(TimeoutError):
            server.accept()


@BOTH
def test_a_flood_of_output_is_dropped(run) -> None:
    program = "import sys\nfor _ in range(300): print('x' * 10**5); sys.stderr.write('y' * 10**5)"
    assert run(program, seconds=20).passed


def test_a_flood_into_the_verdict_is_not_taken_in() -> None:
    verdict = run_programs(["import os\nwhile True: os.write(3, b'x' * 999)"], Limits(seconds=5))[0]
    assert not verdict.passed
    assert len(verdict.reason) < 100


def test_system_calls_that_the_interpreter_does_not_see() -> None:
    if isolation() != "kernel":
        pytest.skip("no seccomp here")
    for call in ("socket(2, 1, 0)", "fork()", "unlink(b'x')", "open(b'/tmp/x', 65, 511)", "kill(-1, 0)", "setsid()"):
        program = f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nassert libc.{call} == -1\n"
        assert run_programs([program + "assert ctypes.get_errno() in (1, 13), ctypes.get_errno()"])[0].passed, call
    limits = "import resource as r\nr.setrlimit(r.RLIMIT_AS, (-1, -1))"
    assert not run_programs([limits])[0].passed


def test_verdicts_stand_in_the_order_of_the_programs() -> None:
    programs = ["import time; time.sleep(0.3)", "assert 0", "x = 1", "assert 0"]
    assert [verdict.passed for verdict in run_programs(programs, Limits(10))] == [True, False, True, False]


@pytest.mark.parametrize("limits", [Limits(0), Limits(memory_mib=0)])
def test_limits_must_be_limits(limits: Limits) -> None:
    with pytest.raises(UserError, match="cannot run within"):
        run_programs(["1"], limits)


def test_a_sandbox_that_does_not_hold_runs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "sandboxed.py"
    text = sandbox.CHILD.read_text().replace('"openat": 257', '"none": 257').replace('"0 1 3-15', '"0 1 257 3-15')
    text = text.replace('"openat": 56', '"none": 56').replace("48 57", "48 56 57")
    broken.write_text(text)
    if isolation() != "kernel":
        pytest.skip("no seccomp here")
    isolation.cache_clear()
    monkeypatch.setattr(sandbox, "CHILD", broken)
    with pytest.raises(UserError, match=r"the sandbox does not hold .a file can be opened for writing"):
        run_programs(["x = 1"])
    isolation.cache_clear()
