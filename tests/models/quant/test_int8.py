"""Row-wise int8 weights against bitsandbytes' and against the formula."""

from __future__ import annotations

import pytest
import torch
from groundup.errors import UserError
from groundup.models.quant import dequantize_int8, quantize_int8


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(1, 1), (5, 37), (64, 128), (700, 1031)])
def test_equals_bitsandbytes(shape: tuple[int, int]) -> None:
    """Theirs takes fp16 only; rows of zeros it divides by 0."""
    functional = pytest.importorskip("bitsandbytes.functional")
    weight = normal(*shape).half()
    codes, absmax, _ = functional.int8_vectorwise_quant(weight)
    ours = quantize_int8(weight)
    assert torch.equal(ours.codes, codes)
    assert torch.equal(ours.absmax, absmax)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):  # as MatMul8bitFp does, which trains on a CPU
        theirs = codes.to(dtype).mul_(absmax.unsqueeze(1).mul(1.0 / 127.0))
        assert torch.equal(dequantize_int8(ours, dtype), theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_number_is_further_off_than_half_a_step(dtype: torch.dtype) -> None:
    weight = (normal(33, 70) * torch.arange(33)[:, None]).to(dtype)
    quantized = quantize_int8(weight)
    found = dequantize_int8(quantized, torch.float64)
    half = weight.double().abs().amax(-1, keepdim=True) / 254
    assert ((weight.double() - found).abs() <= half * 1.0001).all()
    assert (found[0] == 0).all()
    assert quantized.nbytes() == 33 * 70 + 33 * 4
    assert dequantize_int8(quantized).dtype == dtype


def test_tiny_and_transposed_weights_are_fine() -> None:
    tiny = normal(3, 9) * torch.tensor([[0.0], [1e-41], [1e-35]])
    quantized = quantize_int8(tiny)
    assert (quantized.codes[0] == 0).all()
    assert quantized.codes[2].abs().max() == 127
    torch.testing.assert_close(dequantize_int8(quantized), tiny, rtol=0, atol=1e-37)
    assert torch.equal(quantize_int8(normal(30, 66).t()).codes, quantize_int8(normal(30, 66).t().contiguous()).codes)


def test_bad_input_is_refused() -> None:
    for wrong in (normal(3), normal(2, 3, 4), normal(0, 3)):
        with pytest.raises(UserError, match="it must be a matrix"):
            quantize_int8(wrong)
    with pytest.raises(UserError, match=r"cannot quantise torch\.float64 to int8"):
        quantize_int8(normal(2, 3).double())
    for value in (float("nan"), float("inf")):
        weight = normal(2, 3)
        weight[1, 1] = value
        with pytest.raises(UserError, match="it holds a value that is not finite"):
            quantize_int8(weight)
    quantized = quantize_int8(normal(2, 3))
    for wrong in (torch.empty(7), torch.empty(6, dtype=torch.bfloat16), torch.empty(3, 4)[:, :2]):
        with pytest.raises(UserError, match="needed are 6 contiguous elements"):
            dequantize_int8(quantized, torch.float32, wrong)
