"""The command `python train.py`, also installed as `groundup-train`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..configs.cli import Command, help_text, parse, summary
from ..errors import UserError

if TYPE_CHECKING:
    from ..configs.schema import RunConfig
    from ..configs.several import Chosen


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says. -> the exit code; bad input is one line on stderr and exit code 1."""
    try:
        return _run(parse(list(sys.argv[1:] if argv is None else argv)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # a second Ctrl-C, or one before the first step
        print("interrupted; a run that has made a checkpoint goes on from it with --resume", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the output went to a `head` that has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(command: Command) -> int:
    if command.action == "help":
        print(help_text())
        return 0
    if command.action == "help-all":
        from ..configs.docs import plain_text

        print(plain_text())
        return 0
    if command.action == "list-models":
        from ..models.registry import list_models, table

        print(table(list_models()))
        return 0
    if command.export is not None:
        from .export import export_run

        print(f"written: {export_run(*command.export)}")
        return 0
    from ..configs.architecture import is_bag_of_words, start_of
    from ..configs.devices import usable_device
    from ..configs.resolve import load_config

    config, resume = command.config, None
    if command.resume is not None:
        resume = _find(command)
        config = str(resume / "config.yaml")
    if resume is None and (chosen := _several(command)):
        return _each(command, chosen)
    planning = command.action == "plan"
    usable = str if planning or command.action == "validate" else usable_device
    run = load_config(
        config,
        command.overrides,
        planning=planning,
        test_mode=command.test_mode,
        resume=resume,
        usable=usable,
    )
    if is_bag_of_words(run):
        return _bag_of_words(command, run)
    if command.action == "validate":
        _look_at_data(run)
        print(f"{config or 'the command line'} is valid: {summary(run, start_of(run, resume))}")
        return 0
    if planning:
        from ..configs.plan import measure_rate, plan

        start = start_of(run, resume)
        print(plan(run, measure_rate(run, start=start), start))
        return 0
    from .run import train

    return train(run, resume)


def _bag_of_words(command: Command, run: RunConfig) -> int:
    """Fit TF-IDF and logistic regression, or say that all is well."""
    if command.action == "train":
        from .run import train

        return train(run)
    _look_at_data(run)
    print(f"{run.model.base_model} on {run.dataset.train_path or run.dataset.name}: valid; it is fitted in seconds")
    return 0


def _several(command: Command) -> list[Chosen]:
    """The models of a configuration that names several; [] where it names one, or none."""
    from ..configs.resolve import models_of

    return models_of(command.config, command.overrides)


def _each(command: Command, chosen: list[Chosen]) -> int:
    """Check, plan or train the run of each model; one that cannot be is said, and the others go on."""
    from ..configs.architecture import is_bag_of_words, start_of
    from ..configs.devices import usable_device
    from ..configs.resolve import load_config

    training, planning = command.action == "train", command.action == "plan"
    runs: list[tuple[Chosen, RunConfig | UserError]] = []
    for one in chosen:
        try:
            usable = usable_device if training else str
            options = {"planning": planning, "test_mode": command.test_mode, "chosen": one, "usable": usable}
            run = load_config(command.config, command.overrides, **options)
            if not training:
                _look_at_data(run)
            runs.append((one, run))
        except UserError as error:
            runs.append((one, error))
            print(f"error: {one.name}: {error}", file=sys.stderr)
    if training:
        from .several import train_several

        return train_several(runs)
    for one, run in runs:
        if isinstance(run, UserError):
            continue
        if is_bag_of_words(run):
            _bag_of_words(command, run)
        elif planning:
            from ..configs.plan import measure_rate, plan

            start = start_of(run, None)
            print(f"=== {one.name} ===\n{plan(run, measure_rate(run, start=start), start)}\n")
        else:
            print(f"{one.name} is valid: {summary(run, start_of(run, None))}")
    return int(any(isinstance(run, UserError) for _, run in runs))


def _look_at_data(run: RunConfig) -> None:
    """Is the data there? A data set on the hub is not asked for."""
    dataset = run.dataset
    if dataset.format is None:
        from ..data.corpus import corpus_of

        corpus_of(run)
        return
    if dataset.format == "classification":
        from ..data.classification.load import look_at

        look_at(dataset)
        return
    from ..data.instruct.source import open_source

    open_source(dataset, "train_path" if dataset.train_path else "name")
    if dataset.eval_path:
        open_source(dataset, "eval_path")


def _find(command: Command) -> Path:
    """The run to resume; `latest` looks where the configuration, or the command line, writes its runs."""
    from .folder import find_run

    output_dir = "results"
    if command.resume == "latest":
        from ..configs.overrides import parse_overrides
        from ..configs.resolve import load_config

        given = parse_overrides(command.overrides).values.get(("output", "output_dir"))
        if command.config is not None:
            output_dir = load_config(command.config, command.overrides).output.output_dir
        elif given is not None:
            output_dir = str(given)
    return find_run(str(command.resume), Path(output_dir).expanduser())
