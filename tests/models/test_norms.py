"""models/norms.py: against the formulas in double precision, and against the roundings of bf16."""

from __future__ import annotations

import pytest
import torch
from groundup.models.norms import RMSNorm, build_norm
from torch import Tensor, nn

SHAPES = [(7,), (3, 5), (2, 3, 17), (1, 1, 1, 129)]


def layernorm(x: Tensor, weight: Tensor, bias: Tensor | float, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight + bias


def rmsnorm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x * weight / (x.pow(2).sum(-1, keepdim=True) / x.shape[-1] + eps).sqrt()


def with_gradients(function, *tensors: Tensor) -> list[Tensor]:
    """The result, and the gradients of a fixed weighted sum of it, all in double precision."""
    leaves = [tensor.detach().double().requires_grad_() for tensor in tensors]
    result = function(*leaves)
    weights = torch.arange(result.numel(), dtype=torch.float64).reshape(result.shape).cos()
    return [result.detach(), *torch.autograd.grad((result * weights).sum(), leaves)]


def check(norm: nn.Module, x: Tensor, formula, tolerance: float = 1e-5) -> None:
    parameters = list(norm.parameters())
    x = x.clone().requires_grad_()
    y = norm(x)
    weights = torch.arange(y.numel(), dtype=torch.float64).reshape(y.shape).cos().float()
    ours = [y, *torch.autograd.grad((y * weights).sum(), [x, *parameters])]
    for a, b in zip(ours, with_gradients(formula, x, *parameters), strict=True):
        torch.testing.assert_close(a, b.float(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("unit_offset", [False, True])
def test_rmsnorm(shape, unit_offset) -> None:
    torch.manual_seed(0)
    norm = RMSNorm(shape[-1], 1e-3, unit_offset)
    assert norm.weight.eq(0 if unit_offset else 1).all()
    nn.init.normal_(norm.weight)
    offset = 1 if unit_offset else 0
    check(norm, torch.randn(shape) * 3, lambda x, w: rmsnorm(x, w + offset, 1e-3))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [False, True])
def test_layernorm(tiny, shape, bias) -> None:
    torch.manual_seed(0)
    norm = build_norm(tiny(norm_eps=1e-3, norm_bias=bias), shape[-1])
    assert norm is not None
    assert len(list(norm.parameters())) == 1 + bias
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    check(norm, torch.randn(shape) * 3 + 1, lambda x, w, b=0.0: layernorm(x, w, b, 1e-3), 2e-5)


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_rmsnorm_of_half_precision_has_fp32_statistics(scale) -> None:
    torch.manual_seed(0)
    for dtype in (torch.bfloat16, torch.float16):  # 300^2 is more than fp16 can hold
        x, weight = (torch.randn(4, 33) * scale).to(dtype), torch.randn(33).to(dtype)
        exact = rmsnorm(x.float(), torch.ones(33), 1e-6)
        llama, gemma = RMSNorm(33, 1e-6).to(dtype), RMSNorm(33, 1e-6, unit_offset=True).to(dtype)
        with torch.no_grad():
            llama.weight.copy_(weight)
            gemma.weight.copy_(weight)
        assert torch.equal(llama(x), exact.to(dtype) * weight)  # rounded, then multiplied
        assert torch.equal(gemma(x), (exact * (1 + weight.float())).to(dtype))  # multiplied, then rounded


def test_kinds(tiny) -> None:
    config = tiny(norm="rmsnorm", norm_eps=0.5, norm_unit_offset=True)
    norm = build_norm(config, 5)
    assert isinstance(norm, RMSNorm)
    assert (norm.eps, norm.unit_offset, norm.weight.shape) == (0.5, True, (5,))
    assert build_norm(config, 5, "none") is None
    layer_norm = build_norm(config, 5, "layernorm")
    assert isinstance(layer_norm, nn.LayerNorm)
    assert layer_norm.eps == 0.5
