"""The plan's arithmetic against built models, and what its table says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from groundup.configs.architecture import architecture
from groundup.configs.costs import CHUNK_BYTES, parameters, training_memory
from groundup.configs.plan import ASSUMED_SHARE, VOCABULARIES, Plan, duration, measure_rate, plan, vocabulary
from groundup.configs.schema import RunConfig
from groundup.models import ModelConfig, build_model
from groundup.models.flops import count_parameters
from groundup.trainers.losses import chunk_tokens

Load = Callable[..., RunConfig]

SHAPES: list[dict[str, Any]] = [
    {},
    {"model.ffn.ffn_type": "silu_ffn", "model.attn.num_kv_heads": 2, "model.attn.num_q_heads": 8},
    {"model.positional_encoding_type": "learned", "model.embedding_weight_tying": False, "model.lm_head_bias": True},
    {
        "model.ffn_weight_tying": True,
        "model.c_proj_weight_tying": True,
        "model.ffn.bias": True,
        "model.attn.bias": True,
    },
    {
        "model.attn.normalization": "layer_norm",
        "model.ffn.normalization": "none",
        "model.lm_head_normalization": "none",
    },
    {"model.attn.normalization": "layer_norm", "model.norm_bias": False, "model.lm_head_normalization": "layer_norm"},
]

FAMILIES = [
    ModelConfig(
        50, 16, 3, 4, 24, 10, d_embed=8, n_token_types=2, embed_norm=True, norm_slots=("sum",), head_norm="none"
    ),
    ModelConfig(
        50, 16, 2, 4, 24, 10, positions="rope", qk_norm=True, norm="rmsnorm", norm_slots=("in", "out"), head_dim=6
    ),
    ModelConfig(50, 16, 2, 4, 24, 10, positions="relative", causal=False, relative_buckets=4, relative_span=8),
]


def check_parts(config: ModelConfig) -> None:
    parts = parameters(config)
    model = build_model(config)
    assert sum(parts.values()) == model.num_parameters() == count_parameters(config)
    first = model.core.layers[0]
    shared = {"attention": config.share_attn_out, "feed-forward": config.share_ffn}
    if not any(shared.values()) and config.positions != "relative":
        assert parts["attention"] == config.n_layers * sum(p.numel() for p in first.attn.f.parameters())
        assert parts["feed-forward"] == config.n_layers * sum(p.numel() for p in first.ffn.f.parameters())
    assert parts["token embedding"] == model.embedder.tokens.weight.numel()


@pytest.mark.parametrize("changes", SHAPES)
def test_parameters_by_part_of_runs(load: Load, changes: dict[str, Any]):
    check_parts(architecture(load(changes), 257))


@pytest.mark.parametrize("config", FAMILIES)
def test_parameters_by_part_of_families(config: ModelConfig):
    check_parts(config)


def saved_bytes(config: ModelConfig, batch: int, tokens: int, half: bool) -> float:
    """What one forward pass keeps for backward, weights and their 16-bit copies apart."""
    model = build_model(config)
    shapes = {tuple(p.shape) for p in model.parameters()} | {tuple(p.shape)[::-1] for p in model.parameters()}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tuple(tensor.shape) not in shapes:
            kept[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    ids = torch.randint(0, config.vocab_size, (batch, tokens))
    keeping = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with keeping, torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        model.hidden_states(ids)
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"model.attn.normalization": "layer_norm", "model.ffn.normalization": "layer_norm"},
        {"model.ffn.ffn_type": "silu_ffn", "model.attn.num_kv_heads": 2, "model.attn.num_q_heads": 8},
    ],
)
def test_activations_are_estimated_within_a_third(
    load: Load, changes: dict[str, Any], half: bool, monkeypatch: pytest.MonkeyPatch
):
    # So small an attention keeps its probabilities on a CPU, 8 MiB a layer at most; the estimate is of the fused one.
    monkeypatch.setattr("groundup.models.attention.trains_in_bf16_on_cpu", lambda q: False)
    sizes = {"model.hidden_dim": 64, "model.ffn.ffn_dim": 192, "model.num_layers": 3, "model.context_window": 40}
    config = architecture(load({**sizes, **changes}), 257)
    batch, tokens = 3, 40
    measured = saved_bytes(config, batch, tokens, half)
    estimated = training_memory(config, batch, tokens, half, checkpointing=False, chunk=None)["activations"]
    assert measured <= estimated <= 1.33 * measured


def test_memory_by_part(load: Load):
    config = architecture(load(), 257)
    count = count_parameters(config)
    memory = training_memory(config, 2, 16, half=True, checkpointing=False, chunk=0)
    assert (memory["weights"], memory["gradients"], memory["optimizer (two moments)"]) == (
        4 * count,
        4 * count,
        8 * count,
    )
    assert memory["logits"] == 2 * 16 * 257 * 2
    assert training_memory(config, 2, 16, True, False, chunk=8)["logits"] == 8 * 257 * 2
    assert training_memory(config, 64, 2048, False, False, chunk=None)["logits"] == 64 * 2048 * 257 * 4 < CHUNK_BYTES
    wide = architecture(load({"model.vocab_size": 100_000}), 257)
    assert training_memory(wide, 64, 2048, False, False, chunk=None)["logits"] == CHUNK_BYTES
    checkpointed = training_memory(config, 2, 16, half=True, checkpointing=True, chunk=0)
    assert checkpointed["activations"] < memory["activations"]


def test_moments_by_optimizer(load: Load):
    """8 bytes a parameter; 2 and a maximum in fp32 for each 256; or none on the GPU, and a note of where they are."""
    part, disk = "optimizer (two moments)", plan(load()).disk
    count = sum(plan(load()).parameters.values())
    small = load({"trainer.optimizer.name": "adamw_8bit"})
    assert plan(small).memory[part] == pytest.approx(count * (2 + 8 / 256))
    assert plan(small).disk == pytest.approx(disk * (4 + 2 + 8 / 256) / 12)
    paged = load({"trainer.optimizer.name": "paged_adamw_8bit"})
    assert plan(paged).memory[part] == plan(small).memory[part]
    on_gpu = plan(load({"trainer.optimizer.name": "paged_adamw_8bit"}, device="cuda"))
    assert part not in on_gpu.memory
    assert "the optimizer's moments," in str(on_gpu)


def test_the_loss_takes_chunks_of_the_size_the_plan_counts():
    for dtype in (torch.float32, torch.bfloat16):
        assert chunk_tokens(100_000, dtype) == CHUNK_BYTES // (100_000 * dtype.itemsize)


def test_steps_tokens_and_time(load: Load):
    run = load({"trainer.gradient_accumulation_steps": 3, "evaluation.do_eval": False})
    figures = plan(run, rate=1e9)
    assert (figures.tokens_per_step, figures.steps) == (2 * 3 * 16, 10)
    expected = 10 * figures.tokens_per_step * figures.flops_per_token / (1e9 * ASSUMED_SHARE)
    assert figures.seconds == pytest.approx(expected)
    evaluated = plan(load({"trainer.gradient_accumulation_steps": 3, "evaluation.interval": 5}), rate=1e9)
    assert evaluated.seconds > figures.seconds  # pyright: ignore
    again = plan(load({"trainer.gradient_checkpointing": True}))
    assert again.flops_per_token == pytest.approx(plan(load()).flops_per_token * 4 / 3)


def test_epochs_are_told_to_be_unknown(load: Load):
    figures = plan(load({"trainer.epochs": 2, "trainer.max_iters": None}))
    assert (figures.steps, figures.seconds) == (None, None)
    assert "2 epochs" in str(figures)


@pytest.mark.parametrize(("name", "size"), [*VOCABULARIES.items(), ("char", 128)])
def test_vocabularies(load: Load, name: str, size: int):
    notes: list[str] = []
    assert vocabulary(load({"model.tokenizer_type": name}), notes) == size
    assert bool(notes) == (name == "char")


def test_the_table_names_every_part(load: Load):
    text = str(plan(load(), rate=2e9))
    for words in ("token embedding", "in all", "optimizer (two moments)", "activations", "logits", "FLOPs a token"):
        assert words in text
    assert "matmul rate, measured" in text
    assert "matmul rate, assumed for cpu" in str(plan(load()))
    assert f"{sum(plan(load()).parameters.values()):,}" in text
    assert isinstance(plan(load()), Plan)


def test_the_rate_is_measured(load: Load):
    rate = measure_rate(load({"model.hidden_dim": 256, "model.ffn.ffn_dim": 1024}), seconds=0.02)
    assert rate is not None
    assert 1e8 < rate < 1e15


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_rate_for_a_device_that_is_elsewhere(load: Load):
    assert measure_rate(load({}, device="cuda")) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.4, "3 s"), (95, "95 s"), (460, "7.7 min"), (3600, "60 min"), (20_000, "5.6 h"), (1e6, "11.6 days")],
)
def test_durations(seconds: float, text: str):
    assert duration(seconds) == text
