"""What can be measured: a table of kinds of tasks, each one function of the same signature.

    def kind(model: Model, tokenizer: Tokenizer, context: EvalContext) -> Numbers

Multiple-choice tasks are declared in `tasks/`; one kind measures them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import UserError, nearest

if TYPE_CHECKING:
    from ..configs.schema import RunConfig
    from ..models.model import Model
    from ..tokenizers.base import Tokenizer
    from .scores import Scores

T = TypeVar("T")
Numbers = dict[str, Any]
"""Numbers by name; NAME_stderr is the standard error of NAME. Words that say how they were measured may be among them:
`version` of the task, `scored`, a mapping `groups`."""

HARNESS = "lm-eval:"
"""Before the name of a task of lm-evaluation-harness."""


@dataclass(frozen=True)
class EvalContext:
    """What a task may need beyond the model, which stands on its device in evaluation mode."""

    task: str
    """The name it was asked for by."""
    data: str | Path | None = None
    """This task's file or folder; None: where the task itself takes its rows from."""
    limit: int | None = None
    """No more than so many questions (of text: batches)."""
    n_shot: int | None = None
    """Examples in the context; None: the task's own number."""
    seed: int | None = None
    """Of whatever is drawn; None: the task's own."""
    batch_size: int | None = None
    """Sequences in a batch; None: `batch_tokens` decides."""
    batch_tokens: int | None = None
    """Tokens in a batch; None: as many as the device takes."""
    add_bos: bool | None = None
    """Whether contexts begin with the BOS token; None: as the tokenizer's own template does."""
    context: int | None = None
    """Of text: tokens in a row; None: what the model was built for, within bounds."""
    stride: int | None = None
    """Of text: tokens between the beginnings of two windows; None: they do not overlap."""
    samples: int | None = None
    """Texts that the model writes for each problem of HumanEval; None: one."""
    temperature: float | None = None
    """At which they are written; None: 0 for one, else what the task says."""
    allow_code_execution: bool = False
    """Whether code that the model writes may be run."""
    progress: bool = True
    name: str = "the model"
    """What messages call the model."""
    run: RunConfig | None = None
    """The configuration of the run that the model is of, if it is of one."""
    scores: Scores | None = None
    """Where scored requests are kept, so that an interrupted evaluation goes on."""
    labels: tuple[str, ...] = ()
    """Names of a classifier's classes."""
    sample: Callable[[dict[str, Any]], None] | None = None
    """Takes one row a question; the task's name is added to it."""
    kept: dict[str, Any] | None = None
    """Questions that were read, by task, where the same are asked again and again; None: they are read each time."""
    stop: Callable[[], bool] = lambda: False
    """Asked between batches; True raises Abandoned."""

    def once(self, read: Callable[[], T]) -> T:
        """The questions of the task, read now or before."""
        if self.kept is None:
            return read()
        if self.task not in self.kept:
            self.kept[self.task] = read()
        return self.kept[self.task]


class Abandoned(Exception):
    """A task was stopped in the middle, as `EvalContext.stop` said."""


TaskFunction = Callable[["Model", "Tokenizer", EvalContext], Numbers]


@dataclass(frozen=True)
class Kind:
    """`place` is module:function in this package, imported when it is measured."""

    place: str
    what: str
    takes: tuple[str, ...] = ()
    """What of EvalContext acts on it, beside `data` and `limit`."""


KINDS: dict[str, Kind] = {
    "perplexity": Kind(
        "text_tasks:measure_perplexity",
        "how surprised a causal model is by a text (--data FILE)",
        ("batch_size", "context", "stride"),
    ),
    "masked_lm": Kind(
        "text_tasks:measure_masked_lm", "how well an encoder guesses masked tokens of a text", ("batch_size", "context")
    ),
    "text_modeling": Kind(
        "text_modeling:measure_text_modeling", "how well it goes on with a text, byte by byte", ("batch_size",)
    ),
    "classification": Kind(
        "labelled:measure_classification",
        "how often a classifier is right, who is taken for whom (--data FILE)",
        ("batch_size", "sample"),
    ),
    "human-eval": Kind(
        "human_eval:measure_human_eval",
        "functions it writes, run (--allow-code-execution)",
        ("batch_size", "seed", "samples", "temperature", "allow_code_execution", "sample"),
    ),
    "domain-specific-eval": Kind(
        "domain:measure_domain", "your own prompts and answers (--data FILE.jsonl)", ("batch_size", "sample")
    ),
}
"""By the name of their task. Multiple-choice tasks and those of lm-evaluation-harness are found by other tables."""


