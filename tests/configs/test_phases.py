"""The head first or alone, and rates by layer: what a configuration may say of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from groundup.configs.plan import plan
from groundup.configs.schema import RunConfig, load_config
from groundup.errors import UserError


def load(*words: str) -> RunConfig:
    return load_config(None, list(words), find_device=lambda: "cpu")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trainer.head_first_epochs=3"], "leave none for everything"),
        (["trainer.head_first_epochs=1", "fine_tuning.method=lora"], "with method lora the trunk is frozen throughout"),
        (["trainer.head_first_epochs=1", "fine_tuning.method=head"], "with method head the trunk is frozen"),
        (["trainer.optimizer.layer_factors={}"], "no pattern in it"),
        (["trainer.optimizer.layer_factors=halves"], "expected thirds"),
        (["trainer.optimizer.layer_factors={embedder: 0}"], "must be above 0"),
        (["trainer.optimizer.layer_decay=1.5"], "must be at most 1"),
        (["trainer.optimizer.layer_factors=thirds", "trainer.optimizer.layer_decay=0.9"], "leave one of them out"),
    ],
)
def test_what_cannot_be_honoured(words: list[str], said: str):
    with pytest.raises(UserError, match=said):
        load("model=gpt2", *words)


def test_a_new_model_has_no_trunk_that_could_wait(refused: Callable[..., str]):
    assert "only a checkpoint's trunk" in refused({"trainer.head_first_epochs": 1})


def test_what_is_said_comes_back(tmp_path: Path):
    factors = "trainer.optimizer.layer_factors={embedder: 0.1, 'core.layers.[0-3]': 0.5}"
    run = load("model=gpt2", "trainer.head_first_epochs=1", factors)
    assert run.trainer.optimizer.layer_factors == {"embedder": 0.1, "core.layers.[0-3]": 0.5}
    path = tmp_path / "run.yaml"
    path.write_text(run.to_yaml())
    assert load_config(path, find_device=lambda: "cpu") == run
    assert load("model=gpt2", "trainer.optimizer.layer_factors=Thirds").trainer.optimizer.layer_factors == "thirds"


def test_the_head_alone_has_the_rates_of_full_fine_tuning():
    assert load("model=gpt2", "fine_tuning.method=head").trainer.optimizer.lr == 5e-5
    run = load("model=BERT-tiny", "dataset=imdb", "fine_tuning.method=head")
    assert (run.trainer.optimizer.lr, run.trainer.optimizer.min_lr, run.trainer.lr_scheduler) == (2e-5, 1e-7, "linear")


def test_a_plan_counts_the_head_alone():
    full = plan(load("model=BERT-tiny", "dataset=imdb"), rate=1e9)
    head = plan(load("model=BERT-tiny", "dataset=imdb", "fine_tuning.method=head"), rate=1e9)
    C = 128
    assert head.memory["gradients"] == 4 * (C * C + C + 2 * C + 2)  # the pooler and two classes
    assert head.memory["gradients"] < full.memory["gradients"] / 100
