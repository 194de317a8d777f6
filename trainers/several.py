"""Several models trained one after another, past failures: side by side at the end, with how to go on."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..configs.schema import RunConfig
from ..configs.several import Chosen
from ..errors import UserError, notice
from .checkpoint import latest_checkpoint
from .folder import RunFolder, write_text
from .process import Stop, train_in_process
from .resume import folder_of

Again = Callable[[Sequence[Chosen]], str]


@dataclass(frozen=True)
class Outcome:
    """What came of one model: the folder of its run, if it got one, and why it has no numbers, if it has none."""

    model: Chosen
    dataset: str
    folder: Path | None = None
    error: str = ""
    stopped: bool = False
    checkpoint: bool = False  # whether there is one to go on from

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.model.name


def train_several(runs: Sequence[tuple[Chosen, RunConfig | UserError]], again: Again) -> int:
    """Train each of the runs, whatever becomes of the others, and print them side by side.

    A run that could not be made from its configuration comes as its error. An interrupt ends the run that it falls on
    as it ends one that runs alone, and those after it are not begun. `again` gives the command that trains some of them
    in the same way.

    Returns:
        The exit code: 0; 1 where a model failed; 128 + the signal's number after an interrupt.
    """
    outcomes: list[Outcome] = []
    dataset = next((_dataset(run) for _, run in runs if isinstance(run, RunConfig)), "")
    with Stop() as stop:
        for number, (chosen, run) in enumerate(runs, 1):
            print(f"=== {number} of {len(runs)}: {chosen.name} ===", file=sys.stderr, flush=True)
            if isinstance(run, UserError):
                outcomes.append(Outcome(chosen, dataset, error=str(run)))  # it was said before the first run began
            else:
                outcomes.append(_train(chosen, run, stop))
            if stop:
                break
    _print_table(outcomes, [run for _, run in runs if isinstance(run, RunConfig)])
    left = [chosen for chosen, _ in runs[len(outcomes) :]]
    if stop:
        notice("stopped" + (f"; not begun: {', '.join(one.name for one in left)}" if left else ""))
    _print_how_to_go_on(outcomes, left, again)
    return stop.exit_code if stop else int(any(one.error for one in outcomes))


def _train(chosen: Chosen, run: RunConfig, stop: Stop) -> Outcome:
    said = train_in_process(run, chosen.name, stop)
    folder = Path(said["folder"]) if "folder" in said else None
    has_checkpoint = folder is not None and latest_checkpoint(folder_of(folder, run).weights) is not None
    stopped = bool(stop) and said.get("code") != 0  # whatever else it may say of its end
    error = "" if stopped else said.get("error", "")
    outcome = Outcome(chosen, _dataset(run), folder, error, stopped, has_checkpoint)
    if error:
        _keep_error(outcome)
        print(f"error: {chosen.name}: {error}", file=sys.stderr, flush=True)
    return outcome


def _dataset(run: RunConfig) -> str:
    return run.dataset.train_path or run.dataset.name


# --- what is left of it ------------------------------------------------------------------------------------------


def _keep_error(outcome: Outcome) -> None:
    """A run that failed says so in its folder too, where `evaluate.py --report` reads it."""
    if outcome.folder is None or (path := RunFolder(outcome.folder).results).is_file():
        return
    results = {"finished": False, "model": outcome.name, "dataset": outcome.dataset, "error": outcome.error}
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
        error = one.error or ("" if one.stopped else "it left no results")
        rows.append(row or Compared(run="", model=one.name, dataset=one.dataset, error=error, finished=False))
    print(f"\n{table(sorted(rows, key=lambda row: row.order))}", flush=True)
    folders = list(dict.fromkeys(run.output.output_dir for run in runs))
    for folder in folders:
        print(f"\nThese and all others in {folder}, with plots: python evaluate.py --report {folder}", flush=True)


def _print_how_to_go_on(outcomes: Sequence[Outcome], left: Sequence[Chosen], again: Again) -> None:
    """The commands that make of what is there the whole series, ready to be pasted."""
    ended = [one for one in outcomes if one.stopped or one.error]
    resumed = [f"python train.py --resume {shlex.quote(str(one.folder))}" for one in ended if one.checkpoint]
    anew = [one.model for one in ended if one.stopped and not one.checkpoint]
    begun = [again([*anew, *left])] if anew or left else []
    failed = [one.model for one in ended if one.error and not one.checkpoint]
    if resumed or begun:
        print("\n    ".join(["\ngo on with", *resumed, *begun]), file=sys.stderr)
    if failed:
        print(f"\nonce what failed is mended\n    {again(failed)}", file=sys.stderr)
