# ruff: noqa: C408 (fields read better as keywords)
"""Small models with adapters on them whose every weight is random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from groundup.models import Model
from groundup.models.lora import add_lora
from small import GPT2, LLAMA, NEOX, build
from torch import Tensor, nn

FIELDS: dict[str, dict[str, Any]] = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "neox": NEOX,
    "own": LLAMA | dict(positions="sincos", share_ffn=True),  # no family has it
}


class Packed(nn.Module):
    """A layer that multiplies as a Linear does, and shows its weight only when asked."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        self.register_buffer("weight", (linear.weight.detach() * 64).round().to(torch.int8))

    def dequantize(self, dtype: torch.dtype | None = None) -> Tensor:
        return self.get_buffer("weight").to(dtype or torch.float32) / 64

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.dequantize(x.dtype), self.bias)


def stir(model: nn.Module, seed: int = 1) -> None:
    """Noise on all that trains."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


def make(name: str = "gpt2", task: str = "causal_lm", num_labels: int | None = None, **changes: Any) -> Model:
    """A model without adapters."""
    return build(task, num_labels, **FIELDS[name] | changes)


def adapted(name: str = "gpt2", **arguments: Any) -> Model:
    """A model with adapters of rank 3, and noise on them."""
    model = make(name)
    add_lora(model, **{"rank": 3, "alpha": 5, "target_modules": "all-linear", "seed": 0} | arguments)
    stir(model)
    return model


@pytest.fixture(name="make")
def _make() -> Callable[..., Model]:
    """make(name, task, num_labels, **fields): a model without adapters."""
    return make


@pytest.fixture(name="adapted")
def _adapted() -> Callable[..., Model]:
    """adapted(name, **arguments of add_lora): a model with random adapters."""
    return adapted


@pytest.fixture(name="stir")
def _stir() -> Callable[..., None]:
    """stir(model): noise on all that trains."""
    return stir


@pytest.fixture
def ids() -> Tensor:
    """Ids (B, T)."""
    return torch.randint(0, 37, (3, 11), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def pack() -> Callable[[nn.Linear], nn.Module]:
    """pack(linear): a layer with a packed weight."""
    return Packed
