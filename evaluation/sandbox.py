"""Programs that a model wrote, run where they can do nothing but compute.

Each runs in a process of its own (`sandboxed.py`), in a session of its own and an empty folder, with no environment,
under limits on time, memory, files and processes, and is killed when its time is over. On Linux (x86-64, ARM64) a
seccomp filter allows it the system calls of a computation and no others: no sockets, no processes or threads, no
signals to others, no file opened for writing. Elsewhere Python's own audit hooks refuse the same things, which stops
accidents but no attacker: `isolation()` says which of the two it is.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from tqdm import tqdm

from ..errors import UserError

CHILD = Path(__file__).with_name("sandboxed.py")
START = 30.0  # seconds that Python itself may take to start on a busy machine
ANSWER = 4096  # bytes of a verdict
USE_FILTER = True  # the kernel's, where there is one


@dataclass(frozen=True)
class Limits:
    """What one program may use: seconds (of the clock, and of processor time), MiB of address space."""

    seconds: float = 3.0
    memory_mib: int = 1024


@dataclass(frozen=True)
class Verdict:
    """Whether a program ran to its end without an exception, and else why not."""

    passed: bool
    reason: str


def run_programs(programs: Sequence[str], limits: Limits | None = None, title: str | None = None) -> list[Verdict]:
    """Run each program in a process of its own, one a processor core at a time.

    Raises:
        UserError: this system cannot limit a process, or a limit is not above 0.
    """
    limits = limits or Limits()
    if limits.seconds <= 0 or limits.memory_mib <= 0:
        raise UserError(f"a program cannot run within {limits.seconds} seconds and {limits.memory_mib} MiB: give more")
    isolation()
    with (
        tempfile.TemporaryDirectory(prefix="sandbox-") as folder,
        ThreadPoolExecutor(os.cpu_count() or 1) as pool,
        tqdm(total=len(programs), desc=title, disable=title is None, unit="program") as bar,
    ):

        def one(program: str) -> Verdict:
            verdict = _run(program, limits, folder)
            bar.update()
            return verdict

        return list(pool.map(one, programs))


@cache
def isolation() -> str:
    """`kernel` where a seccomp filter holds programs, `python` where only the interpreter does.

    Raises:
        UserError: neither works here.
    """
    if os.name != "posix":
        raise UserError("programs cannot be run here: their limits need Linux or macOS; leave the task out")
    with tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
        verdict = _run("", Limits(seconds=10.0), folder)
    if not verdict.passed:
        raise UserError(
            f"programs cannot be run here: the sandbox does not hold ({verdict.reason}); leave the task out"
        )
    return verdict.reason


def _run(program: str, limits: Limits, folder: str) -> Verdict:
    word = secrets.token_hex(16)  # a program that prints a verdict does not know it
    settings = {**asdict(limits), "seconds": math.ceil(limits.seconds), "word": word, "filter": USE_FILTER}
    environment = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-s", "-B", "-X", "utf8", str(CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=environment,
        start_new_session=True,
        bufsize=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    pipe, said = process.stdout.fileno(), bytearray()
    try:
        with process.stdin as source:
            source.write((json.dumps(settings) + "\n").encode() + program.encode("utf-8", "replace"))
        started = _read(pipe, said, f"{word} ready\n", START)
        in_time = started and _read(pipe, said, f"{word} done\n", limits.seconds)
    except BrokenPipeError:
        started = in_time = False
    finally:
        _kill(process)
        process.stdout.close()
    lines = said.decode("utf-8", "replace").splitlines()
    answers = [line.removeprefix(f"{word} ").partition(" ") for line in lines if line.startswith(f"{word} ")]
    return _verdict({kind: text for kind, _, text in answers}, in_time, process.returncode, limits)


def _verdict(answers: dict[str, str], in_time: bool, code: int, limits: Limits) -> Verdict:
    if "ready" not in answers:
        return Verdict(False, answers.get("open", "it did not start"))
    for kind in ("passed", "failed"):
        if kind in answers:
            return Verdict(kind == "passed", answers[kind])
    if not in_time or code == -signal.SIGXCPU:
        return Verdict(False, f"timed out after {limits.seconds:g} seconds")
    return Verdict(False, f"killed by {signal.Signals(-code).name}" if code < 0 else "ended before its tests did")


def _read(pipe: int, said: bytearray, end: str, seconds: float) -> bool:
    """Take in what comes through a pipe up to `end`, its closing or ANSWER bytes. -> False when the time is over."""
    deadline = time.monotonic() + seconds
    while len(said) < ANSWER and end.encode() not in said:
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        block = os.read(pipe, ANSWER)
        if not block:
            break
        said += block
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group; one that is about to end by itself keeps the code it ends with."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.05)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
