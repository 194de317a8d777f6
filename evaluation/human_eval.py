"""HumanEval: functions that a model writes, run against their tests. https://arxiv.org/abs/2107.03374"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.hub import HubDataset
from ..data.tables import read_rows
from ..errors import UserError, notice
from ..models.model import Model
from ..tokenizers.base import Tokenizer
from .sandbox import Limits, Verdict, isolation, run_programs
from .writing import check_writes, write

if TYPE_CHECKING:
    from .registry import EvalContext, Numbers

VERSION = 1
HUB = "openai/openai_humaneval"
FILES = ("HumanEval.jsonl.gz", "HumanEval.jsonl")
STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")  # what begins after the function: the paper's, section 3
KS = (1, 10, 100)
TOKENS = 512  # of one completion
SEVERAL = 0.8  # the temperature of several samples: the paper's for the largest k


@dataclass(frozen=True)
class Problem:
    """`prompt` is a function's head, `test` defines check(candidate)."""

    id: str
    prompt: str
    test: str
    entry_point: str

    def program(self, completion: str) -> str:
        """What runs through if the completion is right."""
        return f"{self.prompt}{completion}\n{self.test}\ncheck({self.entry_point})\n"


def load_problems(data: str | Path | None = None, num_samples: int | None = None) -> list[Problem]:
    """The problems of a file (jsonl as published, gzipped or not), of the folder it lies in, or of the hub.

    Raises:
        UserError: there is no such file, a row (named) lacks a column, or the hub is out of reach.
    """
    if data is None:
        rows = HubDataset(HUB, split="test")._rows()
    else:
        path = Path(data).expanduser()
        if path.is_dir():
            path = next((path / name for name in FILES if (path / name).is_file()), path / FILES[0])
        if not path.is_file():
            raise UserError(f"human-eval: there is no file {path}: name HumanEval.jsonl.gz, or the folder it is in")
        rows = read_rows(path)
    problems: list[Problem] = []
    for where, row in rows:
        texts = [_text(row, name, where) for name in ("task_id", "prompt", "test", "entry_point")]
        problems.append(Problem(*texts))
        if len(problems) == num_samples:
            break
    if not problems:
        raise UserError(f"human-eval: {data or HUB} holds no problem")
    return problems


def _text(row: dict[str, Any], name: str, where: str) -> str:
    if not isinstance(row.get(name), str):
        raise UserError(
            f"{where}: a problem of HumanEval has the columns task_id, prompt, test and entry_point, all of them text, "
            f"and here '{name}' is {'missing' if name not in row else repr(row[name])}"
        )
    return row[name]


