"""Every other spelling of a setting, sections that meet, and one setting given twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from groundup.configs.rename import PRECEDENCE, RENAME, canonical_path, spellings
from groundup.configs.schema import RunConfig, parse_config
from groundup.configs.schema_run import FIELDS, SECTIONS
from groundup.errors import UserError

Write = Callable[[str], Any]
Load = Callable[..., RunConfig]
Refused = Callable[..., str]


def parse(write: Write, text: str) -> RunConfig:
    return parse_config(write(text), find_device=lambda: "cpu")


def at(run: RunConfig, path: tuple[str, ...]) -> Any:
    value: Any = run
    for name in path:
        value = getattr(value, name)
    return value


@pytest.mark.parametrize("old", RENAME)
def test_every_rule_ends_at_a_key_or_section_that_exists(old: str):
    path = canonical_path(tuple(old.removesuffix(".*").split(".")))
    assert path in FIELDS or path in SECTIONS
    assert canonical_path(path) == path  # and stays there
    assert canonical_path((*path, "cuda")) == (*path, "cuda")


SAMPLES: dict[str, Any] = {
    "dataset.name": "corpus.txt",
    "general.device": "cpu",
    "model.base_model": "gpt2",
    "model.init": "random",
    "output.run_name": "mine",
    "output.output_dir": "elsewhere",
    "trainer.memory_optimization": {},
    "trainer.optimizer.lr": 0.125,
    "trainer.optimizer.name": "paged_adamw_8bit",
    "trainer.optimizer.correct_bias": False,
    "trainer.lr_scheduler": "linear",
    "trainer.loss_fn": "next_token_mlm",
    "trainer.epochs": 7.0,
    "evaluation.strategy": "epoch",
    "model.tokenizer_type": "byte",
    "model.tokenizer_dataset_name": "corpus.txt",
    "model.core_model_type": "hf_core",
    "model.embedding_model_type": "generic",
    "model.lm_head_type": "generic",
    "model.model_shell_type": "standard",
    "model.positional_encoding_type": "sincos",
    "model.lm_head_normalization": "none",
    "model.initialization_fn.name": "xavier",
    "model.initialization_fn.mode": "fan_out",
    "model.initialization_fn.nonlinearity": "relu",
    "model.ffn.ffn_type": "silu_ffn",
    "model.attn.attn_type": "bidirectional",
}


@pytest.mark.parametrize("old", [old for old in RENAME if not old.endswith(".*")])
def test_every_renamed_key_arrives(write: Write, old: str):
    path = canonical_path(tuple(old.split(".")))
    value = SAMPLES.get(".".join(path))
    if value is None:  # numbers and flags: anything but the default
        kind = FIELDS[path].annotation
        value = (not FIELDS[path].default) if kind in (bool, bool | None) else 0.25 if kind is float else 3
    text = f"{old.rpartition('.')[2]}: {value if not isinstance(value, bool) else str(value).lower()}"
    for name in reversed(old.split(".")[:-1]):
        text = f"{name}: {{{text}}}"
    if path == ("model", "init"):
        text = f"model: gpt2\n{text}"
    if path == ("model", "freeze_core"):
        text = "model: {core_model_type: {name: hf_core, freeze_core: true}}"
        value = True
    assert at(parse(write, text), path) == value


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("training: {batch_size: 3}", "trainer.batch_size", 3),
        ("training: {optimizer: {lr: 1e-3}}", "trainer.optimizer.lr", 1e-3),
        ("training: {eval: {num_samples: 5}}", "evaluation.num_samples", 5),
        ("trainer: {eval: {eval_steps: 5}}", "evaluation.interval", 5),
        ("training: {micro_batch_size: {cuda: 8, cpu: 2}}", "trainer.batch_size", 2),
        ("model: {core_model_type: {name: generic, ffn: {ffn_dim: 8}, attn: causal}}", "model.ffn.ffn_dim", 8),
        (
            "model: {core_model_type: {name: generic, ffn: {ffn_dim: 8}, attn: causal}}",
            "model.attn.attn_type",
            "causal",
        ),
        ("model: {initialization_fn: {name: xavier, gain: 0.5}}", "model.initialization_fn.gain", 0.5),
        ("model: {tokenizer_type: {name: bpe, vocab_size: 300}}", "model.vocab_size", 300),
        ("model: roberta-base", "model.base_model", "roberta-base"),
        ("dataset: imdb", "dataset.name", "imdb"),
    ],
)
def test_sections_and_selectors_with_settings(write: Write, text: str, path: str, value: Any):
    assert at(parse(write, text), tuple(path.split("."))) == value


def test_sections_that_meet_are_merged(load: Load):
    run = load({"training.log_interval": 3, "trainer.eval.num_samples": 5, "evaluation.max_batches": 7})
    assert (run.trainer.batch_size, run.trainer.log_interval) == (2, 3)
    assert (run.evaluation.num_samples, run.evaluation.max_batches) == (5, 7)


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"training.batch_size": 3}, ["trainer.batch_size (", "training.batch_size ("]),
        ({"trainer.micro_batch_size": 3}, ["trainer.batch_size (", "trainer.micro_batch_size ("]),
        ({"trainer.optimizer.lr": 1e-3, "trainer.learning_rate": 2e-3}, ["optimizer.lr (", "trainer.learning_rate ("]),
        ({"trainer.dataset": "a", "dataset": "b"}, ["trainer.dataset (", "dataset ("]),
        ({"distributed.gradient_accumulation_steps": 9}, ["trainer.gradient_acc", "distributed.gradient_acc"]),
        ({"output.output_dir": "a", "general.paths.output_dir": "b"}, ["output.output_dir (", "general.paths.output"]),
        (
            {"model.tokenizer_type": {"name": "bpe", "vocab_size": 9}, "model.vocab_size": 8},
            ["tokenizer_type.vocab_size"],
        ),
        ({"evaluation.interval": 5, "evaluation.eval_steps": 6}, ["evaluation.interval (", "evaluation.eval_steps ("]),
        ({"training.batch_size": {"cpu": 3}}, ["trainer.batch_size (", "training.batch_size.cpu ("]),
    ],
)
def test_one_setting_with_two_values_names_both_places(refused: Refused, changes: dict[str, Any], places: list[str]):
    message = refused(changes)
    assert "two values" in message
    assert message.count("run.yaml, line") == 2
    assert all(place in message for place in places), message


@pytest.mark.parametrize(
    ("changes", "path", "value"),
    [
        ({"training.batch_size": 2}, "trainer.batch_size", 2),
        (
            {"trainer.optimizer": {"name": "adamw"}, "trainer.optimizer_name": "AdamW"},
            "trainer.optimizer.name",
            "adamw",
        ),
        ({"trainer.optimizer.lr": 3e-4, "trainer.learning_rate": "3e-4"}, "trainer.optimizer.lr", 3e-4),
    ],
)
def test_the_same_value_twice_is_no_conflict(load: Load, changes: dict[str, Any], path: str, value: Any):
    assert at(load(changes), tuple(path.split("."))) == value


@pytest.mark.parametrize(
    ("changes", "winner"),
    [
        ({"evaluation.eval_steps": 200, "output.eval_steps": 100}, 200),
        ({"output.eval_steps": 100, "evaluation.eval_steps": 200}, 200),
        ({"output.eval_steps": 100, "trainer.eval_interval": 300}, 100),
        ({"trainer.eval_interval": 300, "output.eval_steps": 100}, 100),
        ({"trainer.eval_interval": 300, "evaluation.interval": 400, "output.eval_steps": 100}, 400),
        ({"training.eval_interval": 300, "trainer.eval": {"eval_steps": 500}}, 500),  # trainer.eval is evaluation
    ],
)
def test_eval_steps_has_a_documented_order_and_says_so(
    load: Load, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], winner: int
):
    assert load(changes).evaluation.interval == winner
    told = capsys.readouterr().err
    assert told.count("note:") == len(changes) - 1
    assert "is used and" in told


def test_eval_steps_in_a_profile_has_the_same_order(write: Write, capsys: pytest.CaptureFixture[str]):
    run = parse(write, "profiles: {cpu: {output: {eval_steps: 1}, evaluation: {eval_steps: 2}}}")
    assert run.evaluation.interval == 2
    assert "profiles.cpu.output.eval_steps" in capsys.readouterr().err


def test_equal_eval_steps_are_no_news(load: Load, capsys: pytest.CaptureFixture[str]):
    assert load({"evaluation.eval_steps": 7, "output.eval_steps": 7}).evaluation.interval == 7
    assert capsys.readouterr().err == ""


def test_precedence_is_only_for_the_documented_setting():
    assert list(PRECEDENCE) == [("evaluation", "interval")]


def test_spellings_lead_back():
    for path in FIELDS:
        for spelling in spellings(path):
            assert canonical_path(tuple(spelling.split("."))) == path
    assert {"training.micro_batch_size", "trainer.micro_batch_size"} <= set(spellings(("trainer", "batch_size")))


@pytest.mark.parametrize(
    "section", ["trainer", "training", "dataset", "output", "general", "fine_tuning", "trainer.eval"]
)
@pytest.mark.parametrize("nothing", ["", " {}"])
def test_a_section_with_nothing_in_it_is_nothing(write: Write, section: str, nothing: str):
    first, _, second = section.partition(".")
    text = f"{first}:{nothing}\n" if not second else f"{first}:\n  {second}:{nothing}\n"
    assert parse(write, text + "evaluation: {max_batches: 3}\n") == parse(write, "evaluation: {max_batches: 3}\n")


def test_an_unknown_section_with_nothing_in_it_is_unknown(write: Write):
    with pytest.raises(UserError, match=r"Unknown key optimizers"):
        parse(write, "optimizers:\n")
