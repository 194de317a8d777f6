"""Defaults, precedence, profiles, what follows from the rest, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from groundup.configs.defaults import kind_of, task_of
from groundup.configs.layers import layer_of
from groundup.configs.not_yet import NEVER, NOT_YET, value_at
from groundup.configs.schema import RunConfig, load_config, parse_config
from groundup.configs.schema_run import FIELDS
from groundup.errors import UserError

Load = Callable[..., RunConfig]
Refused = Callable[..., str]
Write = Callable[[str], Path]


# --- defaults


def test_defaults_of_the_core_model_document(load: Load):
    run = load()
    assert run.trainer.optimizer.model_dump() == {
        "name": "adamw",
        "lr": 6e-4,
        "min_lr": 6e-6,
        "weight_decay": 0.01,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "grad_clip": 1.0,
        "correct_bias": True,
        "layer_factors": None,
        "layer_decay": None,
    }
    assert (run.trainer.decay_lr, run.trainer.log_interval, run.trainer.checkpoint_interval) == (True, 10, 10_000)
    assert (run.evaluation.interval, run.evaluation.num_samples) == (2000, 1000)
    assert run.evaluation.dataset_loss_eval_iters == 1000
    assert (run.model.embedding_weight_tying, run.model.embedding_dropout) == (True, 0.0)
    assert (run.model.ffn_weight_tying, run.model.c_proj_weight_tying, run.model.tokenizer_simplify) == (
        False,
        False,
        True,
    )
    assert (run.model.lm_head_bias, run.model.lm_head_dropout) == (False, 0.0)
    assert run.model.initialization_fn.model_dump() == {
        "name": "kaiming",
        "gain": 1.0,
        "mode": "fan_in",
        "nonlinearity": "gelu",
    }
    for part in (run.model.attn, run.model.ffn):
        assert (part.normalization, part.bias) == ("rms_norm", False)
    assert run.model.lm_head_normalization == "rms_norm"
    assert (run.model.ffn.activation, run.model.ffn.ffn_dropout, run.model.attn.attn_dropout) == ("gelu", 0.0, 0.0)
    assert run.general.logging.wandb_log is False
    assert run.general.logging.wandb_project == "SuperTinyLanguageModels"
    assert run.general.logging.wandb_run_name is None
    assert (run.output.output_dir, run.output.run_name) == ("results", "run")
    assert FIELDS["evaluation", "text_modeling_eval"].default is True
    assert run.evaluation.text_modeling_eval is True


def test_what_follows_from_the_rest(load: Load):
    run = load({"trainer.gradient_accumulation_steps": 3})
    assert run.trainer.effective_batch_size == 6
    assert run.trainer.max_seq_length == 16
    assert run.evaluation.batch_size == 2
    gated = load({"model.ffn.ffn_type": "silu_ffn"})
    assert gated.model.ffn.activation == "silu"


FINE_TUNING = [
    ("model: gpt2\ndataset: imdb", "full", "classification", 2e-5, 0.0),
    ("model: gpt2\ndataset: ag_news", "full", "classification", 2e-5, 0.1),
    ("model: gpt2\ndataset: stanfordnlp/imdb", "full", "classification", 2e-5, 0.0),
    ("model: gpt2\ndataset: wikitext", "full", "language-modeling", 5e-5, 0.0),
]


@pytest.mark.parametrize(("text", "kind", "task", "lr", "smoothing"), FINE_TUNING)
def test_defaults_of_fine_tuning(write: Write, text: str, kind: str, task: str, lr: float, smoothing: float):
    run = parse_config(write(text), find_device=lambda: "cpu")
    trainer = run.trainer
    assert (trainer.optimizer.lr, trainer.label_smoothing) == (lr, smoothing)
    assert (trainer.epochs, trainer.warmup_ratio, trainer.lr_scheduler, trainer.max_iters) == (3, 0.1, "linear", None)
    assert (trainer.optimizer.min_lr, trainer.optimizer.weight_decay, trainer.optimizer.grad_clip) == (1e-7, 0.01, 1.0)


@pytest.mark.parametrize("method", ["lora", "qlora", "spectrum"])
def test_defaults_of_adapters_and_spectrum(write: Write, method: str):
    run = parse_config(write(f"model: gpt2\nfine_tuning: {{method: {method}}}"), find_device=lambda: "cpu")
    assert run.trainer.optimizer.lr == 2e-4
    assert run.fine_tuning is not None
    assert run.fine_tuning.lora.model_dump(exclude={"target_modules", "task_type", "modules_to_save"}) == {
        "r": 16,
        "alpha": 32.0,
        "dropout": 0.05,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
    }


def test_a_higher_layer_replaces_the_other_of_a_pair(write: Write):
    run = parse_config(write("model: gpt2\ntrainer: {max_iters: 5, warmup_iters: 1}"), find_device=lambda: "cpu")
    assert (run.trainer.max_iters, run.trainer.epochs) == (5, None)
    assert (run.trainer.warmup_iters, run.trainer.warmup_ratio) == (1, None)


def test_kind_and_task():
    lora = {"model.base_model": "x", "fine_tuning.method": "LoRA", "fine_tuning.lora.task_type": "SEQ_CLS"}
    layer = layer_of(lora, "test")
    assert (kind_of(layer), task_of(layer)) == ("lora", "classification")
    assert kind_of(layer_of({"model.num_layers": 2}, "test")) == "scratch"


# --- precedence


LAYERS = """
trainer: {log_interval: 1, batch_size: {cpu: 11, cuda: 12, mps: 13}}
profiles:
  cpu: {training: {log_interval: 2, micro_batch_size: 22}}
  cuda: {trainer: {log_interval: 3}}