def pass_at_k(n: int, right: int, k: int) -> float:
    """The chance that one of k samples is right, drawn from n of which `right` are: 1 - C(n - right, k) / C(n, k).

    Unbiased, unlike 1 - (1 - right / n)^k. Raises UserError for k outside 1..n.
    """
    if not 1 <= k <= n:
        raise UserError(f"pass@{k} of {n} samples: k goes from 1 to the number of samples")
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def human_eval(
    model: Model,
    tokenizer: Tokenizer,
    problems: Sequence[Problem],
    *,
    allow_code_execution: bool,
    samples: int = 1,
    temperature: float | None = None,
    ks: Sequence[int] | None = None,
    max_new_tokens: int = TOKENS,
    limits: Limits | None = None,
    seed: int = 0,
    batch_size: int = 8,
    progress: bool = True,
) -> tuple[dict[str, float | int | str], list[list[tuple[str, Verdict]]]]:
    """Let the model complete each problem `samples` times and run what it wrote.

    Args:
        temperature: default: 0 (the likeliest tokens) for one sample, 0.8 for several; nucleus 0.95 above 0.
        ks: for which pass@k is given; default: those of 1, 10, 100 that are not above `samples`.

    Returns:
        pass@k and its standard error over the problems, problems, samples, isolation; and for each problem its
        completions with their verdicts.

    Raises:
        UserError: code execution is not allowed, the model writes no text, or several samples at temperature 0.
    """
    refuse_code(allow_code_execution)
    check_writes(model)
    temperature = (0.0 if samples == 1 else SEVERAL) if temperature is None else temperature
    if samples < 1 or (samples > 1 and temperature == 0):
        raise UserError(f"{samples} samples at temperature {temperature:g}: take one, or a temperature above 0")
    ks = [k for k in KS if k <= samples] if ks is None else ks
    for k in ks:
        pass_at_k(samples, 0, k)
    held = isolation()
    if held == "python":
        notice(
            "this system has no seccomp filter for us: only Python's own audit hooks keep the programs from network "
            "and files; run this where nothing is lost"
        )
    written = write(
        model,
        tokenizer,
        [problem.prompt for problem in problems for _ in range(samples)],
        max_new_tokens=max_new_tokens,
        stop=STOP,
        temperature=temperature,
        top_p=0.95 if temperature else None,
        seed=seed,
        batch_size=batch_size,
        title="human-eval: writing" if progress else None,
    )
    completions = [text.text for text in written]
    programs = [
        problem.program(completion)
        for i, problem in enumerate(problems)
        for completion in completions[i * samples : (i + 1) * samples]
    ]
    verdicts = run_programs(programs, limits, "human-eval: running" if progress else None)
    pairs = list(zip(completions, verdicts, strict=True))
    rows = [pairs[i * samples : (i + 1) * samples] for i in range(len(problems))]
    numbers: dict[str, float | int | str] = scores([sum(v.passed for _, v in row) for row in rows], samples, ks)
    numbers |= {"problems": len(problems), "samples": samples, "temperature": temperature, "isolation": held}
    if cut := sum(text.cut > 0 for text in written) // samples:
        numbers["prompts_cut"] = cut
        notice(f"human-eval: {cut} of {len(problems)} prompts are longer than the model reads and lost their beginning")
    return numbers, rows


def scores(right: Sequence[int], samples: int, ks: Sequence[int]) -> dict[str, float | int | str]:
    """pass@k over problems of which so many of `samples` completions were right, with standard errors."""
    numbers: dict[str, float | int | str] = {}
    for k in ks:
        each = [pass_at_k(samples, n, k) for n in right]
        mean = sum(each) / len(each)
        numbers[f"pass@{k}"] = mean
        if len(each) > 1:
            spread = sum((value - mean) ** 2 for value in each) / (len(each) - 1)
            numbers[f"pass@{k}_stderr"] = math.sqrt(spread / len(each))
    return numbers


def refuse_code(allowed: bool) -> None:
    """Raises UserError unless code may be run."""
    if not allowed:
        raise UserError(
            "human-eval runs code that the model writes, which is off unless asked for: give --allow-code-execution "
            "(while training: evaluation.allow_code_execution: true), or leave the task out"
        )


def measure_human_eval(model: Model, tokenizer: Tokenizer, context: EvalContext) -> Numbers:
    """The task `human-eval`."""
    refuse_code(context.allow_code_execution)
    problems = context.once(lambda: load_problems(context.data, context.limit))
    numbers, rows = human_eval(
        model,
        tokenizer,
        problems,
        allow_code_execution=context.allow_code_execution,
        samples=context.samples or 1,
        temperature=context.temperature,
        seed=context.seed or 0,
        batch_size=context.batch_size or 8,
        progress=context.progress,
    )
    if context.sample is not None:
        for problem, row in zip(problems, rows, strict=True):
            for text, verdict in row:
                said = {"completion": text, "passed": verdict.passed, "reason": verdict.reason}
                context.sample({"id": problem.id, "prompt": problem.prompt, **said})
    return {"version": VERSION, **numbers}


def check_human_eval(model: Model, tokenizer: Tokenizer, context: EvalContext) -> None:
    """Read the problems and try the walls. Raises UserError where the task could not be done."""
    refuse_code(context.allow_code_execution)
    check_writes(model)
    context.once(lambda: load_problems(context.data, context.limit))
    isolation()
