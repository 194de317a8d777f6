"""What the names of benchmarks in a configuration mean."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from groundup.configs.schema_evaluation import Evaluation
from groundup.errors import UserError
from groundup.evaluation.benchmarks import benchmark_tasks, files_of, tasks_of, wrong_benchmarks
from groundup.evaluation.registry import task_function
from groundup.evaluation.tasks import TASK_NAMES, TASKS


@pytest.mark.parametrize("name", ["human-eval", "human_eval", "humaneval", "HumanEval", "Human-Eval"])
def test_human_eval_by_any_of_its_names(name: str) -> None:
    assert benchmark_tasks([name]) == ["human-eval"]
    assert benchmark_tasks(["domain_specific_eval", "domain-specific-eval"]) == ["domain-specific-eval"]


def test_the_harness_stands_for_its_tasks() -> None:
    assert benchmark_tasks(["lm-evaluation-harness"], ["sciq", "lm-eval:wikitext"]) == [
        "lm-eval:sciq",
        "lm-eval:wikitext",
    ]
    assert benchmark_tasks(["lm_evaluation_harness", "hellaswag"], ["sciq"]) == ["lm-eval:sciq", "hellaswag"]
    assert benchmark_tasks(["lm-eval:sciq"]) == ["lm-eval:sciq"]
    with pytest.raises(UserError, match=r"none is named: list them in evaluation\.harness_tasks"):
        benchmark_tasks(["lm-evaluation-harness"])


def test_every_documented_name_is_a_task() -> None:
    evaluation = Evaluation(mcq_benchmarks=list(TASK_NAMES))
    tasks = tasks_of(evaluation)
    assert tasks == list(TASKS)
    for task in [*tasks, "human-eval", "domain-specific-eval", "text_modeling"]:
        assert callable(task_function(task))


@pytest.mark.parametrize(
    ("settings", "key", "said"),
    [
        ({"mcq_benchmarks": ["helaswag"]}, "mcq_benchmarks", "'hellaswag'"),
        ({"mcq_benchmarks": ["human-eval"]}, "mcq_benchmarks", "'human-eval'"),
        ({"benchmarks": ["humen-eval"]}, "benchmarks", "Did you mean 'human-eval'"),
        ({"benchmarks": ["pika"]}, "benchmarks", "'pika'"),
        ({"benchmarks": ["lm-evaluation-harness"]}, "benchmarks", "evaluation.harness_tasks"),
        ({"harness_tasks": ["sciq"]}, "harness_tasks", "name it in evaluation.benchmarks"),
        ({"benchmarks": ["human-eval"]}, "benchmarks", "set evaluation.allow_code_execution to true"),
        ({"benchmarks": ["domain-specific-eval"]}, "benchmarks", "{domain-specific-eval: FILE.jsonl}"),
        ({"mcq_benchmarks": ["piqa"], "benchmark_data": {"copa": "x"}}, "benchmark_data", "'copa', which is not run"),
        ({"mcq_benchmarks": ["piqa"], "benchmark_data": {"lm-eval": "x"}}, "benchmark_data", "leave it out"),
    ],
)
def test_what_cannot_be_honoured(settings: dict[str, Any], key: str, said: str) -> None:
    evaluation = Evaluation(**settings)
    wrong = wrong_benchmarks(evaluation)
    assert [name for name, _ in wrong] == [key]
    assert said in wrong[0][1]
    with pytest.raises(UserError, match=rf"^evaluation\.{key}: "):
        tasks_of(evaluation)


def test_files_by_any_name() -> None:
    data = {"truthful_qa": "tqa.jsonl", "domain_specific_eval": "mine.jsonl"}
    evaluation = Evaluation(mcq_benchmarks=["truthful_qa"], benchmarks=["domain-specific-eval"], benchmark_data=data)
    assert wrong_benchmarks(evaluation) == []
    assert files_of(evaluation) == {
        "truthful_qa_mc1": "tqa.jsonl",
        "truthful_qa_mc2": "tqa.jsonl",
        "domain-specific-eval": "mine.jsonl",
    }
    assert tasks_of(evaluation) == ["truthful_qa_mc1", "truthful_qa_mc2", "domain-specific-eval"]
    assert tasks_of(Evaluation()) == []


def test_names_are_checked_without_torch() -> None:
    program = (
        "import sys; from groundup.evaluation.benchmarks import benchmark_tasks as b\n"
        "b(['hellaswag', 'human-eval', 'lm-evaluation-harness'], ['sciq'])\n"
        "assert not {'torch', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_configuration_names_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from groundup.configs.schema import load_config

    text = (
        "model: {core_model_type: generic, num_layers: 1, hidden_dim: 16, context_window: 8, tokenizer_type: byte,\n"
        "  positional_encoding_type: rope, ffn: {ffn_type: silu_ffn, ffn_dim: 24},\n"
        "  attn: {attn_type: causal, num_kv_heads: 2}}\n"
        "trainer: {batch_size: 2, gradient_accumulation_steps: 1, max_iters: 3, warmup_iters: 1,\n"
        "  loss_fn: cross_entropy, eval: {mcq_benchmarks: [helaswag]}}\n"
    )
    path = tmp_path / "run.yaml"
    path.write_text(text)
    said = r"trainer\.eval\.mcq_benchmarks \(.*run\.yaml, line 5\).*hellaswag"
    load: Callable[..., Any] = load_config
    with pytest.raises(UserError, match=said):
        load(path, [], find_device=lambda: "cpu")
    run = load(path, ["evaluation.mcq_benchmarks=[hellaswag]"], find_device=lambda: "cpu")
    assert run.evaluation.mcq_benchmarks == ["hellaswag"]
    assert run.evaluation.benchmark_data == {}
    data = ["evaluation.mcq_benchmarks=[hellaswag]", "evaluation.benchmark_data={hellaswag: rows.jsonl}"]
    assert load(path, data, find_device=lambda: "cpu").evaluation.benchmark_data == {"hellaswag": "rows.jsonl"}
