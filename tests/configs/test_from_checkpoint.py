"""Runs that start from a checkpoint: what they take from it, and what does not go with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from groundup.configs.architecture import architecture, start_of, task_of
from groundup.configs.cli import summary
from groundup.configs.defaults import default_batch
from groundup.configs.plan import plan
from groundup.configs.schema import RunConfig, load_config
from groundup.errors import UserError
from groundup.models.registry import entries

Checkpoint = Callable[[str], Path]


def load(*words: str, device: str = "cpu", **options: Any) -> RunConfig:
    return load_config(None, list(words), find_device=lambda: device, **options)


def fails(*words: str, device: str = "cpu", **options: Any) -> str:
    with pytest.raises(UserError) as error:
        load(*words, device=device, **options)
    return str(error.value)


# --- what a run takes from its checkpoint


def test_a_bare_model_and_data_set_are_a_whole_run():
    run = load("model=gpt2", "dataset=stdlib")
    trainer = run.trainer
    assert (run.model.base_model, run.model.init, run.output.run_name) == ("gpt2", "pretrained", "GPT2-small")
    assert (trainer.optimizer.lr, trainer.optimizer.min_lr, trainer.optimizer.weight_decay) == (5e-5, 1e-7, 0.01)
    assert (trainer.epochs, trainer.warmup_ratio, trainer.lr_scheduler) == (3, 0.1, "linear")
    assert (trainer.optimizer.grad_clip, trainer.label_smoothing) == (1.0, 0.0)
    assert (trainer.loss_fn, trainer.max_seq_length) == ("cross_entropy", 1024)
    assert (trainer.batch_size, trainer.gradient_accumulation_steps, trainer.effective_batch_size) == (8, 2, 16)
    assert run.evaluation.batch_size == 8
    assert load("--model", "gpt2", "--dataset", "stdlib") == run
    assert load("--model.base_model", "gpt2", "dataset.name=stdlib") == run


@pytest.mark.parametrize("device", ["cuda", "mps", "cpu"])
@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.alias)
def test_every_entry_makes_a_run_on_every_device(entry: Any, device: str, tmp_path: Path):
    run = load(f"model={entry.alias}", "init=random", "dataset=stdlib", device=device)
    encoder = entry.architecture == "encoder-only"
    assert run.trainer.batch_size == entry.recommended_batch_size[device]
    assert run.trainer.gradient_accumulation_steps == max(1, 16 // run.trainer.batch_size)
    assert run.trainer.loss_fn == ("masked_lm" if encoder else "cross_entropy")
    assert run.trainer.max_seq_length == (512 if encoder else 1024)
    assert run.output.run_name == entry.alias
    path = tmp_path / "config.yaml"
    path.write_text(run.to_yaml())
    assert load_config(path) == run
    again = load_config(path)
    assert again.to_yaml() == run.to_yaml()


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.alias)
def test_every_entry_can_be_planned_without_its_weights(entry: Any):
    run = load(f"model={entry.name}", "init=random", "dataset=stdlib", planning=True)
    costs = plan(run)
    start = start_of(run)
    assert start is not None
    from groundup.models.flops import count_parameters

    assert sum(costs.parameters.values()) == count_parameters(start.config, start.task)
    assert costs.memory["weights"] == 4 * sum(costs.parameters.values())
    assert "in all" in str(costs)


def test_only_masked_tokens_cost_a_plan_the_head():
    """BERT-tiny with its 30,522 rows of 128: most of what every token would cost is the head."""
    from groundup.models.flops import flops_per_token

    run = load("model=BERT-tiny", "init=random", "trainer.mask_ratio=0.25", "trainer.max_seq_length=32")
    start = start_of(run)
    assert start is not None
    whole = flops_per_token(start.config, 32)
    assert plan(run).flops_per_token == pytest.approx(whole - 0.75 * 6 * 30522 * 128)


def test_the_length_is_the_models_where_that_is_shorter(capsys: pytest.CaptureFixture[str]):
    assert load("model=BERT-base").trainer.max_seq_length == 512
    assert load("model=BERT-base", "trainer.max_seq_length=100").trainer.max_seq_length == 100
    assert capsys.readouterr().err == ""
    assert load("model=BERT-base", "trainer.max_seq_length=4096").trainer.max_seq_length == 512
    assert "trainer.max_seq_length 4,096 becomes 512: BERT-base was made for no more" in capsys.readouterr().err
    assert load("model=Llama-3.1-8B", "trainer.max_seq_length=4096").trainer.max_seq_length == 4096


def test_what_a_run_says_beats_what_it_would_take():
    run = load(
        "model=gpt2", "trainer.batch_size=3", "trainer.epochs=1", "output.run_name=mine", "--trainer.optimizer.lr=1e-3"
    )
    assert (run.trainer.batch_size, run.trainer.gradient_accumulation_steps, run.trainer.effective_batch_size) == (
        3,
        5,
        15,
    )
    assert (run.trainer.epochs, run.output.run_name, run.trainer.optimizer.lr) == (1, "mine", 1e-3)
    assert load("model=gpt2", "trainer.effective_batch_size=32").trainer.gradient_accumulation_steps == 4
    assert load("model=gpt2", "trainer.loss_fn=next_token_mlm").trainer.loss_fn == "next_token_mlm"
    assert load("model=gpt2", "trainer.max_iters=7").trainer.epochs is None


def test_random_weights_are_trained_at_the_rates_of_a_run_from_scratch():
    trainer = load("model=gpt2", "--init", "Random").trainer
    assert (trainer.optimizer.lr, trainer.optimizer.min_lr, trainer.epochs, trainer.warmup_ratio) == (
        6e-4,
        6e-6,
        3,
        0.1,
    )


def test_a_directory_of_ones_own(checkpoint: Checkpoint):
    run = load(f"model={checkpoint('roberta')}", "dataset=stdlib")
    assert (run.output.run_name, run.trainer.loss_fn, run.trainer.max_seq_length) == ("roberta", "masked_lm", 64)
    assert run.trainer.batch_size == 16  # by its size: the registry does not know it
    assert [default_batch(int(size), "mps") for size in (4e6, 1e8, 4e8, 7e9)] == [32, 16, 8, 2]


def test_a_file_names_the_run_and_full_fine_tuning_is_a_method(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("model: distilgpt2\nfine_tuning: {method: full}\ntraining: {micro_batch_size: 2, epochs: 1}\n")
    run = load_config(path, find_device=lambda: "cpu")
    assert (run.output.run_name, run.trainer.batch_size, run.trainer.optimizer.lr) == ("mine", 2, 5e-5)
    path.write_text(run.to_yaml())
    assert load_config(path) == run


def test_the_summary_names_it():
    run = load("model=BERT-tiny", "init=random", "trainer.max_iters=4")
    said = summary(run, start_of(run))
    assert said.startswith("BERT-tiny, random weights: 2 layers of width 128 on stdlib, 4 steps of 16 x 512 tokens")


def test_a_run_that_goes_on_asks_for_nothing_it_started_from(tmp_path: Path, checkpoint: Checkpoint):
    """The folder it came from is gone, and what it was made of is known all the same."""
    source = tmp_path / "source"
    shutil.copytree(checkpoint("gpt2"), source)
    run = load(f"model={source}", "dataset=stdlib", f"general.paths.checkpoint_dir={tmp_path / 'elsewhere'}")
    start = start_of(run)
    assert start is not None
    state = json.dumps({"task": "causal_lm", "model_config": start.config.to_dict()})
    for folder in (tmp_path / "runs" / "a" / "1", tmp_path / "elsewhere" / "a" / "1" / "step_00000001"):
        folder.mkdir(parents=True)
    (tmp_path / "elsewhere" / "a" / "1" / "step_00000001" / "state.json").write_text(state)
    (tmp_path / "runs" / "a" / "1" / "config.yaml").write_text(run.to_yaml())
    shutil.rmtree(source)
    assert "there is no folder" in fails(f"model={source}")
    folder = tmp_path / "runs" / "a" / "1"
    resumed = load_config(folder / "config.yaml", resume=folder)
    assert resumed == run
    assert architecture(resumed, 300, start_of(resumed, folder)) == start.config


# --- what does not go with it


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=BERT-base", "trainer.loss_fn=cross_entropy"], ["BERT-base is an encoder", "use masked_lm"]),
        (["model=gpt2", "trainer.loss_fn=masked_lm"], ["GPT2-small is a decoder", "use cross_entropy"]),
        (
            ["model=gemma-2-2b", "model.use_flash_attention=true"],
            ["model.use_flash_attention (", "caps its attention scores at 50", ": use `auto`."],
        ),
        (
            ["model=deberta-v3-small", "model.use_flash_attention=true"],
            ["model.use_flash_attention (", "attention with relative positions"],
        ),
        (
            ["model=gpt2", "model.use_flash_attention=true"],
            ["model.use_flash_attention (", "drops attention's probabilities (rate 0.1)"],
        ),
        (["model=gpt2", "trainer.mask_ratio=0.3"], ["only masked_lm and next_token_mlm mask tokens"]),
        (["model=BERT-base", "trainer.mask_ratio=0"], ["masked_lm learns from masked tokens only"]),
        (["model=gpt2", "model.hidden_dim=64"], ["brings its own architecture: leave it out, or model.hidden_dim"]),
        (["model=gpt2", "model.tokenizer=gtp2"], ["no tokenizer is called 'gtp2'", "Did you mean 'gpt2'"]),
        (["model=gpt2", "model.init=radnom"], ["expected one of pretrained, random", "did you mean 'random'"]),
        (["model=gtp2"], ["Model 'gtp2' not found. Available models: [", "Did you mean 'GPT2-small'?"]),
        (["init=random"], ["init (the command line): this belongs to a checkpoint"]),
        (["model=gpt2", "--fine_tuning.lora.r", "8"], ["fine_tuning", "no fine_tuning.method that would use them"]),
        (
            ["model=gpt2", "model.use_liger_kernels=true", "trainer.loss_chunk_tokens=0"],
            ["trainer.loss_chunk_tokens", "0 takes all logits at once, which use_liger_kernels avoids: leave it out"],
        ),
        (["model=gpt2", "--model.load_in_4bit", "true"], ["model.load_in_4bit", "packed weights cannot be trained"]),
        (["model=gpt2", "model.freeze_core=true"], ["brings its own architecture", "model.freeze_core"]),
    ],
)
def test_what_does_not_go_together(words: list[str], said: list[str]):
    message = fails(*words)
    assert all(one in message for one in said), message
    assert "\n" not in message


@pytest.mark.parametrize(
    "words",
    [
        ["model=gpt2", "model.use_flash_attention=false"],
        ["model=Llama-3.1-8B", "model.use_flash_attention=true"],
        ["model=Llama-3.1-8B", "model.use_flash_attention=true", "trainer.datasampling=packed"],
        ["model=gpt2", "model.use_flash_attention=true", "trainer.dropout_schedule.start=0.1"],
        ["model=gpt2", "model.use_flash_attention=true", "trainer.dropout_schedule.name=constant"],
    ],
)
def test_flash_attention_where_a_step_may_take_it(words: list[str]):
    assert load(*words, "model.init=random", "dataset=stdlib").model.use_flash_attention != "auto"


def test_flash_attention_on_other_devices():
    words = ["model=Llama-3.1-8B", "model.use_flash_attention=true", "model.init=random", "dataset=stdlib"]
    assert "not in fp32 (trainer.mixed_precision): use `auto`." in fails(*words, device="cuda")
    words.append("trainer.mixed_precision=bf16")
    assert load(*words, device="cuda").model.use_flash_attention is True
    message = fails(*words, "trainer.datasampling=packed", device="cuda")
    assert "packed into a row (trainer.datasampling) need a mask" in message
    assert "torch has no flash kernel for mps" in fails(*words, device="mps")


def test_fine_tuning_needs_a_checkpoint(tmp_path: Path):
    fixture = Path(__file__).parent / "fixtures" / "core_model_every_key.yaml"
    tree = yaml.safe_load(fixture.read_text()) | {"fine_tuning": {"method": "full"}}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(UserError, match=r"fine_tuning \(.*: it is a checkpoint that is fine-tuned: name one"):
        load_config(path)


def test_masked_lm_from_scratch(tmp_path: Path):
    """A bidirectional architecture may learn it as well; a causal one not."""
    fixture = Path(__file__).parent / "fixtures" / "core_model_every_key.yaml"
    tree = yaml.safe_load(fixture.read_text())
    tree["trainer"]["loss_fn"] = "masked_lm"
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(UserError, match="with causal attention this is a decoder: masked_lm needs what comes after"):
        load_config(path, ["model.attn.attn_type=causal"])
    assert load_config(path, ["model.attn.attn_type=bidirectional"]).trainer.loss_fn == "masked_lm"


# --- hf_core: the blocks of a checkpoint, everything around them new

CORE = {
    "model": {"core_model_type": "hf_core", "tokenizer_type": "byte"},
    "trainer": {
        "batch_size": 2,
        "gradient_accumulation_steps": 1,
        "max_iters": 3,
        "warmup_iters": 1,
        "loss_fn": "cross_entropy",
    },
}


@pytest.fixture
def core(tmp_path: Path, checkpoint: Checkpoint) -> Callable[..., RunConfig]:
    """core("gpt2", "model.hidden_dim=3"): a run around the core of a tiny checkpoint, changed."""

    def loader(name: str, *words: str, **options: Any) -> RunConfig:
        path = tmp_path / "core.yaml"
        path.write_text(yaml.safe_dump(CORE))
        return load_config(path, [f"model.base_model={checkpoint(name)}", *words], find_device=lambda: "cpu", **options)

    return loader


@pytest.mark.parametrize(
    ("name", "loss", "positions", "norm"),
    [
        ("gpt2", "cross_entropy", "learned", "layer_norm"),
        ("llama", "cross_entropy", "rope", "rms_norm"),
        ("bert", "masked_lm", "learned", "none"),
        ("roberta", "masked_lm", "learned", "none"),
        ("deberta", "masked_lm", None, "none"),
    ],
)
def test_hf_core_takes_what_fits_its_core(core: Any, tmp_path: Path, name: str, loss: str, positions: str, norm: str):
    run = core(name, f"trainer.loss_fn={loss}")
    model, trainer = run.model, run.trainer
    assert (model.hidden_dim, model.context_window, model.freeze_core) == (32, 64, True)
    assert (model.positional_encoding_type, model.lm_head_normalization) == (positions, norm)
    assert trainer.optimizer.lr == 6e-4  # what is around the core is trained from scratch
    assert trainer.max_seq_length == 64
    path = tmp_path / "again.yaml"
    path.write_text(run.to_yaml())
    assert load_config(path) == run
    start = start_of(run)
    config = architecture(run, 257, start)
    assert task_of(run, start) == "causal_lm"
    assert start is not None
    assert (config.vocab_size, config.d_embed, config.n_token_types, config.embed_norm) == (257, 32, 0, False)
    assert (config.n_layers, config.causal, config.qkv_bias) == (2, start.config.causal, start.config.qkv_bias)
    assert (config.init, config.embed_scale, config.pad_token_id, config.position_offset) == ("kaiming", 1.0, None, 0)


def test_hf_core_is_planned_with_its_frozen_part(core: Any):
    run = core("gpt2", planning=True)
    costs = plan(run)
    core_size = sum(costs.parameters[part] for part in ("attention", "feed-forward", "norms"))
    total = sum(costs.parameters.values())
    assert costs.memory["gradients"] == 4 * (total - core_size)
    assert costs.memory["weights"] == 4 * total
    assert any("are frozen" in note for note in costs.notes)
    assert plan(core("gpt2", "model.freeze_core=false")).memory["gradients"] == 4 * total


def test_hf_core_with_what_it_may_say(core: Any):
    run = core(
        "bert",
        "trainer.loss_fn=masked_lm",
        "model.hidden_dim=32",
        "model.context_window=16",
        "model.positional_encoding_type=sincos",
        "model.embedding_weight_tying=false",
        "model.embedding_dropout=0.1",
        "model.lm_head_normalization=rms_norm",
        "model.lm_head_bias=true",
        "model.lm_head_dropout=0.2",
        "model.initialization_fn=xavier",
        "model.vocab_size=300",
    )
    config = architecture(run, 257, start_of(run))
    assert (config.vocab_size, config.max_seq_len, config.positions, config.head_norm) == (300, 16, "sincos", "rmsnorm")
    assert (config.tie_embeddings, config.head_bias, config.init) == (False, True, "xavier")
    assert (config.embed_dropout, config.head_dropout) == (0.1, 0.2)


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("gpt2", ["model.hidden_dim=64"], ["model.hidden_dim (", "64, and the core of gpt2 is 32 wide: leave it out"]),
        ("gpt2", ["model.context_window=65"], ["65, and the core of gpt2 was made for 64 tokens"]),
        ("gpt2", ["model.num_layers=3"], ["model.num_layers (", "the blocks are those of base_model"]),
        ("gpt2", ["model.ffn.bias=true"], ["model.ffn (", "the blocks are those of base_model"]),
        ("gpt2", ["model.tokenizer=gpt2"], ["model.tokenizer (", "named by tokenizer_type"]),
        ("gpt2", ["model.positional_encoding_type=rope"], ["the core of gpt2 has no rope"]),
        (
            "llama",
            ["model.positional_encoding_type=learned"],
            ["has rope positions of its own, and learned does not fit"],
        ),
        ("llama", ["model.lm_head_normalization=layer_norm"], ["the core of llama ends in a rms_norm of its own"]),
        ("gpt2", ["model.init=random", "model.freeze_core=true"], ["a core of random weights cannot learn"]),
        ("gpt2", ["--fine_tuning.method", "full"], ["fine_tuning", "of which hf_core takes the blocks only"]),
        ("gpt2", ["trainer.loss_fn=masked_lm"], ["gpt2 is a decoder"]),
        ("bert", [], ["bert is an encoder"]),
        ("gpt2", ["model.rope_theta=3"], ["model.rope_theta (", "the blocks are those of base_model"]),
        ("gpt2", ["model.vocab_size=3", "model.tokenizer_type=bpe", "model.gain=2"], ["gain", "has no effect"]),
    ],
)
def test_what_does_not_go_with_a_core(core: Any, name: str, words: list[str], said: list[str]):
    with pytest.raises(UserError) as error:
        core(name, *words)
    assert all(one in str(error.value) for one in said), error.value
    assert "\n" not in str(error.value)


def test_hf_core_without_a_checkpoint_or_a_tokenizer(tmp_path: Path):
    path = tmp_path / "core.yaml"
    path.write_text(yaml.safe_dump(CORE))
    with pytest.raises(UserError, match=r"^model\.base_model is missing: under hf_core the blocks are those of a chec"):
        load_config(path)
    path.write_text(yaml.safe_dump(CORE | {"model": {"core_model_type": "hf_core", "base_model": "gpt2"}}))
    with pytest.raises(UserError, match=r"^model\.tokenizer_type is missing"):
        load_config(path)


def test_a_random_core_is_trained(core: Any):
    assert core("gpt2", "model.init=random").model.freeze_core is False
