"""Triton kernels against the definition, interpreted without a GPU and compiled with one."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from groundup.errors import UserError
from groundup.models.quant import Linear4bit, dequantize_4bit, nf4, quantize_4bit
from torch import Tensor, nn

pytestmark = pytest.mark.filterwarnings("ignore:(invalid value|overflow|divide by zero):RuntimeWarning")

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def defined(weight: Tensor, kind: str, block_size: int, double_quant: bool = True) -> nf4.Quantized4bit:
    """Quantised in plain torch, on the CPU."""
    return quantize_4bit(weight.cpu(), kind, block_size, double_quant)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("block_size", [32, 64, 4096])
def test_quantise(kernels: ModuleType, device: torch.device, hard: Tensor, kind: str, block_size: int) -> None:
    for dtype in DTYPES:
        flat = hard.to(dtype).flatten()
        packed, absmax = kernels.quantize(flat.to(device), kind, block_size)
        expected, maxima = nf4._quantize(flat, kind, block_size)
        assert torch.equal(absmax.cpu()[absmax.isfinite().cpu()], maxima[maxima.isfinite()])
        if maxima.isfinite().all():
            assert torch.equal(packed.cpu(), expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_seen(kernels: ModuleType, device: torch.device, value: float) -> None:
    flat = torch.ones(200, device=device)
    flat[150] = value
    assert kernels.quantize(flat, "nf4", 64)[1].isfinite().tolist() == [True, True, False, True]


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("block_size", [32, 64, 4096])
@pytest.mark.parametrize("double_quant", [False, True])
def test_dequantise(
    kernels: ModuleType, device: torch.device, hard: Tensor, kind: str, block_size: int, double_quant: bool
) -> None:
    quantized = defined(hard, kind, block_size, double_quant)
    for dtype in DTYPES:
        out = torch.full((hard.numel() + 8,), 7, dtype=dtype, device=device)
        kernels.dequantize(quantized.to(device), out[: hard.numel()])
        assert torch.equal(out[: hard.numel()].cpu().view(hard.shape), dequantize_4bit(quantized, dtype))
        assert (out[hard.numel() :] == 7).all()


@pytest.mark.parametrize("shape", [(9, 64), (17, 130), (3, 2562), (4, 2)])
@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("block_size", [64, 4096])
def test_few_rows(
    kernels: ModuleType, device: torch.device, shape: tuple[int, int], rows: int, block_size: int
) -> None:
    generator = torch.Generator().manual_seed(rows)
    weight, x = torch.randn(*shape, generator=generator), torch.randn(rows, shape[1], generator=generator)
    bias = torch.randn(shape[0], generator=generator)
    for double_quant in (False, True):
        quantized = defined(weight, "nf4", block_size, double_quant)
        for dtype, rtol in ((torch.float32, 1e-5), (torch.bfloat16, 2**-8), (torch.float16, 2**-11)):
            dense = dequantize_4bit(quantized, dtype)  # rounded to the dtype of x, as if it had been unpacked
            b = bias.to(dtype) if double_quant else None
            y = kernels.few_rows(x.to(device, dtype), quantized.to(device), None if b is None else b.to(device))
            exact = F.linear(x.to(dtype).double(), dense.double(), None if b is None else b.double())
            torch.testing.assert_close(y.double().cpu(), exact, rtol=rtol, atol=1e-5 * exact.abs().max().item())
            assert y.dtype == dtype


@pytest.fixture
def on_kernels(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU tensors take the kernels too."""
    from groundup.models.quant import linear

    monkeypatch.setattr(nf4, "has_kernels", lambda device: True)
    monkeypatch.setattr(linear, "has_kernels", lambda device: True)


