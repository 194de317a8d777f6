"""Rates that move with the steps: a constant one, its floor, warmup against decay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from groundup.configs.schema import RunConfig, load_config
from groundup.errors import UserError

Load = Callable[..., RunConfig]
Refused = Callable[..., str]


def tune(*words: str) -> RunConfig:
    return load_config(None, list(words), find_device=lambda: "cpu")


@pytest.mark.parametrize("words", [[], ["dataset=imdb"], ["init=random"], ["fine_tuning.method=lora"]])
def test_a_constant_rate_has_no_default_warmup(tmp_path: Path, words: list[str]):
    run = tune("model=gpt2", "trainer.lr_scheduler=constant", *words)
    assert (run.trainer.warmup_ratio, run.trainer.warmup_iters) == (None, 0)
    path = tmp_path / "config.yaml"
    path.write_text(run.to_yaml())
    assert load_config(path) == run
    with pytest.raises(UserError, match=r"constant has no warmup: use constant_with_warmup, or leave the warmup out"):
        tune("model=gpt2", "trainer.lr_scheduler=constant", "trainer.warmup_ratio=0.1", *words)


@pytest.mark.parametrize("scheduler", ["linear", "cosine", "constant", "constant_with_warmup"])
@pytest.mark.parametrize("words", [[], ["init=random"]])
def test_a_default_floor_is_never_above_the_rate(words: list[str], scheduler: str):
    words = ["model=gpt2", *words, f"trainer.lr_scheduler={scheduler}"]
    optimizer = tune(*words, "trainer.optimizer.lr=1e-8").trainer.optimizer
    assert (optimizer.lr, optimizer.min_lr) == (1e-8, 1e-8)
    assert tune(*words, "trainer.optimizer.lr=1e-3").trainer.optimizer.min_lr == (
        6e-6 if "init=random" in words else 1e-7
    )


def test_a_written_floor_above_the_rate(load: Load, refused: Refused):
    message = refused({"trainer.optimizer.min_lr": 1e-3})
    assert "0.001 is above the learning rate itself, 0.0006, which falls to it: lower it, or raise" in message
    changes: dict[str, Any] = {"trainer.optimizer.min_lr": 1e-3, "trainer.lr_scheduler": "constant_with_warmup"}
    assert load(changes).trainer.optimizer.min_lr == 1e-3  # it never falls
    assert load({"trainer.optimizer.min_lr": 1e-3, "trainer.decay_lr": False}).trainer.decay_lr is False


def test_the_warmup_ends_before_the_decay(load: Load, refused: Refused):
    ratio = {"trainer.warmup_ratio": 0.5, "trainer.warmup_iters": None, "trainer.max_iters": 100}
    message = refused(ratio | {"trainer.lr_decay_iters": 20})
    assert "the decay would end at step 20, before the warmup does at 50: raise it, or shorten the warmup" in message
    assert load(ratio | {"trainer.lr_decay_iters": 51}).trainer.lr_decay_iters == 51
    epochs = {"trainer.epochs": 3, "trainer.max_iters": None, "trainer.lr_decay_iters": 20}
    assert load(ratio | epochs).trainer.lr_decay_iters == 20  # the data decides how many steps that is


def test_a_warmup_as_long_as_the_run_is_told(load: Load, capsys: pytest.CaptureFixture[str]):
    load({"trainer.warmup_iters": 10})
    assert "note: trainer.warmup_iters 10 is no less than max_iters 10" in capsys.readouterr().err
    load({"trainer.warmup_ratio": 1.0, "trainer.warmup_iters": None})
    assert "note: trainer.warmup_ratio 1 is no less than max_iters 10" in capsys.readouterr().err
