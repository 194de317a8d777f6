"""A run in a process of its own, so that none sees another's memory or end; and what stops such runs."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from ..configs.schema import RunConfig
from ..errors import UserError
from .interrupt import Interrupt

_STOPS = (signal.SIGINT, signal.SIGTERM)


class Stop(Interrupt):
    """Context in which the signal that stops a series is remembered; a second one acts no otherwise than the first.

    SIGTERM goes on to the process in hand, which saves and ends; Ctrl-C reaches that by itself, and is here waited out.
    """

    process: BaseProcess | None = None

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        if number == signal.SIGTERM and self.process is not None:
            self.process.terminate()


def train_in_process(run: RunConfig, name: str, stop: Stop) -> dict[str, Any]:
    """Train in a process of its own.

    Returns:
        `folder` of the run, if it got one, and `code`, what train() gave, or `error`, why it gave nothing.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in whatever state they are
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(run, theirs), name=name)
    with _held_back():
        if stop:
            return {"code": stop.exit_code}
        process.start()
        stop.process = process
    theirs.close()
    said = _listen(ours)
    process.join()
    stop.process = None
    if not said.keys() & {"code", "error"}:
        said["error"] = _end_of(process)
    return said


@contextmanager
def _held_back() -> Iterator[None]:
    """Signals wait meanwhile, here and in a process that is started: there until `_let_in`.

    A process takes seconds to be ready for them: an interrupt before would be a trace of whatever it imports.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # starting it lets signals in, so not below
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _let_in() -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)


def _listen(connection: Connection) -> dict[str, Any]:
    """What the process says until it ends."""
    said: dict[str, Any] = {}
    while True:
        try:
            said |= connection.recv()
        except EOFError:
            return said


def _train(run: RunConfig, connection: Connection) -> None:
    """Runs in the process: train, and say which folder, with which exit code or which error."""
    told: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        told.append(number)
        raise KeyboardInterrupt

    try:
        signal.signal(signal.SIGINT, interrupt)
        from .run import train  # seconds, in which signals wait: what they fall on may swallow them

        _let_in()

        connection.send({"code": train(run, opened=lambda root: connection.send({"folder": str(root)}))})
    except UserError as error:
        connection.send({"error": str(error)})
    except KeyboardInterrupt:
        connection.send({"code": 130})
    except BaseException as error:  # a fault of ours: its trace is for whoever mends it, the other models go on
        if told:  # no fault: what an interrupt falls on may fail in words of its own, an import above all
            connection.send({"code": 130})
            return
        traceback.print_exc()
        connection.send({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})
    finally:
        connection.close()


def _end_of(process: BaseProcess) -> str:
    """Why a process ended that said nothing."""
    code = process.exitcode or 0
    if code >= 0:
        return f"the process ended with exit code {code} and said nothing"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ": most likely memory ran out" if name == "SIGKILL" else ""
    return f"the process was ended by {name}{hint}"
