"""Several models trained one after another: each in a process of its own, so that none sees another's memory or end."""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from ..configs.schema import RunConfig
from ..configs.several import Chosen
from ..errors import UserError, notice
from .folder import RunFolder, write_text


@dataclass(frozen=True)
class Outcome:
    """What came of one model: the folder of its run, if it got one, and why it has no numbers, if it has none."""

    model: str
    dataset: str
    folder: Path | None
    code: int
    error: str = ""


def train_several(runs: Sequence[tuple[Chosen, RunConfig | UserError]]) -> int:
    """Train each of the runs, whatever becomes of the others, and print them side by side.

    A run that could not be made from its configuration comes as its error. An interrupt ends the run that it falls on
    as it ends one that runs alone, and those after it are not begun.

    Returns:
        The exit code: 0; 1 where a model failed; 128 + the signal's number after an interrupt.
    """
    outcomes: list[Outcome] = []
    dataset = next((run.dataset.train_path or run.dataset.name for _, run in runs if isinstance(run, RunConfig)), "")
    for number, (chosen, run) in enumerate(runs, 1):
        print(f"=== {number} of {len(runs)}: {chosen.name} ===", file=sys.stderr, flush=True)
        if isinstance(run, UserError):
            outcomes.append(Outcome(chosen.name, dataset, None, 1, str(run)))
            continue  # it was said before the first run began
        outcomes.append(_in_a_process(chosen, run))
        if outcomes[-1].error:
            _keep_error(outcomes[-1])
            print(f"error: {chosen.name}: {outcomes[-1].error}", file=sys.stderr, flush=True)
        if outcomes[-1].code >= 128:
            break
    _print_table(outcomes, [run for _, run in runs if isinstance(run, RunConfig)])
    interrupted = next((one.code for one in outcomes if one.code >= 128), 0)
    if interrupted:
        left = [chosen.name for chosen, _ in runs[len(outcomes) :]]
        notice("stopped" + (f"; not begun: {', '.join(left)}" if left else ""))
    return interrupted or int(any(one.error for one in outcomes))


# --- one run -----------------------------------------------------------------------------------------------------


def _in_a_process(chosen: Chosen, run: RunConfig) -> Outcome:
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in whatever state they are
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(run, theirs), name=chosen.name)
    process.start()
    theirs.close()
    with _passing_on(process):
        said = _listen(ours)
        process.join()
    folder = Path(said["folder"]) if "folder" in said else None
    dataset = run.dataset.train_path or run.dataset.name
    if "code" in said:
        return Outcome(chosen.name, dataset, folder, said["code"])
    error = said.get("error") or _end_of(process)
    return Outcome(chosen.name, dataset, folder, 1, error)


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
    from .run import train

    try:
        connection.send({"code": train(run, opened=lambda root: connection.send({"folder": str(root)}))})
    except UserError as error:
        connection.send({"error": str(error)})
    except KeyboardInterrupt:
        connection.send({"code": 130})
    except BaseException as error:  # a fault of ours: its trace is for whoever mends it, the other models go on
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


@contextmanager
def _passing_on(process: BaseProcess) -> Iterator[None]:
    """SIGTERM goes on to the process, which saves and ends; Ctrl-C reaches it by itself, and is here waited out."""

    def terminate(number: int, frame: FrameType | None) -> None:
        process.terminate()

    def wait(number: int, frame: FrameType | None) -> None:
        pass

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGINT, wait)
    except ValueError:  # not in the main thread: signals are somebody else's
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- what is left of it ------------------------------------------------------------------------------------------


def _keep_error(outcome: Outcome) -> None:
    """A run that failed says so in its folder too, where `evaluate.py --report` reads it."""
    if outcome.folder is None or (path := RunFolder(outcome.folder).results).is_file():
        return
    results = {"finished": False, "model": outcome.model, "dataset": outcome.dataset, "error": outcome.error}
    results["written"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    try:
        write_text(path, json.dumps(results, indent=2) + "\n")
    except UserError as error:  # the disk may be what failed
        notice(str(error))


def _print_table(outcomes: Sequence[Outcome], runs: Sequence[RunConfig]) -> None:
    """The models side by side."""
    from ..evaluation.comparison import RESULTS, Compared, read_run, table

    rows: list[Compared] = []
    for one in outcomes:
        row = None
        if one.folder is not None and (one.folder / RESULTS).is_file():
            row = read_run(one.folder / RESULTS, one.folder.parent.parent)
        rows.append(
            row or Compared(run="", model=one.model, dataset=one.dataset, error=one.error or "it left no results")
        )
    print(f"\n{table(sorted(rows, key=lambda row: row.order))}", flush=True)
    folders = list(dict.fromkeys(run.output.output_dir for run in runs))
    for folder in folders:
        print(f"\nThese and all others in {folder}, with plots: python evaluate.py --report {folder}", flush=True)
