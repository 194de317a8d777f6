"""Test mode: what it shrinks, how it is asked for, and that it stays apart from real runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from groundup.configs.not_yet import value_at
from groundup.configs.schema import RunConfig, load_config
from groundup.configs.test_mode import TEST_MODE, VARIABLE
from groundup.errors import UserError

Load = Callable[..., RunConfig]
Refused = Callable[..., str]


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_it_shrinks_a_run(load: Load, monkeypatch: pytest.MonkeyPatch, how: str):
    if how == "environment":
        monkeypatch.setenv(VARIABLE, "1")
    changes = {
        "trainer.max_iters": 1000,
        "trainer.lr_decay_iters": 900,
        "output.push_to_hub": True,
        "output.hub_model_id": "me/model",
        "evaluation.mcq_benchmarks": ["hellaswag"],
    }
    run = load(changes, test_mode=how == "flag")
    for path, value in TEST_MODE.items():
        assert value_at(run, path) == value
    assert (run.evaluation.num_samples, run.output.push_to_hub) == (8, False)
    assert load({}, "trainer.max_iters=7", test_mode=True).trainer.max_iters == 7
    assert load({"trainer.epochs": 3, "trainer.max_iters": None}, test_mode=True).trainer.epochs is None


@pytest.mark.parametrize(
    ("value", "is_on"),
    [
        *[(word, False) for word in ("", "0", "false", "No", "OFF", " 0 ")],
        *[(word, True) for word in ("1", "true", "on", "yes")],
    ],
)
def test_the_variable_is_a_flag(load: Load, monkeypatch: pytest.MonkeyPatch, value: str, is_on: bool):
    monkeypatch.setenv(VARIABLE, value)
    assert (load({"trainer.max_iters": 1000}).trainer.max_iters == 4) is is_on


def test_it_is_announced_in_one_line(load: Load, capsys: pytest.CaptureFixture[str]):
    load({}, "trainer.max_iters=7", "output.output_dir=out", test_mode=True)
    said = capsys.readouterr().err
    assert said.startswith(
        "note: test mode: 7 steps on 200 documents or rows, 2 batches of held-out text and 8 questions"
    )
    assert said.endswith("nothing is uploaded, and all of it is written below out/test-mode\n")
    assert said.count("\n") == 1
    load({})
    assert capsys.readouterr().err == ""


def test_it_writes_where_no_other_run_is(load: Load, tmp_path: Path):
    run = load({"general.paths.checkpoint_dir": "/elsewhere", "general.paths.eval_dir": "there"}, test_mode=True)
    assert run.output.output_dir == "results/test-mode"
    assert run.general.paths.checkpoint_dir == "/elsewhere/test-mode"
    assert run.general.paths.eval_dir == "there/test-mode"
    path = tmp_path / "config.yaml"
    path.write_text(run.to_yaml())
    assert load_config(path) == run
    assert load_config(path, test_mode=True) == run
    bag = load_config(None, ["model=bag-of-words-tfidf", "dataset=imdb"], test_mode=True, find_device=lambda: "cpu")
    assert (bag.output.output_dir, bag.dataset.max_documents) == ("results/test-mode", 200)


@pytest.mark.parametrize("words", [["model=gpt2"], ["model=gpt2", "dataset=imdb", "fine_tuning.method=lora"]])
def test_a_constant_rate_stays_one(words: list[str]):
    run = load_config(None, [*words, "trainer.lr_scheduler=constant"], test_mode=True, find_device=lambda: "cpu")
    assert (run.trainer.lr_scheduler, run.trainer.warmup_iters, run.trainer.max_iters) == ("constant", 0, 4)


def test_a_constant_rate_from_scratch(load: Load):
    changes: dict[str, Any] = {
        "trainer.lr_scheduler": {"cpu": "constant", "cuda": "linear"},
        "trainer.warmup_iters": None,
    }
    assert load(changes, test_mode=True).trainer.warmup_iters == 0


def test_a_run_that_goes_on_keeps_its_steps(
    load: Load, refused: Refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(UserError, match="--test-mode shrinks a new run, and --resume goes on with one that has its"):
        load({}, test_mode=True, resume=tmp_path)
    monkeypatch.setenv(VARIABLE, "1")
    run = load({"trainer.max_iters": 1000}, resume=tmp_path)
    assert (run.trainer.max_iters, run.output.output_dir) == (1000, "results")
    assert capsys.readouterr().err == ""
