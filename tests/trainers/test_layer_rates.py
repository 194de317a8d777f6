"""Rates by layer: thirds, decay and patterns by hand; the update of each parameter at its own rate."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.models import ModelConfig, build_model
from groundup.models.lora import add_lora
from groundup.models.replaced import attach_generator, generator_config
from groundup.trainers.layer_rates import describe_factors, layer_factors
from groundup.trainers.optimizers import build_adamw, parameter_groups, set_learning_rate
from groundup.trainers.schedules import LearningRate

SIZES: dict[str, Any] = {"vocab_size": 31, "d_model": 12, "n_heads": 3, "d_ff": 20, "max_seq_len": 16}


def model_of(n_layers: int, **settings: Any) -> Any:
    return build_model(ModelConfig(**{**SIZES, **settings}, n_layers=n_layers), seed=0)


@pytest.mark.parametrize(
    ("n_layers", "by_layer"),
    [
        (12, [0.1] * 4 + [0.5] * 4 + [1.0] * 4),  # as the document cuts GPT-2: h[:4], h[4:8], h[8:]
        (6, [0.1, 0.1, 0.5, 0.5, 1.0, 1.0]),
        (4, [0.1, 0.1, 0.5, 1.0]),
        (2, [0.1, 0.5]),
        (1, [0.1]),
    ],
)
def test_thirds(n_layers: int, by_layer: list[float]):
    model = model_of(n_layers, tie_embeddings=False)
    factors = layer_factors(model, "thirds", None)
    assert factors.keys() == dict(model.named_parameters()).keys()
    for name, factor in factors.items():
        if name.startswith("core.layers."):
            assert factor == by_layer[int(name.split(".")[2])], name
        else:
            assert factor == (0.1 if name.startswith("embedder.") else 1.0), name
    tied = layer_factors(model_of(n_layers, tie_embeddings=True), "thirds", None)
    assert tied["embedder.tokens.weight"] == 0.1


def test_decay_by_layer():
    """BEiT's: from the head at 1 down to the embeddings at decay^(L + 1)."""
    factors = layer_factors(model_of(3, tie_embeddings=False), None, 0.5)
    expected = {"embedder": 1 / 16, "0": 1 / 8, "1": 1 / 4, "2": 1 / 2, "norm": 1.0, "head": 1.0}
    for name, factor in factors.items():
        words = name.split(".")
        part = words[2] if name.startswith("core.layers.") else words[1] if words[0] == "core" else words[0]
        assert factor == expected[part], name


def test_the_first_pattern_that_fits_counts():
    model = model_of(12, tie_embeddings=False)
    rule = {"core.layers.3": 0.25, "core.layers.[0-4].*": 0.5, "embedder": 0.1, "*.bias": 2.0, "core.layers.1?": 0.75}
    factors = layer_factors(model, rule, None)
    for name, factor in factors.items():
        layer = int(name.split(".")[2]) if name.startswith("core.layers.") else None
        if layer == 3:
            expected = 0.25
        elif layer is not None and layer <= 4:
            expected = 0.5
        elif name.startswith("embedder."):
            expected = 0.1
        elif name.endswith(".bias"):
            expected = 2.0
        else:
            expected = 0.75 if layer in (10, 11) else 1.0
        assert factor == expected, name


def test_a_pattern_that_fits_nothing_is_an_error():
    with pytest.raises(
        UserError, match=r"nothing that trains is called 'core\.layer\.0'\. Did you mean 'core\.layers\.0'"
    ):
        layer_factors(model_of(2), {"embedder": 0.1, "core.layer.0": 0.5}, None)
    model = model_of(2)
    model.embedder.requires_grad_(False)
    with pytest.raises(UserError, match="nothing that trains is called 'embedder'"):
        layer_factors(model, {"embedder": 0.1}, None)


def test_adapters_have_the_rates_of_their_layers():
    model = model_of(3)
    add_lora(model, rank=2)
    factors = layer_factors(model, "thirds", None)
    assert factors
    assert all("lora" in name for name in factors)
    assert {factor for name, factor in factors.items() if ".layers.1." in name} == {0.5}


