"""The command `python train.py`, also installed as `groundup-train`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..configs.cli import Command, help_text, parse, sets_text, summary
from ..errors import UserError

if TYPE_CHECKING:
    from ..configs.schema import RunConfig
    from ..configs.several import Chosen
    from ..models.start import Start


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

        print(f"{table(list_models())}\n\n{sets_text()}")
        return 0
    if command.export is not None:
        from .export import export_run

        print(f"written: {export_run(*command.export)}")
        return 0
    if command.push is not None:
        from .publish import push

        push(command.push, command.overrides)
        return 0
    from ..configs.architecture import is_bag_of_words, start_of
    from ..configs.devices import usable_device
    from ..configs.entries import check_classes, entry_of
    from ..configs.resolve import load_config

    config, resume = command.config, None
    if command.resume is not None:
        from .resume import resumed_run

        resume = resumed_run(command.resume, command.config, command.overrides)
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
        if resume is not None:
            raise UserError(f"--resume {command.resume}: {run.model.base_model} is fitted in one go: begin it again.")
        return _bag_of_words(command, run)
    if resume is None:
        check_classes(run, entry_of(run.model.base_model), ask_hub=command.action == "train")
    if command.action == "validate":
        _look_at_data(run)
        start = start_of(run, resume)
        _look_at_adapters(run, start)
        print(f"{config or 'the command line'} is valid: {summary(run, start)}")
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
    training = command.action == "train"
    runs = [(one, _run_of(command, one)) for one in chosen]
    said: dict[str, list[str]] = {}
    for one, run in runs:
        if isinstance(run, UserError):
            said.setdefault(str(run), []).append(one.name)
    if len(said) == 1 and len(chosen) == sum(map(len, said.values())) > 1:  # it is not about any one of them
        raise UserError(next(iter(said)))
    for error, names in said.items():
        print(f"error: {', '.join(names)}: {error}", file=sys.stderr)
    if training:
        from ..configs.several import again
        from .several import train_several

        return train_several(runs, partial(again, command.config, command.overrides, test_mode=command.test_mode))
    for one, run in runs:
        if not isinstance(run, UserError):
            _say(command, one, run)
    return int(bool(said))


def _run_of(command: Command, chosen: Chosen) -> RunConfig | UserError:
    """The run of one of several models, or why there is none."""
    from ..configs.architecture import is_bag_of_words, start_of
    from ..configs.devices import usable_device
    from ..configs.entries import check_classes, entry_of
    from ..configs.resolve import load_config

    training = command.action == "train"
    try:
        run = load_config(
            command.config,
            command.overrides,
            planning=command.action == "plan",
            test_mode=command.test_mode,
            chosen=chosen,
            usable=usable_device if training else str,
        )
        check_classes(run, chosen.entry or entry_of(chosen.source), ask_hub=training)
        if not training:
            _look_at_data(run)
            if not is_bag_of_words(run):
                _look_at_adapters(run, start_of(run))
    except UserError as error:
        return error
    return run


def _say(command: Command, chosen: Chosen, run: RunConfig) -> None:
    """That the run of one of several models is valid, or what it will cost."""
    from ..configs.architecture import is_bag_of_words, start_of

    if is_bag_of_words(run):
        _bag_of_words(command, run)
    elif command.action == "plan":
        from ..configs.plan import measure_rate, plan

        start = start_of(run)
        print(f"=== {chosen.name} ===\n{plan(run, measure_rate(run, start=start), start)}\n")
    else:
        print(f"{chosen.name} is valid: {summary(run, start_of(run))}")


def _look_at_adapters(run: RunConfig, start: Start | None) -> None:
    """Do they fit the model? On paper: no weight is read. Raises UserError."""
    from ..configs.methods import has_adapters

    if start is None or not has_adapters(run):
        return
    from ..configs.architecture import architecture, task_of
    from ..configs.portion import portion
    from ..models.hf.families import model_config

    config, task = architecture(run, start.config.vocab_size, start), task_of(run, start)
    if task == "classification" and start.hf is not None:
        config = model_config(start.hf, task, start.name)  # with its pooler, if it has one
    portion(run, config, task)


def _look_at_data(run: RunConfig) -> None:
    """Is the data there, and is it what it should be? A data set on the hub is not asked for."""
    if run.dataset.format is None:
        from ..data.text import look_at

        look_at(run)
    elif run.dataset.format == "classification":
        from ..data.classification.load import look_at as look_at_labelled

        look_at_labelled(run.dataset)
    else:
        from ..data.instruct.source import look_at as look_at_conversations

        look_at_conversations(run.dataset)
