"""Batch sizes by model and task, the effective batch, and what memory_optimization sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from groundup.configs.batches import fitted
from groundup.configs.schema import RunConfig, load_config
from groundup.errors import UserError

Write = Callable[[str], Path]
TABLE = {
    "gpt2": {"classification": 8, "language_modeling": 4},
    "distilgpt2": {"classification": 16, "language_modeling": 8},
}
FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def tune(write: Write) -> Callable[..., RunConfig]:
    """tune({"trainer": {...}}, "model=...", ...): a fine-tuning run on the CPU."""

    def loader(content: dict[str, Any], *words: str) -> RunConfig:
        return load_config(write(yaml.safe_dump(content)), list(words), find_device=lambda: "cpu")

    return loader


Tune = Callable[..., RunConfig]


def refusal(tune: Tune, content: dict[str, Any], *words: str) -> str:
    with pytest.raises(UserError) as error:
        tune(content, *words)
    return str(error.value)


@pytest.mark.parametrize(
    ("model", "dataset", "batch"),
    [("gpt2", "imdb", 8), ("gpt2", "stdlib", 4), ("distilgpt2", "imdb", 16), ("openai-community/gpt2", "stdlib", 4)],
)
def test_the_gpt2_document_s_table(tune: Tune, write: Write, model: str, dataset: str, batch: int):
    run = tune({"training": {"batch_sizes": TABLE}}, f"model={model}", f"dataset={dataset}")
    assert run.trainer.batch_size == batch
    assert run.trainer.batch_size * run.trainer.gradient_accumulation_steps == 16
    assert load_config(write(run.to_yaml())).trainer == run.trainer


def test_one_batch_size_on_the_command_line_replaces_the_table(tune: Tune):
    run = tune({"trainer": {"batch_sizes": TABLE}}, "model=gpt2", "trainer.batch_size=2")
    assert (run.trainer.batch_size, run.trainer.batch_sizes) == (2, None)


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        ({"batch_sizes": TABLE}, ["model=roberta-base"], "no row for RoBERTa-base and language-modeling: add it"),
        ({"batch_sizes": {"gpt2": {"clasification": 8, "language_modeling": 4}}}, ["model=gpt2"], "'classification'?"),
        ({"batch_sizes": TABLE, "batch_size": 5}, ["model=gpt2"], "trainer.batch_size is 5: keep one"),
        ({"min_batch_size": 9, "batch_size": 8}, ["model=gpt2"], "9 is above the batch size itself, 8"),
        ({"min_batch_size": 2, "batch_size_auto_adjust": False}, ["model=gpt2"], "no batch is cut"),
    ],
)
def test_what_the_table_cannot_say(tune: Tune, content: dict[str, Any], words: list[str], said: str):
    assert said in refusal(tune, {"trainer": content}, *words)


def test_from_scratch_there_is_no_table(refused: Callable[..., str]):
    assert "without one give trainer.batch_size alone" in refused({"trainer.batch_sizes": TABLE})
    assert "goes by the family of a checkpoint" in refused({"memory_optimization": {"llama": {"min_batch_size": 1}}})


@pytest.mark.parametrize(
    ("batch", "effective", "expected"), [(32, 16, 16), (32, None, 32), (5, 16, 4), (7, 21, 7), (8, 3, 3), (6, 7, 1)]
)
def test_a_recommended_batch_fits_the_effective_one(batch: int, effective: int | None, expected: int):
    assert fitted(batch, effective) == expected


def test_an_effective_batch_below_the_recommended_one_is_honoured(tune: Tune):
    trainer = tune({"model": "BERT-tiny"}, "trainer.effective_batch_size=6").trainer
    assert (trainer.batch_size, trainer.gradient_accumulation_steps, trainer.effective_batch_size) == (6, 1, 6)


# --- memory_optimization


LLAMA = {"gradient_checkpointing": True, "use_cache": False, "max_memory_usage": 0.5, "min_batch_size": 2}


@pytest.mark.parametrize(
    "content",
    [
        {"memory_optimization": {"llama": LLAMA}},
        {"models": {"memory_optimization": {"llama": LLAMA}}},
        {"trainer": {"memory_optimization": {"Llama": LLAMA}}},
    ],
)
def test_a_family_s_settings_reach_its_models_alone(tune: Tune, write: Write, content: dict[str, Any]):
    words = ["model.init=random", "trainer.batch_size=4"]
    trainer = tune(content, "model=TinyLlama-1.1B", *words).trainer
    found = (trainer.gradient_checkpointing, trainer.max_memory_usage, trainer.min_batch_size)
    assert found == (True, 0.5, 2)
    assert trainer.batch_size_auto_adjust
    other = tune(content, "model=gpt2", *words).trainer
    assert (other.gradient_checkpointing, other.max_memory_usage, other.min_batch_size) == (False, None, 1)
    own = tune(content, "model=TinyLlama-1.1B", *words, "trainer.gradient_checkpointing=false").trainer
    assert (own.gradient_checkpointing, own.max_memory_usage) == (False, 0.5)
    again = tune(content, "model=TinyLlama-1.1B", *words)
    assert load_config(write(again.to_yaml())).trainer == again.trainer


def test_the_plan_s_own_section(tune: Tune):
    section = yaml.safe_load((FIXTURES / "plan_memory_optimization.yaml").read_text())["models"]["memory_optimization"]
    trainer = tune({"models": {"memory_optimization": section}}, "model=TinyLlama-1.1B").trainer
    assert (trainer.gradient_checkpointing, trainer.max_memory_usage, trainer.min_batch_size) == (True, 0.9, 1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lama": LLAMA}, "no family is called 'lama'. Did you mean 'llama'?"),
        ({"llama": {"use_cache": True}}, "training keeps no cache"),
        ({"llama": {"max_memory_usage": 1.5}}, "must be at most 1"),
        ({"llama": {"min_batch": 1}}, "unknown key 'min_batch'"),
    ],
)
def test_what_memory_optimization_cannot_say(tune: Tune, settings: dict[str, Any], said: str):
    assert said in refusal(tune, {"memory_optimization": settings}, "model=TinyLlama-1.1B", "trainer.batch_size=4")