"""


@pytest.mark.parametrize(
    ("device", "words", "log_interval", "batch_size"),
    [
        ("mps", [], 1, 13),
        ("cuda", [], 3, 12),
        ("cuda:1", [], 3, 12),
        ("cpu", [], 2, 22),
        ("cpu", ["trainer.log_interval=9"], 9, 22),
        ("cpu", ["trainer.batch_size=9"], 2, 9),
        ("cpu", ["--training.micro_batch_size.cpu", "9"], 2, 9),
        ("cpu", ["general.device=cuda"], 3, 12),  # the command line chooses the profile too
    ],
)
def test_command_line_beats_profile_beats_file(
    write: Write, device: str, words: list[str], log_interval: int, batch_size: int
):
    run = parse_config(write(LAYERS), words, find_device=lambda: device)
    assert (run.trainer.log_interval, run.trainer.batch_size) == (log_interval, batch_size)


def test_a_file_may_name_its_device(write: Write):
    def never() -> str:
        raise AssertionError("asked for a device that is named")

    run = parse_config(write("general: {device: mps}\n" + LAYERS), find_device=never)
    assert (run.general.device, run.trainer.batch_size) == ("mps", 13)


def test_auto_is_resolved(load: Load):
    assert load({"general.device": "auto"}, device="mps").general.device == "mps"


def test_a_profile_merges_section_by_section(load: Load):
    run = load({"profiles": {"cpu": {"model": {"ffn": {"bias": True}}}}})
    assert run.model.ffn.bias is True
    assert run.model.ffn.ffn_dim == 64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("profiles: {cpu: {general: {device: cuda}}}", ["profiles.cpu.general.device", "cannot choose the device"]),
        ("profiles: 3", ["profiles (", "mapping by device", "got 3"]),
        ("profiles: {cpu: 3}", ["profiles.cpu (", "mapping of settings", "got 3"]),
        ("profiles: {mps: {trainer: {batch_size: x}}}", ["profiles.mps.trainer.batch_size (", "whole number"]),
        ("profiles: {mps: {profiles: {cpu: {}}}}", ["profiles.mps.profiles"]),
    ],
)
def test_profiles_of_every_device_are_checked(write: Write, text: str, words: list[str]):
    with pytest.raises(UserError) as error:
        parse_config(write(text + "\ntrainer: {log_interval: 1}"), find_device=lambda: "cpu")
    assert all(word in str(error.value) for word in words), error.value


def test_pairs_across_layers(load: Load):
    run = load({}, "trainer.epochs=2", "trainer.warmup_ratio=0.1", "trainer.effective_batch_size=8")
    assert (run.trainer.epochs, run.trainer.max_iters) == (2.0, None)
    assert (run.trainer.warmup_ratio, run.trainer.warmup_iters) == (0.1, None)
    assert (run.trainer.effective_batch_size, run.trainer.gradient_accumulation_steps) == (8, 4)


@pytest.mark.parametrize(
    "pair", [("trainer.max_iters", "trainer.epochs"), ("trainer.warmup_iters", "trainer.warmup_ratio")]
)
def test_a_pair_in_one_layer_is_an_error(refused: Refused, pair: tuple[str, str]):
    message = refused({pair[0]: 3, pair[1]: 1})
    assert f"{pair[0]} (" in message
    assert f"{pair[1]} (" in message
    assert "one of the two" in message


def test_an_effective_batch_by_device(load: Load):
    changes = {"trainer.batch_size": {"cuda": 16, "cpu": 4}, "trainer.effective_batch_size": 32}
    changes["trainer.gradient_accumulation_steps"] = None
    assert load(changes).trainer.gradient_accumulation_steps == 8
    assert load(changes, device="cuda").trainer.gradient_accumulation_steps == 2


# --- what is missing


REQUIRED = [".".join(path) for path, field in FIELDS.items() if field.json_schema_extra["required"]]


def test_every_key_without_a_default_is_required(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text("model: {embedding_dropout: 0.1}")
    with pytest.raises(UserError) as error:
        load_config(path, find_device=lambda: "cpu")
    assert all(f"{name} is missing: " in str(error.value) for name in REQUIRED)
    assert {"model.num_layers", "model.attn.num_kv_heads", "trainer.max_iters", "trainer.loss_fn"} <= set(REQUIRED)


@pytest.mark.parametrize("name", REQUIRED)
def test_one_missing_key_is_one_sentence(tmp_path: Path, name: str):
    import yaml

    from_scratch = yaml.safe_load((Path(__file__).parent / "fixtures" / "core_model_every_key.yaml").read_text())
    section = from_scratch
    *sections, last = name.split(".")
    for part in sections:
        section = section[part]
    del section[last]
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(from_scratch))
    with pytest.raises(UserError, match=rf"^{name} is missing: [^\n]+\.$"):
        load_config(path)


def test_a_trained_tokenizer_needs_a_size(refused: Refused):
    assert "model.vocab_size is missing" in refused({"model.tokenizer_type": "bpe"})


def test_constant_needs_no_warmup(load: Load):
    run = load({"trainer.lr_scheduler": "constant", "trainer.warmup_iters": None})
    assert run.trainer.warmup_iters == 0


# --- what is not available yet


GIVEN: dict[str, Any] = {
    "dataset.format": "alpaca",
    "dataset.preprocessing": {"add_eos_token": True},
    "distributed.use_deepspeed": True,
    "distributed.zero_stage": 2,
    "distributed.num_processes": 2,
}


@pytest.mark.parametrize("row", NOT_YET, ids=lambda row: row.path)
def test_what_is_not_available_yet_is_refused_with_a_remedy(refused: Refused, write: Write, row: Any):
    value = GIVEN.get(row.path, "something")
    if row.path.startswith("model."):  # a checkpoint's keys
        with pytest.raises(UserError) as error:
            load_config(write(f"model: {{base_model: gpt2, {row.path[6:]}: true}}"), find_device=lambda: "cpu")
        message = str(error.value)
    else:
        message = refused({row.path: value})
    assert row.path in message.partition(" (")[0]
    assert "run.yaml, line" in message
    assert f"{row.what} is not available yet: {row.remedy}." in message


@pytest.mark.parametrize("row", NOT_YET, ids=lambda row: row.path)
def test_defaults_are_not_refused(load: Load, row: Any):
    assert not row.refused(value_at(load(), row.path))


def test_several_processes_are_refused_wherever_they_are_asked_for(refused: Refused, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert refused().startswith("WORLD_SIZE: training in several processes is not available yet")


def test_planning_may_ask_for_several_processes(load: Load, refused: Refused):
    changes = {"distributed.use_deepspeed": True, "distributed.zero_stage": 2, "distributed.num_processes": 8}
    assert load(changes, planning=True).distributed.num_processes == 8
    assert "is not available yet" in refused(changes)


def test_remote_code_is_refused_for_good(write: Write):
    assert [row.path for row in NEVER] == ["model.trust_remote_code"]
    with pytest.raises(UserError, match=r"model.trust_remote_code \(.*line 1\): code that comes with .* is never run"):
        load_config(write("model: {base_model: x, trust_remote_code: true}"), find_device=lambda: "cpu")


# --- what does not go together


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"model.base_model": "gpt2"},
            ["model.base_model (", "brings its own architecture", "model.core_model_type (", "more"],
        ),
        ({"model.load_in_4bit": True}, ["model.load_in_4bit (", "belongs to a checkpoint"]),
        ({"model.use_flash_attention": False}, ["model.use_flash_attention (", "belongs to a checkpoint"]),
        ({"model.tokenizer": "gpt2"}, ["model.tokenizer (", "belongs to a checkpoint"]),
        ({"model.freeze_core": True}, ["Unknown key model.freeze_core (", "hf_core"]),
        ({"model.hidden_dim": 30}, ["model.hidden_dim (", "30 is not a multiple of the 4 query heads"]),
        ({"model.attn.num_q_heads": 6}, ["num_q_heads (", "6 is not a multiple of num_kv_heads 4"]),
        ({"model.attn.num_kv_heads": 32}, ["rope rotates pairs", "1 wide"]),
        (
            {"model.hidden_dim": 33, "model.attn.num_kv_heads": 3, "model.positional_encoding_type": "sincos"},
            ["model.hidden_dim (", "must be even"],
        ),
        (
            {"model.ffn": {"ffn_type": "silu_ffn", "ffn_dim": 8, "activation": "gelu"}},
            ["ffn.activation (", "silu_ffn has SiLU"],
        ),
        ({"model.norm_bias": False}, ["model.norm_bias (", "only layer_norm has a bias"]),
        ({"model.rope_theta": 5, "model.positional_encoding_type": "none"}, ["rope_theta (", "no effect"]),
        ({"model.gain": 2.0}, ["model.gain (", "no effect with initialization_fn.name kaiming"]),
        ({"model.initialization_fn": {"name": "gpt2", "mode": "fan_out"}}, ["mode (", "no effect"]),
        ({"model.initialization_fn": {"name": "none", "nonlinearity": "relu"}}, ["nonlinearity (", "no effect"]),
        ({"model.tokenizer_simplify": False}, ["tokenizer_simplify (", "no effect with tokenizer_type byte"]),
        ({"model.tokenizer_min_frequency": 3}, ["tokenizer_min_frequency (", "no effect"]),
        ({"model.tokenizer_dataset_name": "a"}, ["tokenizer_dataset_name (", "no effect"]),
        (
            {"model.tokenizer_type": "gtp2"},
            ["tokenizer_type (", "no tokenizer is called 'gtp2'", "Did you mean 'gpt2'?"],
        ),
        ({"trainer.effective_batch_size": 7}, ["effective_batch_size (", "7 is not batch_size 2 x"]),
        ({"trainer.max_seq_length": 17}, ["max_seq_length (", "17 is more than context_window 16"]),
        ({"trainer.optimizer.min_lr": 1}, ["min_lr (", "above the learning rate itself, 0.0006"]),
        ({"trainer.lr_scheduler": "constant"}, ["lr_scheduler (", "constant has no warmup"]),
        ({"trainer.lr_decay_iters": 2}, ["lr_decay_iters (", "end at step 2"]),
        ({"model.attn.attn_type": "bidirectional"}, ["attn_type (", "sees the token it should predict"]),
        ({"trainer.mask_ratio": 0.3}, ["mask_ratio (", "only masked_lm and next_token_mlm mask"]),
        ({"trainer.mask_ratio": 0, "trainer.loss_fn": "next_token_mlm"}, ["mask_ratio (", "must be above 0"]),
        ({"trainer.dropout_schedule": {"start_iter": 5, "end_iter": 5}}, ["end_iter (", "5 is not after start_iter 5"]),
        ({"dataset.val_fraction": 0}, ["val_fraction (", "nothing out to evaluate on"]),
    ],
)
def test_what_does_not_go_together(refused: Refused, changes: dict[str, Any], words: list[str]):
    message = refused(changes)
    assert all(word in message for word in words), message
    assert "run.yaml, line" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "changes",
    [
        {"model.attn.attn_type": "bidirectional", "trainer.loss_fn": "next_token_mlm"},  # no target is ever an input
        {"dataset.val_fraction": 0, "evaluation.do_eval": False},
        {"dataset.val_fraction": 0, "evaluation.strategy": False},
        {"model.norm_bias": False, "model.attn.normalization": "layer_norm"},
        {"model.tokenizer_type": "org/name"},
        {"trainer.optimizer.correct_bias": False},
        {"trainer.mixed_precision": "fp16"},
        {"trainer.epochs": 1, "trainer.max_iters": None},
    ],
)
def test_what_does_go_together(load: Load, changes: dict[str, Any]):
    load(changes)


@pytest.mark.parametrize("extra", ["wandb", "tensorboard"])
def test_a_tracker_that_is_not_installed(refused: Refused, monkeypatch: pytest.MonkeyPatch, extra: str):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert f"{extra} is not installed: pip install {extra}" in refused({f"general.logging.{extra}_log": True})


# --- there and back


ROUND_TRIPS: list[dict[str, Any]] = [
    {},
    {"model.ffn.ffn_type": "silu_ffn", "trainer.epochs": 2, "trainer.max_iters": None},
    {"trainer.effective_batch_size": 8, "trainer.gradient_accumulation_steps": None, "trainer.mixed_precision": False},
    {"trainer.dropout_schedule": {"name": "triangle", "end": 0.1, "cycles": 2}, "output.save_total_limit": None},
    {"trainer.lr_scheduler": "constant", "trainer.warmup_iters": None, "evaluation.strategy": "no"},
    {"trainer.batch_size": {"cuda": 5, "cpu": 3}, "profiles": {"cpu": {"trainer": {"log_interval": 77}}}},
    {"output.run_name": "null", "evaluation.sample_prompt": "a: 'b'\n\t# é 中", "general.paths.data_dir": "~/x"},
    {
        "trainer.loss_fn": "next_token_mlm",
        "trainer.mask_ratio": 0.3,
        "trainer.warmup_ratio": 0.2,
        "trainer.warmup_iters": None,
    },
]


@pytest.mark.parametrize("changes", ROUND_TRIPS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_resolved_run_is_a_valid_configuration_of_itself(
    load: Load, tmp_path: Path, changes: dict[str, Any], device: str, capsys: pytest.CaptureFixture[str]
):
    run = load(changes, device=device)
    path = tmp_path / "config.yaml"
    path.write_text(run.to_yaml(), encoding="utf-8")
    again = load_config(path, find_device=lambda: "none: the run names its device")
    assert again == run
    assert again.to_yaml() == run.to_yaml()
    assert capsys.readouterr().err == ""


def test_a_resolved_run_can_be_changed(load: Load, tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text(load({"trainer.gradient_accumulation_steps": 3}).to_yaml())
    run = load_config(path, ["trainer.batch_size=5", "trainer.epochs=2", "general.device=cuda"])
    assert run.trainer.effective_batch_size == 15
    assert (run.trainer.epochs, run.trainer.max_iters, run.general.device) == (2.0, None, "cuda")


def test_no_file_and_an_empty_file(tmp_path: Path):
    with pytest.raises(UserError, match=r"no model is named"):
        load_config(None, [], find_device=lambda: "cpu")
    for text, said in {
        "": "is empty",
        "# nothing\n": "is empty",
        "3": "but 3",
        "[1]": r"but \[1\]",
        "{}": "is empty",
    }.items():
        path = tmp_path / "run.yaml"
        path.write_text(text)
        with pytest.raises(UserError, match=rf"run\.yaml is.*{said}|run\.yaml {said}"):
            load_config(path)


# --- rows that overlap


def test_a_stride_is_of_text_in_order(load: Load, refused: Refused):
    settings = {"dataset.stride": 8, "trainer.datasampling": "packed"}
    assert load(settings).dataset.stride == 8
    assert "random crops have no order" in refused({"dataset.stride": 8})
    assert "would leave out text between rows of" in refused(settings | {"dataset.stride": 100_000})