@pytest.mark.usefixtures("on_kernels")
@pytest.mark.parametrize("width", [64, 37])
def test_the_layer_and_the_functions_take_them(
    device: torch.device, width: int, kernels: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    dense = nn.Linear(width, 21).to(device)
    layer = Linear4bit.from_linear(dense)
    definition = defined(dense.weight, "nf4", 64)
    for name, tensor in layer.quantized().tensors().items():
        assert torch.equal(tensor.cpu(), definition.tensors()[name])
    assert torch.equal(layer.dequantize().cpu(), dequantize_4bit(definition))
    calls: list[int] = []
    few_rows = kernels.few_rows
    monkeypatch.setattr(kernels, "few_rows", lambda x, *more: calls.append(len(x)) or few_rows(x, *more))
    rounded = layer.to_linear()
    for shape in ((width,), (1, width), (2, 4, width), (9, width), (0, width)):
        x = torch.randn(*shape, device=device)
        with torch.no_grad():
            torch.testing.assert_close(layer(x), rounded(x), rtol=1e-5, atol=1e-5)
        x, x_dense = x.clone().requires_grad_(), x.clone().requires_grad_()
        layer(x).sum().backward()
        rounded(x_dense).sum().backward()
        torch.testing.assert_close(x.grad, x_dense.grad, rtol=1e-5, atol=1e-5)
    assert calls == ([1, 1, 8] if width % 2 == 0 else [])
    with pytest.raises(UserError, match="not finite"):
        quantize_4bit(torch.full((3, 3), torch.inf, device=device))
    with torch.no_grad(), pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        layer(torch.ones(2, 2 * width, device=device))


COMPILE = """
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from groundup.models.quant import kernels as k

def compiled(kernel, types, sizes):
    names = kernel.arg_names
    signature = dict(zip(names, types.split() + ["constexpr"] * len(sizes), strict=True))
    hints = {(i,): [["tt.divisibility", 16]] for i, t in enumerate(types.split()) if t != "fp32"}
    source = ASTSource(kernel, signature, sizes, hints)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": False}).asm["ptx"]

numbers = "*fp32 *fp32 *fp32 *fp32"
for nested, absmax in ((0, "*fp32"), (256, "*u8")):
    ptx = compiled(k._dequantize, f"*u8 {absmax} {numbers} *bf16 i32 i32", {"B": 64, "K": 32, "NESTED": nested})
    assert "st.global.v4" in ptx and "ld.global.v2" in ptx  # whole words, not byte by byte
    assert "fma" not in ptx and "ftz" not in ptx  # rounded as the definition is
compiled(k._quantize, "*bf16 *u8 *fp32 *fp32 *i32 i32 i32 fp32", {"B": 64, "K": 16})
for rows in (1, 8):
    sizes = dict(HALF=32, ROWS=rows, ROW_TILE=4, BYTE_TILE=1024 // rows, SPAN=32)
    sizes |= dict(ALIGNED=True, NESTED=256, HAS_BIAS=True)
    compiled(k._few_rows, f"*u8 *u8 {numbers} *bf16 *bf16 *bf16 i32 i32 i32 i32", sizes)
"""


@pytest.mark.slow
def test_they_compile_for_hopper_without_a_gpu(tmp_path: object) -> None:
    pytest.importorskip("triton.backends.nvidia")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", COMPILE], check=True, env=environment)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4096, 4096), (1000, 3333)])
def test_large_weights_on_cuda(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    for double_quant in (False, True):
        ours, definition = (
            quantize_4bit(weight.cuda(), double_quant=double_quant),
            defined(weight, "nf4", 64, double_quant),
        )
        for name, tensor in ours.tensors().items():
            assert torch.equal(tensor.cpu(), definition.tensors()[name])
        for result in DTYPES:
            assert torch.equal(dequantize_4bit(ours, result).cpu(), dequantize_4bit(definition, result))


@pytest.mark.gpu
def test_training_on_cuda_under_autocast() -> None:
    torch.manual_seed(0)
    layer = Linear4bit.from_linear(nn.Linear(1024, 512).cuda())
    dense = layer.to_linear()
    x = torch.randn(4, 100, 1024, device="cuda")
    grads = []
    for module in (layer, dense):
        inputs = x.clone().requires_grad_()
        with torch.autocast("cuda", torch.bfloat16):
            y = module(inputs)
        y.float().square().sum().backward()
        grads.append((y, inputs.grad))
    torch.testing.assert_close(grads[0], grads[1])
