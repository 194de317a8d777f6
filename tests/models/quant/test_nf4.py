"""4-bit weights against bitsandbytes' CPU backend, bit for bit, and against the definition in fp64."""

from __future__ import annotations

import pytest
import torch
from groundup.errors import UserError
from groundup.models.quant import dequantize_4bit, quantize_4bit
from groundup.models.quant.codebooks import codebook
from groundup.models.quant.nf4 import BLOCK_SIZES, block_maxima, stored_shapes
from torch.utils._python_dispatch import TorchDispatchMode

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("block_size", [32, 64, 128, 4096])
def test_equals_bitsandbytes(hard: torch.Tensor, kind: str, block_size: int) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    for dtype in DTYPES:
        weight = hard.to(dtype)
        if not weight.isfinite().all():
            continue  # out of fp16's range
        for double_quant in (False, True):
            packed, state = functional.quantize_4bit(
                weight, blocksize=block_size, quant_type=kind, compress_statistics=double_quant
            )
            ours = quantize_4bit(weight, kind, block_size, double_quant)
            assert torch.equal(ours.packed, packed.view(-1))
            assert torch.equal(ours.absmax, state.absmax)
            if double_quant:
                assert torch.equal(ours.nested_absmax, state.state2.absmax)
                assert torch.equal(ours.offset[0], state.offset)
            for result in DTYPES:
                assert torch.equal(dequantize_4bit(ours, result), theirs(packed, state, result))


def theirs(packed: torch.Tensor, state: object, dtype: torch.dtype) -> torch.Tensor:
    """Their dequantisation: by their C++, and by their code in torch where that is what they use or should.

    They use it for rows of odd width and for blocks of 2,048 and more, compiled, which takes seconds for each shape.
    For rows of a multiple of 16 elements but not of whole blocks their C++ takes other blocks' maxima (0.50.2, AVX512).
    """
    import bitsandbytes.functional as functional
    from bitsandbytes.backends.default.ops import _dequantize_4bit_compute

    width = state.shape[-1]
    if width % 2 or state.blocksize >= 2048 or (width % 16 == 0 and width % state.blocksize):
        absmax = state.absmax
        if state.nested:
            absmax = functional.dequantize_blockwise(state.absmax, state.state2) + state.offset
        compute = _dequantize_4bit_compute.__wrapped__
        return compute(packed.view(-1), absmax, state.code, state.blocksize, state.shape, dtype)
    state.dtype = dtype
    return functional.dequantize_4bit(packed, state).view(state.shape)


