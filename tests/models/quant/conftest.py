"""Kernels run in Triton's interpreter where there is no GPU; tensors that are hard to quantise."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where kernels are tried."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """The module of Triton kernels, compiled on CUDA, interpreted elsewhere."""
    pytest.importorskip("triton")
    if not torch.cuda.is_available():
        from triton.runtime import interpreter

        if os.environ.get("TRITON_INTERPRET") != "1":
            pytest.skip("a GPU, but no torch that uses it")

        monkeypatch.setattr(interpreter, "_convert_float", _with_bf16(interpreter._convert_float))
    from groundup.models.quant import kernels

    return kernels


def _with_bf16(convert: Callable[..., Any]) -> Callable[..., Any]:
    """The interpreter cuts bf16 off where a GPU rounds to nearest even, and misreads small ones; this does not."""
    import numpy as np
    import triton.language as tl

    def exact(data: Any, source: object, target: object, mode: object) -> Any:
        if (source, target) == (tl.float32, tl.bfloat16):
            rounded = torch.tensor(np.ascontiguousarray(data).view(np.float32)).to(torch.bfloat16)
            return rounded.view(torch.int16).numpy().view(np.uint16).reshape(np.shape(data))
        if (source, target) == (tl.bfloat16, tl.float32):
            return (np.ascontiguousarray(data).view(np.uint16).astype(np.uint32) << 16).reshape(np.shape(data))
        return convert(data, source, target, mode)

    return exact


def _hard(name: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    if name in ("ties", "scaled ties"):  # every code's number and every midpoint, and what is next to them
        from groundup.models.quant.codebooks import boundaries, codebook

        cpu = torch.device("cpu")
        numbers = torch.cat([torch.cat([codebook(k, cpu), boundaries(k, cpu)[0]]) for k in ("nf4", "fp4")])
        near = torch.cat([numbers, numbers.nextafter(torch.tensor(2.0)), numbers.nextafter(torch.tensor(-2.0))])
        near = near.clamp(-1, 1)
        if name == "ties":
            return torch.cat([torch.ones(1), near])
        blocks = torch.nn.functional.pad(near, (0, -len(near) % 60)).view(-1, 60)
        blocks = torch.nn.functional.pad(blocks, (2, 2), value=1.0).repeat(20, 1)  # (80, 64)
        return (blocks * normal(80, 1)).flatten()[:-3]  # the last block is short
    tensors = {
        "random": lambda: normal(48, 130),
        "vector": lambda: normal(101),
        "one": lambda: normal(1),
        "constant": lambda: torch.full((7, 65), -0.3),
        "zero": lambda: torch.zeros(5, 64),
        "some zero blocks": lambda: normal(6, 4096) * (torch.arange(6) % 2)[:, None],
        "subnormal": lambda: normal(5, 67) * 1e-41,
        "tiny": lambda: normal(5, 67) * 1e-38,
        "huge": lambda: normal(9, 67).clamp(-3, 3) * 1e36,
        "outliers": lambda: normal(20, 33).pow(9),
        "many blocks": lambda: normal(140, 129) * torch.arange(140)[:, None],
    }
    return tensors[name]()


HARD = ("random", "vector", "one", "constant", "zero", "some zero blocks", "subnormal", "tiny", "huge", "outliers")


@pytest.fixture(params=[*HARD, "many blocks", "ties", "scaled ties"])
def hard(request: pytest.FixtureRequest) -> torch.Tensor:
    """Each of the tensors that something could go wrong with, in fp32."""
    return _hard(request.param)
