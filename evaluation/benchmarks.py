"""What the names in `evaluation.mcq_benchmarks` and `evaluation.benchmarks` mean. Needs no torch: a configuration is
checked with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UserError, nearest
from .registry import HARNESS

if TYPE_CHECKING:
    from ..configs.schema_evaluation import Evaluation

HARNESS_SUITE, DOMAIN, CODE = "lm-evaluation-harness", "domain-specific-eval", "human-eval"
SUITES = (HARNESS_SUITE, DOMAIN, CODE)
OTHER_WORDS = {"humaneval": CODE, "lm-eval": HARNESS_SUITE, "lm-eval-harness": HARNESS_SUITE, "domain-eval": DOMAIN}


def suite(name: str) -> str | None:
    """The suite that a name means, hyphens or underscores, in any case; None for anything else."""
    word = name.strip().casefold().replace("_", "-")
    word = OTHER_WORDS.get(word, word)
    return word if word in SUITES else None


def benchmark_tasks(benchmarks: Sequence[str], harness_tasks: Sequence[str] = ()) -> list[str]:
    """The tasks that these names mean, each once: a suite's (`human-eval`, `domain-specific-eval`; of
    `lm-evaluation-harness` all `harness_tasks`), `lm-eval:NAME`, or a multiple-choice task.

    Raises:
        UserError: an unknown name, with the nearest; the harness without tasks.
    """
    from .tasks import find_tasks

    tasks: list[str] = []
    for name in benchmarks:
        word = suite(name)
        if word == HARNESS_SUITE:
            if not harness_tasks:
                raise UserError(
                    f"'{name}' stands for tasks of the harness, and none is named: list them in "
                    "evaluation.harness_tasks, as its own --tasks has them"
                )
            tasks += [HARNESS + task.removeprefix(HARNESS) for task in harness_tasks]
        elif word is not None:
            tasks.append(word)
        elif name.startswith(HARNESS):
            tasks.append(name)
        else:
            try:
                tasks += [task.name for task in find_tasks([name])]
            except UserError:
                near = nearest(name, SUITES)
                if " Did" not in near:
                    raise
                raise UserError(f"the benchmark '{name}' is not known.{near}") from None
    return list(dict.fromkeys(tasks))


def tasks_of(evaluation: Evaluation) -> list[str]:
    """The tasks that a run measures, beside the held-out loss and text modelling.

    Raises:
        UserError: what `wrong_benchmarks` finds.
    """
    for key, sentence in wrong_benchmarks(evaluation):
        raise UserError(f"evaluation.{key}: {sentence}")
    return _chosen(evaluation)


def _chosen(evaluation: Evaluation) -> list[str]:
    names = [*evaluation.mcq_benchmarks, *evaluation.benchmarks]
    return benchmark_tasks(names, evaluation.harness_tasks) if names else []


def wrong_benchmarks(evaluation: Evaluation) -> list[tuple[str, str]]:
    """(key, sentence) for each setting of the section that cannot be honoured."""
    from .tasks import find_tasks

    wrong: list[tuple[str, str]] = []
    for key, names in (("mcq_benchmarks", evaluation.mcq_benchmarks), ("benchmarks", evaluation.benchmarks)):
        try:
            if key == "benchmarks":
                benchmark_tasks(names, evaluation.harness_tasks)
            else:
                find_tasks(names) if names else None
        except UserError as error:
            wrong.append((key, str(error)))
    if wrong:
        return wrong
    suites = [suite(name) for name in evaluation.benchmarks]
    if evaluation.harness_tasks and HARNESS_SUITE not in suites:
        wrong.append(("harness_tasks", f"they are run by `{HARNESS_SUITE}`: name it in evaluation.benchmarks"))
    chosen = _chosen(evaluation)
    try:
        files = files_of(evaluation)
    except UserError as error:
        return [*wrong, ("benchmark_data", str(error))]
    for name in files:
        if name not in chosen:
            wrong.append(("benchmark_data", f"it has a file for '{name}', which is not run.{nearest(name, chosen)}"))
    if CODE in chosen and not evaluation.allow_code_execution:
        what = f"`{CODE}` runs code that the model writes, which is off unless asked for"
        wrong.append(("benchmarks", f"{what}: set evaluation.allow_code_execution to true, or leave it out"))
    if DOMAIN in chosen and DOMAIN not in files:
        what = f"`{DOMAIN}` asks your own questions"
        wrong.append(("benchmarks", f"{what}: give their file, evaluation.benchmark_data: {{{DOMAIN}: FILE.jsonl}}"))
    return wrong


def files_of(evaluation: Evaluation) -> dict[str, str]:
    """Where the rows of a task lie, by its name. Raises UserError for a name that means no task."""
    files: dict[str, str] = {}
    for name, place in evaluation.benchmark_data.items():
        if suite(name) == HARNESS_SUITE:
            raise UserError(f"'{name}' takes its rows from where its own tasks say: leave it out")
        files |= dict.fromkeys(benchmark_tasks([name]), place)
    return files