@pytest.mark.parametrize(("rule", "decay"), [("thirds", None), (None, 0.5)])
def test_a_generator_has_the_rates_of_its_own_layers(rule: Any, decay: float | None):
    """What is new of it learns as fast as the discriminator's; what they share is the discriminator's."""
    model = build_model(ModelConfig(**SIZES, n_layers=3, causal=False), "replaced_token", seed=0)
    attach_generator(model, generator_config(model.config, 1 / 3), seed=1)
    factors = layer_factors(model, rule, decay)
    own = {name: factor for name, factor in factors.items() if not name.startswith("generator.")}
    assert own == layer_factors(build_model(model.config, "replaced_token", seed=0), rule, decay)
    of_it = {name.removeprefix("generator."): factor for name, factor in factors.items() if name not in own}
    expected = layer_factors(build_model(generator_config(model.config, 1 / 3), "masked_lm", seed=0), rule, decay)
    assert of_it
    assert of_it == {name: expected[name] for name in of_it}
    assert {factor for name, factor in of_it.items() if name.startswith("head.")} == {1.0}
    last = describe_factors(parameter_groups(model, 0.0, factors)).splitlines()[-1]
    names = ["layer 2", "last norm", "head"] if rule == "thirds" else ["last norm", "head"]
    assert last.endswith(", ".join([*names, *(f"the generator's {name}" for name in names)]))


def test_every_parameter_moves_at_its_own_rate():
    """AdamW's first step is lr x sign of the gradient: so each parameter moves by its factor, decay apart."""
    model = model_of(6, tie_embeddings=False)
    factors = layer_factors(model, "thirds", None)
    groups = parameter_groups(model, 0.1, factors)
    assert sorted(name for group in groups for name in group["names"]) == sorted(factors)
    assert {(g["lr_scale"], g["weight_decay"]) for g in groups} == {(f, d) for f in (0.1, 0.5, 1.0) for d in (0.1, 0.0)}
    decays = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert all((decay > 0) == (p.dim() >= 2) for (name, p) in model.named_parameters() for decay in [decays[name]])
    optimizer = build_adamw(groups, lr=1.0, betas=(0.9, 0.999), eps=1e-12)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    rate = LearningRate(peak=1e-2, floor=1e-7, warmup=4, decay_steps=20, shape="linear").at(1)
    set_learning_rate(optimizer, rate)
    optimizer.step()
    for name, p in model.named_parameters():
        lr = rate * factors[name]
        assert p.grad is not None
        expected = before[name] * (1 - lr * decays[name]) - lr * p.grad.sign()
        torch.testing.assert_close(p.detach(), expected, atol=1e-6, rtol=1e-5, msg=name)


def test_no_group_s_rate_ever_rises_after_warmup():
    """The lowest rate is multiplied by the factor as well."""
    schedule = LearningRate(peak=2e-5, floor=1e-7, warmup=2, decay_steps=10, shape="linear")
    optimizer = build_adamw(
        parameter_groups(model := model_of(3), 0.0, layer_factors(model, "thirds", None)),
        lr=1,
        betas=(0.9, 0.99),
        eps=1,
    )
    rates = []
    for step in range(2, 12):
        set_learning_rate(optimizer, schedule.at(step))
        rates.append([group["lr"] for group in optimizer.param_groups])
    for one, other in pairwise(rates):
        assert all(b <= a for a, b in zip(one, other, strict=True))
    assert rates[-1] == [pytest.approx(1e-7 * group["lr_scale"]) for group in optimizer.param_groups]


def test_what_a_person_reads():
    model = model_of(3, tie_embeddings=False)
    text = describe_factors(parameter_groups(model, 0.1, layer_factors(model, "thirds", None)))
    count = sum(p.numel() for name, p in model.named_parameters() if name.startswith(("embedder", "core.layers.0.")))
    assert text.splitlines()[0] == f"rate      0.1      x {count:,} parameters: embedder, layer 0"
    assert text.splitlines()[2].endswith("layer 2, last norm, head")