CHOICES = ("n_shot", "seed", "batch_size", "batch_tokens", "add_bos", "sample")
"""What acts on multiple-choice tasks."""


TEXT_KINDS = ("perplexity", "masked_lm", "text_modeling")
"""Those that are measured on running text."""


def task_names(names: Sequence[str]) -> list[str]:
    """The tasks that names mean, each once: `truthful_qa` is two, `human_eval` another word for `human-eval`.

    Raises UserError for an unknown name, with the nearest.
    """
    from .benchmarks import benchmark_tasks, suite
    from .tasks.table import TASK_NAMES

    found: list[str] = []
    for name in names:
        kind = suite(name) or name
        if kind in KINDS or name.startswith(HARNESS):
            found.append(kind)
            continue
        try:
            found += benchmark_tasks([name])
        except UserError as error:
            near = nearest(name, [*KINDS, *TASK_NAMES], limit=30)
            if " Did" not in near:
                raise
            raise UserError(f"the task '{name}' is not available.{near} --list-tasks shows all") from error
    return list(dict.fromkeys(found))


def takes(name: str) -> tuple[str, ...]:
    """What of EvalContext acts on the task of that name, beside `data` and `limit`."""
    if name.startswith(HARNESS):
        return (*CHOICES, "allow_code_execution")
    return KINDS[name].takes if name in KINDS else CHOICES


def list_tasks() -> str:
    """What can be measured, a line each."""
    from .tasks.table import SUITES, TASKS

    lines = ["kinds of their own"]
    lines += [f"  {name:<24}{kind.what}" for name, kind in KINDS.items()]
    lines += ["", "multiple choice: metrics, data set, name in lm-evaluation-harness where the prompts are the same"]
    for name, task in TASKS.items():
        where = task.hub.dataset + (f" ({task.hub.config})" if task.hub.config else "")
        same = f"  = {task.harness}" if task.harness else ""
        lines.append(f"  {name:<24}{', '.join(task.metrics):<16}{where}{same}")
    lines += [f"  {name:<24}{' and '.join(parts)}" for name, parts in SUITES.items()]
    lines += ["  mmlu_SUBJECT, blimp_PARADIGM    one group alone", ""]
    lines += [
        f"{HARNESS}TASK: any task of lm-evaluation-harness, where it is installed (pip install groundup[harness])"
    ]
    return "\n".join(lines)


def task_function(name: str) -> TaskFunction:
    """What measures the task of that name. Raises UserError, naming the nearest, where nothing does."""
    from .tasks import find_task

    if name in KINDS:
        return load_function(KINDS[name].place)
    if name.startswith(HARNESS):
        return load_function("harness:measure_harness")
    find_task(name)
    return load_function("multiple_choice:measure_choices")


def check_task(model: Model, tokenizer: Tokenizer, context: EvalContext) -> None:
    """Read a task's questions and find what cannot be asked of the model, without asking. Raises UserError."""
    name = context.task
    if name.startswith(HARNESS):
        load_function("harness:check_harness")(model, tokenizer, context)
    elif name == "human-eval":
        load_function("human_eval:check_human_eval")(model, tokenizer, context)
    elif name == "domain-specific-eval":
        load_function("domain:check_domain")(model, tokenizer, context)
    elif name not in KINDS:
        load_function("multiple_choice:check_choices")(model, tokenizer, context)


def load_function(place: str) -> Any:
    """module:function of this package."""
    module, _, function = place.partition(":")
    return getattr(import_module(f".{module}", __package__), function)
