"""Metrics and their standard errors by hand, and what evaluate.py makes of multiple-choice tasks."""

from __future__ import annotations

import json
import math
import random
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from groundup.errors import UserError
from groundup.evaluation import evaluate
from groundup.evaluation.command import main
from groundup.evaluation.multiple_choice import TaskResult, macro_error, multiple_choice, pooled_error
from groundup.evaluation.scores import LogLikelihood
from groundup.evaluation.tasks import Question, Task, find_task
from groundup.evaluation.tasks.task import Hub
from groundup.models import load_pretrained
from groundup.tokenizers.load import load_tokenizer

METRICS = ("acc", "acc_norm", "acc_bytes", "mc2")
TASK = Task("made", Hub("nowhere", "test"), "arc", lambda row: None, METRICS)  # pyright: ignore[reportArgumentType]
CHOICES = ("2", "1 and 2 make 3", "ééé", "that and then")


def questions() -> list[Question]:
    """Two groups of unequal size."""
    return [
        Question(
            id=str(i),
            requests=tuple((f"{i} and {i} make", f" {choice}") for choice in CHOICES),
            choices=CHOICES,
            gold=(i % 4,) if i % 5 else (0, 2),
            group="few" if i < 3 else "many",
        )
        for i in range(14)
    ]


@pytest.fixture
def result(checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> TaskResult:
    """Of log-likelihoods that are drawn: the metrics then differ."""
    draw = random.Random(5)

    def drawn(model: Any, tokenizer: Any, requests: list[tuple[str, str]], **settings: Any) -> list[LogLikelihood]:
        return [LogLikelihood(-draw.uniform(0.2, 1) * len(text.encode()), 1, False) for _, text in requests]

    monkeypatch.setattr("groundup.evaluation.multiple_choice.loglikelihoods", drawn)
    model, tokenizer = load_pretrained(checkpoint("gpt2"), dtype="fp32"), load_tokenizer(checkpoint("gpt2"))
    return multiple_choice(model, tokenizer, TASK, questions())


def test_metrics_by_hand(result: TaskResult) -> None:
    draw, asked = random.Random(5), questions()
    values: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for question in asked:
        sums = np.array([-draw.uniform(0.2, 1) * len(text.encode()) for _, text in question.requests])
        for metric, lengths in (
            ("acc", [1, 1, 1, 1]),
            ("acc_norm", [1, 14, 3, 13]),
            ("acc_bytes", [1, 14, 6, 13]),
        ):
            values[metric].append(float((sums / np.array(lengths)).argmax() in question.gold))
        values["mc2"].append(np.exp(sums)[list(question.gold)].sum() / np.exp(sums).sum())
    assert len({tuple(values[metric]) for metric in METRICS}) == 4  # each differs from the others
    for metric in METRICS:
        assert result.numbers[metric] == pytest.approx(statistics.mean(values[metric]), abs=1e-6)
        assert [row[metric] for row in result.rows] == pytest.approx(values[metric], abs=1e-6)
        few, many = statistics.mean(values[metric][:3]), statistics.mean(values[metric][3:])
        assert result.numbers[f"{metric}_macro"] == pytest.approx((few + many) / 2, abs=1e-6)
        assert result.groups["few"][metric] == pytest.approx(few, abs=1e-6)
    assert result.groups["many"]["n"] == 11
    assert (result.n, result.scored) == (14, "log-likelihood")


def test_standard_errors() -> None:
    one, two = [1.0, 0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0]
    assert pooled_error([one]) == pytest.approx(statistics.stdev(one) / math.sqrt(5))
    pooled = math.sqrt((4 * statistics.variance(one) + 2 * statistics.variance(two)) / 6 / 8)
    assert pooled_error([one, two]) == pytest.approx(pooled)
    macro = math.sqrt(statistics.variance(one) / 5 + statistics.variance(two) / 3) / 2
    assert macro_error([one, two]) == pytest.approx(macro)
    assert pooled_error([[1.0]]) is None
    assert macro_error([one, [1.0]]) is None


def test_the_errors_of_groups_are_the_harness_s(lm_eval: Any) -> None:
    from lm_eval.api.metrics import mean_stderr, pooled_sample_stderr, unweighted_mean_stderr

    groups = [[1.0, 0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    errors = [mean_stderr(group) for group in groups]
    assert pooled_error(groups) == pytest.approx(pooled_sample_stderr(errors, [5, 3, 4]))
    assert macro_error(groups) == pytest.approx(unweighted_mean_stderr(errors))


def test_no_question(checkpoint: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match="made: there is no question to ask"):
        multiple_choice(load_pretrained(checkpoint("gpt2")), load_tokenizer(checkpoint("gpt2")), TASK, [])


# --- evaluate.py


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [{"goal": f"{i} and 2", "sol1": "make 3", "sol2": f"make {i}", "label": i % 2} for i in range(9)]
    (folder / "piqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [
        {"premise": f"{i} and 2.", "choice1": "It makes 3.", "choice2": "x", "question": "effect", "label": i % 2}
        for i in range(5)
    ]
    (folder / "copa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_results(checkpoint: Callable[[str], Path], data: Path, tmp_path: Path) -> None:
    output, samples = tmp_path / "out" / "numbers.json", tmp_path / "rows.jsonl"
    results = evaluate(
        checkpoint("gpt2"), ["copa", "piqa"], data=data, output=output, samples=samples, limit=7, progress=False
    )
    assert json.loads(output.read_text()) == results
    assert [path.name for path in output.parent.iterdir()] == ["numbers.json"]  # what was kept is gone
    numbers = results["tasks"]["piqa"]
    assert (numbers["n"], numbers["version"], numbers["bos"]) == (7, find_task("piqa").version, False)
    assert numbers["source"]["n_shot"] == 0
    assert results["versions"]["torch"]
    assert results["settings"]["limit"] == 7
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [line["task"] for line in lines] == ["copa"] * 5 + ["piqa"] * 7
    assert numbers["acc"] == statistics.mean(line["acc"] for line in lines[5:])
    assert lines[5]["requests"][1] == {"context": "Question: 0 and 2\nAnswer:", "continuation": " make 0"}
    assert lines[5]["where"].endswith("piqa.jsonl:1")


def test_an_encoder_s_are_pseudo_log_likelihoods(checkpoint: Callable[[str], Path], data: Path, capsys: Any) -> None:
    numbers = evaluate(checkpoint("bert"), ["copa"], data=data / "copa.jsonl", progress=False)["tasks"]["copa"]
    assert numbers["scored"] == "pseudo-log-likelihood"
    assert "bos" not in numbers
    words = ["--model", str(checkpoint("bert")), "--tasks", "copa", "--data", str(data), "--device", "cpu"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "  copa (5 questions, 0-shot, pseudo-log-likelihood)\n    acc             0." in printed
    assert " ± 0." in printed


def test_an_evaluation_that_was_stopped_goes_on(
    checkpoint: Callable[[str], Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from groundup.evaluation import continuations

    words = ["--model", str(checkpoint("gpt2")), "--tasks", "piqa,copa", "--data", str(data), "--device", "cpu"]
    words += ["--batch-tokens", "1", "--output", str(tmp_path / "numbers.json")]
    read, left = continuations.Continuations.read, [2]

    def stopping(self: Any, *given: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        read(self, *given)

    monkeypatch.setattr(continuations.Continuations, "read", stopping)
    assert main(words) == 130
    kept = tmp_path / "numbers.json.scores.jsonl"
    said = capsys.readouterr().err
    assert f"what was scored is kept in {kept}: the same command goes on from there" in said
    n = len(kept.read_text().splitlines())
    left[0] = 1000
    assert main(words) == 0
    said = re.findall(r"note: (\d+) requests were scored before", capsys.readouterr().err)
    assert sum(map(int, said)) == n > 0
    resumed = json.loads((tmp_path / "numbers.json").read_text())["tasks"]
    assert not kept.exists()
    whole = evaluate(checkpoint("gpt2"), ["piqa", "copa"], data=data, progress=False)["tasks"]
    for task in ("piqa", "copa"):
        assert resumed[task]["acc"] == whole[task]["acc"]


@pytest.mark.parametrize(
    ("model", "tasks", "place", "said"),
    [
        ("gpt2", ["helaswag"], "", r"the task 'helaswag' is not available\. Did you mean 'hellaswag'\?"),
        ("bare_bert", ["copa"], "", "bare_bert has no masked-LM head"),
        ("gpt2", ["copa", "piqa"], "piqa.jsonl", r"piqa\.jsonl is one file for 2 tasks: name a folder"),
        ("gpt2", ["copa", "boolq"], "", "holds nothing for the task boolq: name a file or folder in it 'boolq'"),
        ("gpt2", ["copa"], "piqa.jsonl", r"piqa\.jsonl"),
        ("gpt2", ["copa", "lm-eval:copa"], "", "takes its rows from where the harness says"),
    ],
)
def test_what_is_refused(
    checkpoint: Callable[[str], Path], data: Path, model: str, tasks: list[str], place: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        evaluate(checkpoint(model), tasks, data=data / place, progress=False)


def test_the_list_of_tasks(capsys: Any) -> None:
    for words in (["--list-tasks"], ["--tasks", "list"]):
        assert main(words) == 0
        printed = capsys.readouterr().out
        for name in ("perplexity", "human-eval", "hellaswag", "stlm_eval_arc_easy", "truthful_qa", "lm-eval:TASK"):
            assert f"{name}" in printed
    assert main([]) == 1
    assert "--model is missing" in capsys.readouterr().err
    assert main(["--model", "x", "--limit", "0"]) == 1
    assert "--limit 0: must be at least 1" in capsys.readouterr().err
