"""HumanEval: its estimator, its problems, and code that is run only where it may be."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from groundup.errors import UserError
from groundup.evaluation import human_eval as module
from groundup.evaluation.human_eval import Problem, human_eval, load_problems, measure_human_eval, pass_at_k, scores
from groundup.evaluation.registry import EvalContext
from groundup.evaluation.sandbox import Limits, run_programs
from groundup.evaluation.writing import Written
from groundup.models import load_pretrained
from groundup.tokenizers.load import load_tokenizer


@pytest.mark.parametrize(("n", "right", "k"), [(5, 2, 1), (5, 2, 3), (6, 0, 2), (6, 6, 6), (7, 1, 7), (4, 3, 2)])
def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_one(n: int, right: int, k: int) -> None:
    draws = list(itertools.combinations(range(n), k))
    assert pass_at_k(n, right, k) == pytest.approx(sum(min(draw) < right for draw in draws) / len(draws), abs=1e-12)


def test_pass_at_k_as_the_paper_writes_it() -> None:
    import numpy as np

    for n, right, k in ((200, 13, 100), (200, 1, 10), (100, 99, 1), (200, 150, 100)):
        theirs = 1.0 if n - right < k else 1.0 - np.prod(1.0 - k / np.arange(n - right + 1, n + 1))
        assert pass_at_k(n, right, k) == pytest.approx(theirs, abs=1e-12)
    with pytest.raises(UserError, match="pass@7 of 6 samples"):
        pass_at_k(6, 1, 7)


def test_the_published_example(shared: Path) -> None:
    folder = shared / "eval/humaneval"
    problem = load_problems(folder / "example_problem.jsonl")[0]
    samples = [json.loads(line)["completion"] for line in (folder / "example_samples.jsonl").read_text().splitlines()]
    verdicts = run_programs([problem.program(sample) for sample in samples], Limits(3.0))
    assert [verdict.passed for verdict in verdicts] == [False, False, False, True, True, True]
    assert scores([3], 6, [1])["pass@1"] == pytest.approx(0.5)  # as its publisher gives it: 0.4999999999999999


@pytest.mark.slow
def test_every_canonical_solution_passes_and_no_other_does(shared: Path) -> None:
    path = shared / "eval/humaneval/HumanEval.jsonl.gz"
    problems = load_problems(path)
    with gzip.open(path, "rt") as file:
        solutions = [json.loads(line)["canonical_solution"] for line in file]
    assert len(problems) == len(solutions) == 164
    limits = Limits(20.0)
    right = run_programs([p.program(s) for p, s in zip(problems, solutions, strict=True)], limits)
    assert [(p.id, v.reason) for p, v in zip(problems, right, strict=True) if not v.passed] == []
    wrong = run_programs([p.program("    return None\n") for p in problems], limits)
    assert [p.id for p, v in zip(problems, wrong, strict=True) if v.passed] == []


PROBLEMS = [
    {
        "task_id": f"t/{i}",
        "prompt": f"def add{i}(a):\n",
        "entry_point": f"add{i}",
        "canonical_solution": "",
        "test": test,
    }
    for i, test in enumerate(["def check(f):\n    assert f(2) == 3\n", "def check(f):\n    assert f(2) == 4\n"])
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "HumanEval.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PROBLEMS))
    return path


@pytest.fixture
def model(checkpoint: Callable[[str], Path]):
    return load_pretrained(checkpoint("gpt2"), dtype="fp32"), load_tokenizer(checkpoint("gpt2"))


def test_files_and_folders(file: Path, tmp_path: Path) -> None:
    assert [p.id for p in load_problems(file)] == [p.id for p in load_problems(tmp_path)] == ["t/0", "t/1"]
    assert len(load_problems(file, 1)) == 1
    assert load_problems(file)[0].program("    return a + 1\n").endswith("assert f(2) == 3\n\ncheck(add0)\n")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "x", "test": "y", "entry_point": "z"}, ":3: .*and here 'task_id' is missing"),
        ({"task_id": "a", "prompt": 3, "test": "y", "entry_point": "z"}, ":3: .*and here 'prompt' is 3"),
    ],
)
def test_rows_that_are_no_problems(file: Path, row: dict, said: str) -> None:
    with file.open("a") as out:
        out.write(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=said):
        load_problems(file)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file .*HumanEval.jsonl.gz: name"):
        load_problems(tmp_path)


def test_code_is_refused_unless_asked_for(model, file: Path) -> None:
    ran: list[int] = []
    for ask in (
        lambda: measure_human_eval(*model, EvalContext("human-eval", data=file)),
        lambda: human_eval(*model, load_problems(file), allow_code_execution=False),
    ):
        with pytest.raises(UserError, match="off unless asked for: give --allow-code-execution"):
            ask()
    assert not ran


def test_completions_are_run_and_counted(model, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two samples a problem: of the first one is right, of the second both."""
    texts = ["    return a + 1\n", "    return a\n", "    return a + 2\n", "    return a * 2\n"]
    asked: dict = {}

    def written(model, tokenizer, prompts, **settings):
        asked.update(settings, prompts=prompts)
        return [Written(text, 0) for text in texts]

    monkeypatch.setattr(module, "write", written)
    rows: list[dict] = []
    context = EvalContext("human-eval", data=file, samples=2, allow_code_execution=True, sample=rows.append)
    numbers = measure_human_eval(*model, context)
    assert asked["prompts"] == [PROBLEMS[0]["prompt"]] * 2 + [PROBLEMS[1]["prompt"]] * 2
    assert (asked["temperature"], asked["top_p"], asked["stop"]) == (0.8, 0.95, module.STOP)
    assert (numbers["pass@1"], numbers["problems"], numbers["samples"]) == (0.75, 2, 2)
    assert numbers["pass@1_stderr"] == pytest.approx(0.25)
    assert [row["passed"] for row in rows] == [True, False, True, True]
    assert rows[1]["reason"].startswith("AssertionError")


def test_a_model_that_writes_nonsense(model, file: Path) -> None:
    numbers, rows = human_eval(
        *model, load_problems(file), allow_code_execution=True, max_new_tokens=6, progress=False, limits=Limits(10)
    )
    assert numbers["pass@1"] == 0
    assert numbers["temperature"] == 0
    assert all(not verdict.passed for row in rows for _, verdict in row)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"samples": 2, "temperature": 0.0}, "2 samples at temperature 0"),
        ({"samples": 3, "ks": [4]}, "pass@4 of 3 samples"),
        ({"samples": 0}, "0 samples"),
    ],
)
def test_settings_that_do_not_fit(model, settings: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        human_eval(*model, [Problem("a", "b", "c", "d")], allow_code_execution=True, **settings)
