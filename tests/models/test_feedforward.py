"""models/feedforward.py: each activation against its formula, and the two forms of the layer."""

from __future__ import annotations

import math

import pytest
import torch
from groundup.models.feedforward import ACTIVATIONS, FeedForward
from torch import Tensor, nn

FORMULAS = {
    "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: max(x, 0.0),
    "leakyrelu": lambda x: x if x > 0 else 0.01 * x,
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "none": lambda x: x,
}


def by_hand(name: str, x: Tensor) -> Tensor:
    return torch.tensor([FORMULAS[name](value) for value in x.double().flatten().tolist()]).view(x.shape)


def test_there_is_a_formula_for_each() -> None:
    assert list(ACTIVATIONS) == list(FORMULAS)


@pytest.mark.parametrize("name", FORMULAS)
def test_activation(name) -> None:
    x = torch.linspace(-6, 6, 101).requires_grad_()
    y = ACTIVATIONS[name](x)
    torch.testing.assert_close(y, by_hand(name, x), atol=1e-6, rtol=1e-5)
    (slope,) = torch.autograd.grad(y.sum(), x)
    step = 1e-5
    numeric = [(FORMULAS[name](v + step) - FORMULAS[name](v - step)) / (2 * step) for v in x.double().tolist()]
    away_from_kinks = x.abs() > 1e-3
    torch.testing.assert_close(slope[away_from_kinks], torch.tensor(numeric)[away_from_kinks], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_layer(tiny, name, gated, bias) -> None:
    torch.manual_seed(0)
    layer = FeedForward(tiny(d_model=12, d_ff=17, activation=name, gated=gated, ffn_bias=bias))
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    assert len(list(layer.parameters())) == (3 if gated else 2) * (2 if bias else 1)
    x = torch.randn(2, 3, 12)

    def linear(module: nn.Linear, x: Tensor) -> Tensor:
        y = torch.einsum("...i,oi->...o", x, module.weight)
        return y + module.bias if bias else y

    if gated:
        inner = by_hand(name, linear(layer.gate, x)) * linear(layer.up, x)
    else:
        inner = by_hand(name, linear(layer.up, x))
    torch.testing.assert_close(layer(x), linear(layer.down, inner), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("gated", [False, True])
def test_wide_activations_are_computed_again_not_kept(tiny, gated, monkeypatch) -> None:
    """The same values and gradients, from `up` and `gate` alone: (B, T, F) is kept once for each."""
    torch.manual_seed(0)
    layer = FeedForward(tiny(d_model=8, d_ff=17, activation="gelu", gated=gated, ffn_bias=True))
    x = torch.randn(2, 3, 8, requires_grad=True)

    def run() -> tuple[Tensor, list[Tensor], int]:
        wide = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal wide
            wide += tensor.shape[-1] == 17 and tensor.numel() == 2 * 3 * 17
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            y = layer(x)
        kept = wide
        return y, list(torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])), kept

    y, gradients, kept = run()
    monkeypatch.setattr("groundup.models.feedforward._LARGE", 2 * 3 * 17)
    y_again, gradients_again, kept_again = run()
    torch.testing.assert_close(y_again, y, rtol=0, atol=0)
    torch.testing.assert_close(gradients_again, gradients, rtol=0, atol=0)
    assert (kept, kept_again) == ((4, 2) if gated else (2, 1))
