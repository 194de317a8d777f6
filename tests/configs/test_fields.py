"""What a value may be: the field's type decides, not YAML."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from groundup.configs.schema import RunConfig

Load = Callable[..., RunConfig]
Refused = Callable[..., str]


@pytest.mark.parametrize(
    ("path", "given", "read"),
    [
        ("trainer.optimizer.lr", "3e-4", 3e-4),  # PyYAML reads an exponent without a dot as text
        ("trainer.optimizer.lr", 1, 1.0),
        ("trainer.optimizer.grad_clip", 0, 0.0),
        ("trainer.max_iters", "1e5", 100_000),
        ("trainer.max_iters", 20.0, 20),
        ("trainer.max_iters", "123456789012345678901", 123456789012345678901),
        ("trainer.mixed_precision", False, "no"),  # `no`
        ("trainer.mixed_precision", "BF16", "bf16"),
        ("trainer.mixed_precision", "float16", "fp16"),
        ("evaluation.strategy", False, "no"),
        ("trainer.optimizer.name", "AdamW", "adamw"),
        ("trainer.optimizer.name", "adamw_torch", "adamw"),
        ("trainer.compile", "yes", True),
        ("trainer.lr_scheduler", "Constant-With-Warmup", "constant_with_warmup"),
        ("model.tokenizer_type", "GPT-2", "gpt2"),
        ("model.tokenizer_type", "./my/Tokenizer.json", "./my/Tokenizer.json"),
        ("model.attn.normalization", "LayerNorm", "layer_norm"),
        ("model.positional_encoding_type", "None", "none"),
        ("trainer.loss_chunk_tokens", None, None),
        ("output.run_name", "no", "no"),
        ("general.device", "CUDA:1", "cuda:1"),
    ],
)
def test_a_value_is_read_as_its_field_says(load: Load, path: str, given: Any, read: Any):
    value: Any = load({path: given})
    for name in path.split("."):
        value = getattr(value, name)
    assert value == read
    assert type(value) is type(read)


@pytest.mark.parametrize(
    ("path", "given", "words"),
    [
        ("trainer.batch_size", "abc", ["expected a whole number", "'abc'"]),
        ("trainer.batch_size", 1.5, ["expected a whole number", "1.5"]),
        ("trainer.batch_size", True, ["expected a whole number", "true"]),
        ("trainer.batch_size", None, ["expected a whole number", "null"]),
        ("trainer.batch_size", [4], ["expected a whole number", "[4]"]),
        ("trainer.batch_size", 0, ["must be above 0", "got 0"]),
        ("trainer.warmup_iters", -1, ["must be at least 0", "-1"]),
        ("trainer.optimizer.lr", "fast", ["expected a number", "'fast'"]),
        ("trainer.optimizer.lr", True, ["expected a number", "true"]),
        ("trainer.optimizer.lr", math.nan, ["finite"]),
        ("trainer.optimizer.lr", "inf", ["finite"]),
        ("model.embedding_dropout", 1.0, ["must be below 1"]),
        ("trainer.mask_ratio", 1.5, ["must be at most 1"]),
        ("trainer.compile", 1, ["expected true or false", "got 1"]),
        ("trainer.compile", "maybe", ["expected true or false"]),
        ("trainer.mixed_precision", "bf17", ["no, fp16, bf16", "did you mean 'bf16'"]),
        ("trainer.mixed_precision", True, ["no, fp16, bf16", "got true"]),
        ("output.run_name", 2024, ["expected text", "2024", "quotes"]),
        ("output.run_name", "", ["empty"]),
        ("dataset.name", None, ["expected text, got null"]),
        ("evaluation.mcq_benchmarks", "hellaswag", ["expected a list", "'hellaswag'"]),
        ("evaluation.mcq_benchmarks", [1], ["expected text", "1"]),
        ("model.attn", ["causal"], ["expected one of causal, bidirectional"]),
        ("general.seed", -1, ["must be at least 0"]),
        ("general.seed", 2**63, ["must be below"]),
        ("general.device", "gpu", ["'gpu' is no device", "Did you mean 'cuda'"]),
        ("general.device", 3, ["'3' is no device"]),
        ("general.device", {"cuda": "cuda", "cpu": "cpu"}, ["is no device"]),
        ("trainer", 3, ["trainer", "expected a mapping of keys", "got 3"]),
        ("general.logging", "yes", ["general.logging", "expected a mapping of keys"]),
        ("trainer.batch_size", {}, ["expected a whole number"]),
        ("trainer.batch_size", {"gpu": 3}, ["takes one value, or values by device", "'gpu'"]),
    ],
)
def test_a_wrong_value_names_path_line_value_and_expectation(refused: Refused, path: str, given: Any, words: list[str]):
    message = refused({path: given})
    assert all(word in message for word in [*words, path]), message
    assert "\n" not in message
    assert "run.yaml, line" in message


def test_several_wrong_values_are_told_at_once(refused: Refused):
    message = refused({"trainer.batch_size": "x", "model.num_layers": "y"})
    assert message.startswith("2 problems")
    assert "model.num_layers (" in message
    assert "trainer.batch_size (" in message


# --- values by device and by task


@pytest.mark.parametrize(("device", "expected"), [("cuda", 32), ("mps", 16), ("cpu", 4), ("cuda:1", 32)])
def test_a_value_by_device(load: Load, device: str, expected: int):
    assert load({"trainer.batch_size": {"cuda": 32, "MPS": 16, "cpu": 4}}, device=device).trainer.batch_size == expected


@pytest.mark.parametrize("word", ["language-modeling", "language_modeling", "Language Modeling"])
def test_a_value_by_task(load: Load, word: str):
    run = load({"trainer.learning_rate": {"classification": 2e-5, word: "5e-5"}})
    assert run.trainer.optimizer.lr == 5e-5


def test_a_value_by_task_and_device(load: Load):
    by_task = {"classification": 1, "language-modeling": {"cpu": 3, "cuda": 4}}
    assert load({"trainer.batch_size": by_task}).trainer.batch_size == 3


def test_words_by_device(load: Load):
    run = load({"trainer.mixed_precision": {"cuda": "bf16", "cpu": False}})
    assert run.trainer.mixed_precision == "no"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"cuda": 32}, ["cuda", "none for this run's device, cpu"]),
        ({"classification": 3}, ["none for this run's task, language-modeling"]),
        ({"cuda": "x", "cpu": 2}, ["for cuda", "expected a whole number", "'x'"]),  # the branch not taken is checked
        ({"cuda": -1, "cpu": 2}, ["for cuda", "must be above 0"]),
        ({"language-modeling": {"cuda": "x", "cpu": 2}, "classification": 1}, ["cuda", "expected a whole number"]),
        ({"cuda": 1, "classification": 2}, ["cuda", "classification"]),
    ],
)
def test_wrong_values_by_device_or_task(refused: Refused, given: dict[str, Any], words: list[str]):
    message = refused({"trainer.batch_size": given})
    assert all(word in message for word in ["trainer.batch_size", *words]), message
