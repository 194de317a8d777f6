"""Tasks while training: they appear everywhere, and change nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from groundup.configs.schema import load_config
from groundup.configs.schema_evaluation import Evaluation
from groundup.errors import UserError
from groundup.evaluation import during
from groundup.evaluation.during import prepare_tasks, run_tasks, undisturbed
from groundup.evaluation.numbers import flat, in_words, main_number
from groundup.models.config import ModelConfig
from groundup.models.model import build_model
from groundup.tokenizers.byte import ByteTokenizer
from groundup.trainers.folder import RunFolder, find_run
from groundup.trainers.run import train
from safetensors.torch import load_file

TEXTS = [f"{i} and {i + 1} make {2 * i + 1}." for i in range(20)]


def small():
    sizes = {"vocab_size": 259, "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 24, "max_seq_len": 64}
    config = ModelConfig(**sizes, positions="rope", residual_dropout=0.2)  # pyright: ignore[reportArgumentType]
    return build_model(config, seed=3)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    rows = [{"prompt": f"{i} and 2 make", "choices": [str(i + 2), "x"], "answer": 0, "tag": "sums"} for i in range(5)]
    rows.append({"prompt": "1 and", "answer": ".*", "match": "regex", "max_tokens": 3})  # pyright: ignore
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_everything_is_as_it_was() -> None:
    model = small().train()
    model.core.layers[0].eval()
    torch.manual_seed(1), random.seed(1), np.random.seed(1)  # noqa: NPY002
    expected = [torch.rand(3), random.random(), np.random.rand()]  # noqa: NPY002
    torch.manual_seed(1), random.seed(1), np.random.seed(1)  # noqa: NPY002
    with undisturbed(model):
        assert not any(module.training for module in model.modules())
        torch.rand(5), random.random(), np.random.rand(3)  # noqa: NPY002
    assert torch.equal(torch.rand(3), expected[0])  # pyright: ignore[reportArgumentType]
    assert [random.random(), np.random.rand()] == expected[1:]  # noqa: NPY002
    assert (model.training, model.core.layers[0].training, model.head.training) == (True, False, True)


def test_tasks_by_name(questions: Path) -> None:
    evaluation = Evaluation(
        benchmarks=["domain-specific-eval"], benchmark_data={"domain-specific-eval": str(questions)}, num_samples=4
    )
    model = small()
    got = run_tasks(model, ByteTokenizer(), evaluation, texts=lambda: TEXTS)
    assert got is not None
    assert got.keys() == {"text_modeling", "domain-specific-eval"}
    assert (got["text_modeling"]["passages"], got["domain-specific-eval"]["n"]) == (4, 4)
    assert all(parameter.grad is None for parameter in model.parameters())
    without = run_tasks(model, ByteTokenizer(), evaluation.model_copy(update={"text_modeling_eval": False}), texts=list)
    assert without is not None
    assert without.keys() == {"domain-specific-eval"}
    assert run_tasks(model, ByteTokenizer(), evaluation, texts=lambda: TEXTS, stop=lambda: True) is None


def test_questions_are_read_once_and_what_does_not_fit_is_refused_at_the_start(questions: Path) -> None:
    """Before a step is made; and at an evaluation no file is read."""
    evaluation = Evaluation(
        benchmarks=["domain-specific-eval"], benchmark_data={"domain-specific-eval": str(questions)}
    )
    measure = prepare_tasks(small(), ByteTokenizer(), evaluation)
    assert measure is not None
    first = measure(lambda: False)
    questions.unlink()
    assert measure(lambda: False) == first
    assert prepare_tasks(small(), ByteTokenizer(), Evaluation()) is None

    row = {"prompt": "x", "choices": ["y" * 65, "z"], "answer": 0}
    questions.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=r"questions.jsonl:1: the continuation 'y+\.\.\.' has 66 tokens, .* reads 64"):
        prepare_tasks(small(), ByteTokenizer(), evaluation)
    choices = Evaluation(mcq_benchmarks=["copa"], benchmark_data={"copa": str(questions)})
    with pytest.raises(UserError, match=r"questions.jsonl:1 has the columns"):
        prepare_tasks(small(), ByteTokenizer(), choices)
    code = Evaluation(
        benchmarks=["human-eval"], allow_code_execution=True, benchmark_data={"human-eval": str(questions)}
    )
    with pytest.raises(UserError, match=r"questions.jsonl:1: a problem of HumanEval"):
        prepare_tasks(small(), ByteTokenizer(), code)


def test_a_long_task_stops_between_batches(questions: Path) -> None:
    rows = [{"prompt": f"{i} and {i} make".rjust(50, "."), "choices": ["1", "x"], "answer": 0} for i in range(800)]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"domain-specific-eval": str(questions)}
    evaluation = Evaluation(benchmarks=["domain-specific-eval"], benchmark_data=data)
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(len(asked) >= 3)  # before all tasks, before this one, while it goes on
        return asked[-1]

    measure = prepare_tasks(small(), ByteTokenizer(), evaluation)
    assert measure is not None
    assert measure(stop) is None
    assert asked == [False, False, False, True]


def test_numbers_in_a_line() -> None:
    tasks = {
        "hellaswag": {
            "acc": 0.25,
            "acc_stderr": 0.1,
            "acc_norm": 0.5,
            "n": 4,
            "version": 1,
            "groups": {},
            "scored": "x",
        },
        "text_modeling": {"byte_accuracy": 0.125, "edit_distance": 0.9, "passages": 3, "seconds": 1.0},
        "sciq": {"f1": 0.75},
    }
    assert flat(tasks) == {
        "hellaswag/acc": 0.25,
        "hellaswag/acc_stderr": 0.1,
        "hellaswag/acc_norm": 0.5,
        "text_modeling/byte_accuracy": 0.125,
        "text_modeling/edit_distance": 0.9,
        "sciq/f1": 0.75,
    }
    assert in_words(tasks) == "hellaswag acc_norm 0.500, text_modeling byte_accuracy 0.125, sciq f1 0.750"
    assert main_number({"words": "none"}) is None


CONFIG: dict[str, Any] = {
    "model": {
        "core_model_type": "generic",
        "num_layers": 2,
        "hidden_dim": 24,
        "context_window": 32,
        "ffn": {"ffn_type": "generic", "ffn_dim": 40, "ffn_dropout": 0.1},
        "attn": {"attn_type": "causal", "num_kv_heads": 3, "attn_probs_dropout": 0.1},
        "positional_encoding_type": "learned",
        "tokenizer_type": "byte",
    },
    "trainer": {
        "batch_size": 3,
        "gradient_accumulation_steps": 1,
        "max_iters": 6,
        "warmup_iters": 1,
        "loss_fn": "cross_entropy",
        "checkpoint_interval": 100,
        "optimizer": {"lr": 1e-2},
    },
    "general": {"device": "cpu", "seed": 3},
}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, questions: Path) -> Callable[..., Path]:
    """runs(name, **evaluation): the folder of a finished run."""
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "corpus.txt"
    text.write_text("\n".join(f"{i} and {i + 1} make {2 * i + 1}." for i in range(300)))
    several = {"benchmarks": ["domain_specific_eval"], "benchmark_data": {"domain-specific-eval": str(questions)}}

    def run(name: str, context: int = 32, **evaluation: Any) -> Path:
        section = {"interval": 4, "dataset_loss_eval_iters": 3, "max_batches": 2, "num_samples": 8, **evaluation}
        section |= several if section.pop("several", False) else {}
        trainer = CONFIG["trainer"] | {"max_seq_length": 32}
        config = {"model": CONFIG["model"] | {"context_window": context}, "trainer": trainer, "evaluation": section}
        config |= {"general": CONFIG["general"], "dataset": {"name": str(text), "documents": "line"}}
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config | {"output": {"output_dir": str(tmp_path / name)}}))
        assert train(load_config(path, [])) == 0
        return find_run("latest", tmp_path / name)

    return run


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RunFolder(folder).metrics / f"{name}.jsonl").read_text().splitlines()]


def test_training_is_the_same_bit_for_bit_with_tasks_and_without(runs: Callable[..., Path]) -> None:
    plain, measured = runs("plain", text_modeling_eval=False), runs("measured", several=True)
    weights = [load_file(RunFolder(run).weights / "last" / "model.safetensors") for run in (plain, measured)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    losses = [[row["loss"] for row in rows_of(run, "train")] for run in (plain, measured)]
    assert losses[0] == losses[1]
    assert not rows_of(plain, "tasks")

    # Tasks run every `interval` steps and at the end; the loss at dataset_loss_eval_iters too.
    rows = rows_of(measured, "tasks")
    assert [row["step"] for row in rows] == [0, 4, 6]
    assert [row["step"] for row in rows_of(measured, "heldout")] == [0, 3, 4, 6]
    for row in rows:
        assert 0 <= row["text_modeling/byte_accuracy"] <= 1
        assert 0 <= row["domain-specific-eval/acc"] <= 1
    folder = RunFolder(measured)
    results = json.loads(folder.results.read_text())
    assert results["tasks"]["domain-specific-eval"]["groups"]["sums"]["n"] == 5
    assert results["tasks"] == json.loads((folder.test / "metrics" / "tasks.json").read_text())
    assert flat(results["tasks"]) == {key: value for key, value in rows[-1].items() if key != "step"}
    baseline = json.loads((folder.baseline / "metrics" / "tasks.json").read_text())
    assert flat(baseline) == {key: value for key, value in rows[0].items() if key != "step"}
    for name in ("tasks", "text_modeling"):
        assert (folder.analysis / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_disturbed_training_would_be_seen(runs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: a task that draws a number and is not cleaned up after moves the weights."""
    plain = runs("plain", text_modeling_eval=False)
    monkeypatch.setattr(during, "restore_random_states", lambda states: torch.rand(1))
    measured = runs("measured", several=True)
    weights = [load_file(RunFolder(run).weights / "last" / "model.safetensors") for run in (plain, measured)]
    assert not all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_multiple_choice_while_training(runs: Callable[..., Path], shared: Path) -> None:
    data = {"copa": str(shared / "eval" / "copa" / "val.jsonl"), "piqa": str(shared / "eval" / "piqa")}
    run = runs(
        "choices",
        context=700,
        mcq_benchmarks=["copa", "piqa"],
        benchmark_data=data,
        text_modeling_eval=False,
        num_samples=6,
    )
    row = rows_of(run, "tasks")[-1]
    assert {"copa/acc", "piqa/acc", "piqa/acc_norm"} <= row.keys()
    assert json.loads(RunFolder(run).results.read_text())["tasks"]["piqa"]["n"] == 6