def test_rows_that_share_blocks_are_not_mixed_up() -> None:
    """The shapes that bitsandbytes gets wrong, by the definition."""
    weight = torch.randn(5, 80, generator=torch.Generator().manual_seed(0))
    quantized = quantize_4bit(weight, double_quant=False)
    codes = torch.stack([quantized.packed >> 4, quantized.packed & 15], -1).flatten().long()
    expected = codebook("nf4", weight.device)[codes] * quantized.absmax.repeat_interleave(64)[:400]
    assert torch.equal(dequantize_4bit(quantized), expected.view(5, 80))


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_takes_the_nearest_number(kind: str) -> None:
    weight = torch.randn(33, 71, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = dequantize_4bit(quantize_4bit(weight.float(), kind, 64, double_quant=False), torch.float64)
    padded = torch.nn.functional.pad(weight.flatten(), (0, -weight.numel() % 64)).view(-1, 64, 1)
    numbers = codebook(kind, weight.device).double() * padded.abs().amax(1, keepdim=True)
    nearest = (padded - numbers).abs().amin(-1).flatten()[: weight.numel()]
    torch.testing.assert_close((weight - found).abs().flatten(), nearest, rtol=0, atol=1e-6)


def test_the_first_element_is_in_the_high_nibble() -> None:
    quantized = quantize_4bit(torch.tensor([1.0, -1.0, 0.0]), double_quant=False)
    assert quantized.packed.tolist() == [0xF0, 0x77]


@pytest.mark.parametrize("double_quant", [False, True])
@pytest.mark.parametrize("numel", [1, 2, 65, 131_071, 131_072, 131_073, 300_001])
def test_chunks_join(numel: int, double_quant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done a chunk at a time is what is done at once; threads only change which lookup is used."""
    weight = torch.randn(numel, generator=torch.Generator().manual_seed(numel))
    quantized = quantize_4bit(weight, "fp4", 64, double_quant)
    codes = torch.stack([quantized.packed >> 4, quantized.packed & 15], -1).flatten()[:numel].long()
    scales = block_maxima(quantized).repeat_interleave(64)[:numel]
    expected = codebook("fp4", weight.device)[codes] * scales
    assert torch.equal(dequantize_4bit(quantized), expected)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert torch.equal(dequantize_4bit(quantized), expected)
    assert torch.equal(quantize_4bit(weight, "fp4", 64, double_quant).packed, quantized.packed)


def test_size_is_counted_in_bytes() -> None:
    weight = torch.zeros(256, 4096)
    assert quantize_4bit(weight).nbytes() == 2**19 + 2**14 + 4 * 64 + 4
    assert quantize_4bit(weight).bits_per_parameter() == pytest.approx(4.127, abs=1e-3)
    assert quantize_4bit(weight, double_quant=False).bits_per_parameter() == 4.5
    for double_quant in (False, True):
        quantized = quantize_4bit(torch.randn(7, 333), "nf4", 128, double_quant)
        shapes = {name: (tuple(t.shape), t.dtype) for name, t in quantized.tensors().items()}
        assert shapes == stored_shapes(7 * 333, 128, double_quant)


def test_any_layout_and_a_gradient_are_fine() -> None:
    weight = torch.randn(30, 66, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.equal(quantize_4bit(weight.t()).packed, quantize_4bit(weight.detach().t().contiguous()).packed)
    assert not dequantize_4bit(quantize_4bit(weight)).requires_grad


def test_writes_into_what_it_is_given() -> None:
    quantized = quantize_4bit(torch.randn(7, 9, generator=torch.Generator().manual_seed(0)))
    out = torch.full((64,), 7.0, dtype=torch.bfloat16)
    written = dequantize_4bit(quantized, out=out[:63])
    assert written.shape == (7, 9)
    assert torch.equal(out[:63].view(7, 9), dequantize_4bit(quantized, torch.bfloat16))
    assert out[63] == 7
    for wrong in (torch.empty(64), torch.empty(9, 7).t(), torch.empty(63, device="meta")):
        with pytest.raises(UserError, match="needed are 63 contiguous elements"):
            dequantize_4bit(quantized, out=wrong)
    with pytest.raises(UserError, match=r"needed are 63 .* torch\.float32"):
        dequantize_4bit(quantized, torch.float32, out=out[:63])


class Largest(TorchDispatchMode):
    """The most bytes that one operation made."""

    nbytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not func.is_view and result._base is None:
            self.nbytes = max(self.nbytes, result.nbytes)
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quantising_makes_no_copy_of_the_weight(dtype: torch.dtype) -> None:
    weight = torch.zeros(1024, 2048, dtype=dtype)
    with Largest() as largest:
        quantized = quantize_4bit(weight)
    assert largest.nbytes <= quantized.packed.nbytes  # 1/8 of the weight in fp32
    with Largest() as largest:
        dequantize_4bit(quantized, torch.bfloat16)
    assert largest.nbytes <= weight.numel() * 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 100, 129])
def test_what_is_not_finite_is_refused(value: float, place: int) -> None:
    weight = torch.ones(2, 65)
    weight.view(-1)[place] = value
    with pytest.raises(UserError, match=r"shape \(2, 65\): it holds a value that is not finite"):
        quantize_4bit(weight)


def test_other_bad_input_is_refused() -> None:
    weight = torch.ones(2, 64)
    with pytest.raises(UserError, match=r"'nf5' of 4-bit weights\. Did you mean 'nf4'\?"):
        quantize_4bit(weight, "nf5")
    with pytest.raises(UserError, match=r"block size 48 .* one of 32, 64, 128"):
        quantize_4bit(weight, block_size=48)
    with pytest.raises(UserError, match=r"cannot quantise torch\.float64"):
        quantize_4bit(weight.double())
    with pytest.raises(UserError, match="cannot quantise an empty tensor"):
        quantize_4bit(weight[:0])
    with pytest.raises(UserError, match="too large for double quantisation"):
        quantize_4bit(torch.full((2, 64), 3e38))
    assert dequantize_4bit(quantize_4bit(torch.full((2, 64), 3e38), double_quant=False)).unique().numel() == 1
    assert len(BLOCK_SIZES) == 8
