"""models/init.py: spread of every weight, the first loss, and the seed."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from groundup.models import build_model
from groundup.models.init import initialise_head
from torch import nn

BIG = {
    "d_model": 256,
    "d_ff": 600,
    "n_heads": 4,
    "vocab_size": 500,
    "qkv_bias": True,
    "out_bias": True,
    "ffn_bias": True,
}
GAINS = {"gelu": 2**0.5, "silu": 2**0.5, "relu": 2**0.5, "tanh": 5 / 3, "sigmoid": 1.0, "none": 1.0}
GAINS["leakyrelu"] = (2 / (1 + 0.01**2)) ** 0.5


def linears(model) -> dict[str, nn.Linear]:
    return {name: m for name, m in model.core.named_modules() if isinstance(m, nn.Linear)}


def assert_normal(weight: torch.Tensor, std: float) -> None:
    n = weight.numel()
    assert abs(weight.mean().item()) < 5 * std / math.sqrt(n)
    assert weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * n))
    beyond = (weight.abs() > 2 * std).float().mean().item()  # 4.55 % of a normal, none of a uniform
    assert beyond == pytest.approx(0.0455, abs=0.01)


def test_gpt2(tiny) -> None:
    model = build_model(tiny(**BIG, n_layers=3, init_std=0.03), seed=1)
    for name, linear in linears(model).items():
        residual = name.endswith(("attn.f.out", "ffn.f.down"))
        assert_normal(linear.weight, 0.03 / math.sqrt(6) if residual else 0.03)
        assert not linear.bias.any()
    assert_normal(model.embedder.tokens.weight, 0.03)
    assert_normal(model.embedder.positions.weight, 0.03)


@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_xavier(tiny, gain) -> None:
    model = build_model(tiny(**BIG, init="xavier", init_gain=gain), seed=1)
    for linear in linears(model).values():
        assert_normal(linear.weight, gain * math.sqrt(2 / (linear.in_features + linear.out_features)))
        assert not linear.bias.any()
    assert_normal(model.embedder.tokens.weight, 0.02)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("nonlinearity", GAINS)
def test_kaiming(tiny, mode, nonlinearity) -> None:
    model = build_model(tiny(**BIG, init="kaiming", init_mode=mode, init_nonlinearity=nonlinearity), seed=1)
    for linear in linears(model).values():
        fan = linear.in_features if mode == "fan_in" else linear.out_features
        assert_normal(linear.weight, GAINS[nonlinearity] / math.sqrt(fan))
        assert not linear.bias.any()
    assert_normal(model.embedder.tokens.weight, 0.02)
    assert_normal(model.embedder.positions.weight, 0.02)


def test_none_is_what_torch_starts_with(tiny) -> None:
    model = build_model(tiny(**BIG, init="none", tie_embeddings=False), seed=1)
    for linear in [*linears(model).values(), model.head.out]:
        bound = 1 / math.sqrt(linear.in_features)
        assert linear.weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
        assert linear.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
        assert linear.bias is None or linear.bias.any()
    assert_normal(model.embedder.tokens.weight, 1.0)


@pytest.mark.parametrize("init", ["gpt2", "xavier", "kaiming", "none"])
@pytest.mark.parametrize("unit_offset", [False, True])
def test_norms_start_as_the_identity(tiny, init, unit_offset) -> None:
    fields = {"norm": "rmsnorm", "norm_unit_offset": True} if unit_offset else {}
    model = build_model(tiny(init=init, **fields), seed=1)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert parameter.eq(0 if unit_offset or name.endswith("bias") else 1).all()


@pytest.mark.parametrize("tied", [True, False])
def test_an_untied_head_is_a_linear_like_another(tiny, tied) -> None:
    model = build_model(tiny(**BIG, init="xavier", tie_embeddings=tied), seed=1)
    assert_normal(model.head.out.weight, 0.02 if tied else math.sqrt(2 / (256 + 500)))


@pytest.mark.parametrize(("init", "tied"), [("gpt2", True), ("gpt2", False), ("xavier", True), ("kaiming", True)])
def test_the_first_loss_is_that_of_a_uniform_guess(tiny, init, tied) -> None:
    """ln V, and half the variance of the logits, 256 * 0.02^2 / 2."""
    model = build_model(tiny(**BIG, n_layers=6, init=init, tie_embeddings=tied), seed=1)
    torch.manual_seed(0)
    ids, targets = torch.randint(0, 500, (16, 32)), torch.randint(0, 500, (16, 32))
    loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten()).item()
    assert loss == pytest.approx(math.log(500) + 256 * 0.02**2 / 2, abs=0.05)


@pytest.mark.parametrize("init", ["gpt2", "xavier", "kaiming", "none"])
def test_a_classifiers_head_is_cut_off_at_two_deviations(tiny, init) -> None:
    """As BERT's code draws it, whatever the rest is drawn from."""
    config = tiny(init=init, init_std=0.05, d_model=480, classifier_activation="tanh")
    head = build_model(config, "classification", num_labels=300, seed=0).head
    for linear in (head.dense, head.out):
        assert linear.weight.abs().max() <= 0.1
        assert (linear.weight.abs() > 0.099).any()
        torch.testing.assert_close(linear.weight.std().item(), 0.05 * 0.8796, rtol=0.01, atol=0)  # of what is left
        assert (linear.bias == 0).all()
    again = build_model(config, "classification", num_labels=300, seed=0).head
    assert torch.equal(again.out.weight, head.out.weight)


def test_a_new_masked_lm_head(tiny) -> None:
    """Its dense layer is drawn; its norm is the identity; the embedding it is tied to stays, an own matrix does not."""
    for tied in (True, False):
        model = build_model(tiny(causal=False, d_model=48, tie_embeddings=tied), "masked_lm", seed=0)
        nn.init.constant_(model.head.out.weight, 3.0)
        nn.init.constant_(model.head.out.bias, 3.0)
        torch.manual_seed(5)
        before = torch.get_rng_state()
        initialise_head(model.head, model.config, model.embedder.tokens.weight, seed=1)
        assert torch.equal(torch.get_rng_state(), before)
        assert (model.head.out.weight == 3).all() == tied
        assert 0 < model.head.dense.weight.abs().max() <= 0.04
        assert (model.head.out.bias == 0).all()
        assert (model.head.norm.weight == 1).all()


@pytest.mark.parametrize("init", ["gpt2", "xavier", "kaiming", "none"])
def test_a_seed_gives_the_same_weights_and_touches_nothing_else(tiny, init) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    models = [build_model(tiny(init=init), seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    first, again, other = (torch.cat([p.flatten() for p in m.parameters()]) for m in models)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    a, b = build_model(tiny(init=init)), build_model(tiny(init=init))
    assert not torch.equal(a.embedder.tokens.weight, b.embedder.tokens.weight)


def test_dtype_and_device(tiny) -> None:
    model = build_model(tiny(), dtype=torch.bfloat16, seed=1)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    exact = build_model(tiny(), seed=1).embedder.tokens.weight
    assert torch.equal(model.embedder.tokens.weight, exact.bfloat16())
    assert model.head.out.weight is model.embedder.tokens.weight
    assert {p.device.type for p in build_model(tiny(), device="meta", seed=1).parameters()} == {"meta"}
