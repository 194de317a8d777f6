"""Where there is no GPU, Triton's interpreter runs the very kernels on tensors of the CPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest
import torch

if not torch.cuda.is_available() and "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where kernels are tried."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def _kernels_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        return
    from triton.runtime import interpreter

    assert os.environ.get("TRITON_INTERPRET") == "1", "triton was imported before the tests of kernels asked for it"
    monkeypatch.setattr(interpreter, "_convert_float", _rounding(interpreter._convert_float))


def _rounding(convert: Callable[..., object]) -> Callable[..., object]:
    """The interpreter cuts bf16 off where a GPU rounds to nearest even: this rounds."""
    import numpy as np
    import triton.language as tl

    def rounded(data: object, source: object, target: object, mode: object) -> object:
        if source == tl.float32 and target == tl.bfloat16:
            exact = torch.from_numpy(np.ascontiguousarray(data).view(np.float32).copy())
            return exact.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16).reshape(np.shape(data))
        return convert(data, source, target, mode)

    return rounded
