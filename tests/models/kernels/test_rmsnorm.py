"""models/kernels/rmsnorm.py against models/norms.py."""

from __future__ import annotations

import pytest
import torch
from groundup.models import norms
from groundup.models.norms import HandWritten, RMSNorm, rms_norm
from outcomes import TOLERANCES, compare, outcome

# One row, widths that are no power of two, more rows than the tiles of one program, a row above a tile.
SHAPES = [(7,), (1, 2), (2, 3, 17), (37, 129), (2, 2500), (5, 0, 3)]
DTYPES = [(torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16), (torch.bfloat16, torch.float32)]


@pytest.mark.parametrize("unit_offset", [False, True])
@pytest.mark.parametrize(("dtype", "weight_dtype"), DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_its_twin(shape, dtype, weight_dtype, unit_offset: bool, device: torch.device) -> None:
    from groundup.models.kernels.rmsnorm import rms_norm as kernel

    torch.manual_seed(0)
    x = (torch.randn(shape) * 3).to(device, dtype)
    weight = torch.randn(shape[-1]).to(device, weight_dtype)
    expected = outcome(lambda x, w: rms_norm(x, w, 1e-3, unit_offset), x, weight)
    compare(outcome(lambda x, w: kernel(x, w, 1e-3, unit_offset), x, weight), expected)
    by_hand = outcome(lambda x, w: HandWritten.apply(x, w, 1e-3, unit_offset), x, weight)
    compare(by_hand, expected, TOLERANCES | {torch.float32: 1e-6})


def strided(layout: str) -> torch.Tensor:
    x = torch.randn(2, 3, 5, 12)
    if layout == "rows apart":
        return x[..., :7]
    if layout == "columns apart":
        return x[..., ::2]
    if layout == "expanded":
        return x[:, :1].expand(2, 3, 5, 12)
    return x.permute(1, 2, 0, 3)  # none of whose dimensions comes first where it was, nor where it went


@pytest.mark.parametrize("layout", ["rows apart", "columns apart", "expanded", "permuted"])
def test_strides(layout: str, device: torch.device) -> None:
    from groundup.models.kernels.rmsnorm import rms_norm as kernel

    torch.manual_seed(0)
    x = strided(layout).to(device)
    weight = torch.randn(x.shape[-1], device=device)
    expected = outcome(lambda x, w: rms_norm(x, w, 1e-3), x, weight)
    ours = outcome(lambda x, w: kernel(x, w, 1e-3), x, weight)
    compare(ours, expected)
    if layout == "permuted":
        assert ours[0].stride() == x.stride()
    compare(outcome(lambda x, w: HandWritten.apply(x, w, 1e-3, False), x, weight), expected)


@pytest.mark.parametrize("of_weight", [False, True])
def test_no_gradient_that_is_not_asked_for(of_weight: bool, device: torch.device) -> None:
    from groundup.models.kernels.rmsnorm import rms_norm as kernel

    torch.manual_seed(0)
    x, weight = torch.randn(3, 5, device=device), torch.randn(5, device=device)
    leaf = (weight if of_weight else x).requires_grad_()
    expected = torch.autograd.grad(rms_norm(x, weight, 1e-3).cos().sum(), leaf)
    for function in (kernel, HandWritten.apply):
        compare(list(torch.autograd.grad(function(x, weight, 1e-3, False).cos().sum(), leaf)), list(expected))


def test_by_hand_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training on a CPU, on enough elements; under autocast, too, its sums are taken in fp32."""
    monkeypatch.setattr(norms, "_SMALL", 12)
    norm = RMSNorm(6, 1e-5)
    x = torch.randn(2, 6)
    assert "HandWritten" in type(norm(x).grad_fn).__name__
    assert "HandWritten" not in type(norm(x[:1]).grad_fn).__name__
    assert "HandWritten" not in type(norm(x.double()).grad_fn).__name__
    with torch.no_grad():
        assert torch.equal(norm(x), rms_norm(x, norm.weight, 1e-5))
    leaf = x.clone().requires_grad_()
    gradients = []
    for function in (norm, lambda x: rms_norm(x, norm.weight, 1e-5)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            gradients.append(list(torch.autograd.grad(function(leaf).cos().sum(), [leaf, norm.weight])))
    compare(*gradients)
