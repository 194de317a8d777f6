"""The YAML examples of the documents, and their Python dictionaries, parse unchanged; a typo in any is caught."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from groundup.configs.read import parse_yaml
from groundup.configs.registry import parse_registry
from groundup.configs.schema import RunConfig, load_config, parse_config
from groundup.errors import UserError

FIXTURES = Path(__file__).parent / "fixtures"
TABLES = ("guide_target_modules_bert", "guide_target_modules_gpt")  # several fragments in one block
WHOLE = sorted(path.stem for path in FIXTURES.glob("*.yaml") if path.stem not in (*TABLES, "gpt2_training_parameters"))


def fragments(name: str) -> list[str]:
    return [part for part in (FIXTURES / f"{name}.yaml").read_text().split("\n\n") if part.strip()]


def parse(path: Path, *overrides: str) -> RunConfig:
    return parse_config(path, list(overrides), find_device=lambda: "cpu")


@pytest.fixture
def training_parameters(tmp_path: Path) -> Path:
    """The dictionary of training parameters, where it belongs."""
    path = tmp_path / "run.yaml"
    path.write_text(f"training: {(FIXTURES / 'gpt2_training_parameters.yaml').read_text()}")
    return path


def test_the_fixtures_are_there():
    assert len(WHOLE) == 12


@pytest.mark.parametrize("name", WHOLE)
def test_every_example_parses(name: str):
    parse(FIXTURES / f"{name}.yaml")


@pytest.mark.parametrize("text", [text for name in TABLES for text in fragments(name)])
def test_every_line_of_the_target_module_tables_parses(tmp_path: Path, text: str):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    (entry,) = parse(path).models  # pyright: ignore
    assert entry.lora.target_modules == parse_yaml(text, "")[0]["target_modules"]


def test_the_tables_as_a_whole_repeat_one_key():
    assert [len(fragments(name)) for name in TABLES] == [6, 7]
    for name in TABLES:
        with pytest.raises(UserError, match=r"line 5: the key target_modules is there twice, first on line 2"):
            parse(FIXTURES / f"{name}.yaml")


def test_training_parameters(training_parameters: Path):
    trainer = parse(training_parameters).trainer
    assert (trainer.epochs, trainer.warmup_ratio, trainer.max_iters) == (3, 0.1, None)
    assert (trainer.optimizer.weight_decay, trainer.optimizer.grad_clip) == (0.01, 1.0)
    assert trainer.optimizer.lr == 5e-5  # by task
    assert trainer.batch_sizes is not None
    assert trainer.batch_sizes["distilgpt2"] == {"classification": 16, "language_modeling": 8}
    assert parse(training_parameters, "model=gpt2", "dataset=imdb").trainer.optimizer.lr == 2e-5


@pytest.mark.parametrize(("name", "batch"), [("gpt2_small_entry", (8, 4)), ("gpt2_distil_entry", (16, 8))])
def test_model_specific_configurations_as_an_entry_and_as_a_model(tmp_path: Path, name: str, batch: tuple[int, int]):
    text = (FIXTURES / f"{name}.yaml").read_text()
    (entry,) = parse_registry(text, name)
    assert entry.batch_size == {"classification": batch[0], "language-modeling": batch[1]}
    assert (entry.alias, entry.name) == (("gpt2-small", "gpt2") if "small" in name else ("distilgpt2", "distilgpt2"))
    path = tmp_path / "run.yaml"
    path.write_text(f"model: {text}")
    for dataset, expected, lr in (("imdb", batch[0], 2e-5), ("wikitext", batch[1], 5e-5)):
        run = parse(path, f"dataset={dataset}")
        assert run.model.base_model == entry.name
        assert (run.trainer.batch_size, run.trainer.optimizer.lr, run.trainer.max_seq_length) == (expected, lr, 1024)


def test_the_comprehensive_example(capsys: pytest.CaptureFixture[str]):
    run = parse(FIXTURES / "fine_tuning_comprehensive.yaml")
    model, trainer, lora = run.model, run.trainer, run.fine_tuning.lora  # pyright: ignore
    assert (model.base_model, model.tokenizer) == ("meta-llama/Llama-3.1-8B-Instruct",) * 2
    assert (model.load_in_4bit, model.load_in_8bit, model.use_flash_attention) == (True, False, True)
    assert (lora.r, lora.alpha, lora.dropout, lora.bias, lora.task_type) == (16, 32, 0.05, "none", "CAUSAL_LM")
    assert lora.target_modules == ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert run.fine_tuning.spectrum.model_dump() == {"snr_threshold": 0.5, "layers_to_finetune": "auto"}  # pyright: ignore
    assert run.fine_tuning.quantization.bits == 4  # pyright: ignore
    assert (trainer.epochs, trainer.batch_size, trainer.gradient_accumulation_steps) == (3, 1, 16)
    assert (trainer.optimizer.lr, trainer.optimizer.grad_clip, trainer.optimizer.weight_decay) == (2e-4, 0.3, 0.001)
    assert (trainer.optimizer.name, trainer.lr_scheduler, trainer.warmup_ratio) == ("paged_adamw_8bit", "cosine", 0.03)
    assert (trainer.max_seq_length, trainer.gradient_checkpointing, trainer.mixed_precision) == (4096, True, "bf16")
    assert (run.dataset.format, run.dataset.train_path, run.dataset.eval_path) == (
        "alpaca",
        "data/train.json",
        "data/eval.json",
    )
    assert run.dataset.preprocessing is not None
    assert run.dataset.preprocessing.model_dump() == {
        "add_eos_token": True,
        "add_bos_token": False,
        "use_chat_template": True,
        "chat_template": None,
    }
    assert (run.distributed.use_deepspeed, run.distributed.zero_stage) == (True, 2)
    assert (run.output.output_dir, run.output.save_total_limit, run.output.hub_model_id) == ("models/runs", 5, None)
    assert (trainer.log_interval, trainer.checkpoint_interval) == (10, 500)
    assert (run.evaluation.batch_size, run.evaluation.strategy, run.evaluation.interval) == (8, "steps", 200)
    assert run.evaluation.benchmarks == ["lm-evaluation-harness", "domain-specific-eval", "human-eval"]
    assert "evaluation.eval_steps" in capsys.readouterr().err  # 200 there, 100 under output


def test_the_comprehensive_example_is_refused_with_what_to_change():
    with pytest.raises(UserError) as error:
        load_config(FIXTURES / "fine_tuning_comprehensive.yaml", find_device=lambda: "cpu")
    message = str(error.value)
    assert "model.trust_remote_code (" in message
    for path in ("distributed.use_deepspeed",):
        assert re.search(rf"{path} \(.*comprehensive\.yaml, line \d+\): .* is not available yet: .+", message), path


def test_the_llama_plan():
    models = parse(FIXTURES / "plan_llama.yaml").models
    entry = models.transformer_models["meta-llama/Llama-2-7b-hf"]  # pyright: ignore
    assert (entry.name, entry.learning_rate, entry.num_epochs, entry.use_cache) == (
        "meta-llama/Llama-2-7b-hf",
        1e-4,
        1,
        False,
    )
    assert models.model_selection.selected_models[-1] == "bag-of-words-tfidf"  # pyright: ignore
    memory = parse(FIXTURES / "plan_memory_optimization.yaml").models.memory_optimization["llama"]  # pyright: ignore
    assert (memory.max_memory_usage, memory.batch_size_auto_adjust, memory.min_batch_size) == (0.9, True, 1)


def test_every_key_of_the_core_model_document_reaches_the_run(tmp_path: Path):
    run = load_config(FIXTURES / "core_model_every_key.yaml")
    assert run.model.ffn.model_dump() == {
        "ffn_type": "generic",
        "ffn_dim": 96,
        "bias": True,
        "ffn_dropout": 0.1,
        "activation": "relu",
        "normalization": "layer_norm",
    }
    attn = run.model.attn
    assert (attn.num_kv_heads, attn.num_q_heads, attn.bias, attn.attn_dropout) == (2, 4, True, 0.2)
    assert (run.model.initialization_fn.name, run.model.initialization_fn.gain) == ("xavier", 0.5)
    assert (run.evaluation.interval, run.evaluation.num_samples, run.evaluation.dataset_loss_eval_iters) == (7, 50, 9)
    assert (run.output.output_dir, run.general.paths.checkpoint_dir, run.general.seed) == (
        "outputs",
        "checkpoints",
        489,
    )
    assert (run.trainer.decay_lr, run.trainer.lr_decay_iters, run.trainer.optimizer.beta2) == (False, 25, 0.95)
    path = tmp_path / "again.yaml"
    path.write_text(run.to_yaml())
    assert load_config(path) == run


def keys_of(name: str) -> list[Any]:
    lines = parse_yaml((FIXTURES / f"{name}.yaml").read_text(), name)[1]
    free = ("transformer_models", "memory_optimization", "recommended_batch_size")
    return [(name, path) for path in lines if not path[-1].isdigit() and (len(path) < 2 or path[-2] not in free)]


@pytest.mark.parametrize(("name", "path"), [case for name in WHOLE for case in keys_of(name)])
def test_a_typo_in_any_key_of_any_example_is_caught(tmp_path: Path, name: str, path: tuple[str, ...]):
    text = (FIXTURES / f"{name}.yaml").read_text()
    line = parse_yaml(text, name)[1][path]
    lines = text.split("\n")
    typo = re.sub(
        rf"(?<![\w-])(['\"]?){re.escape(path[-1])}(['\"]?\s*:)", rf"\1{path[-1]}x\2", lines[line - 1], count=1
    )
    assert typo != lines[line - 1]
    lines[line - 1] = typo
    broken = tmp_path / f"{name}.yaml"
    broken.write_text("\n".join(lines))
    with pytest.raises(UserError) as error:
        parse(broken)
    assert f"{path[-1]}x" in str(error.value) or "no mapping of keys" in str(error.value)
