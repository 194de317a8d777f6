"""Memory to unpack into, and what is imported when."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import torch
from groundup.models.device import has_kernels
from groundup.models.quant.devices import Workspace, new_tensor

CPU = torch.device("cpu")


@pytest.mark.parametrize("numel", [1, 2**20, 2**22 + 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_new_tensors_are_whole(numel: int, dtype: torch.dtype) -> None:
    tensor = new_tensor(numel, dtype, CPU)
    assert (tensor.shape, tensor.dtype) == ((numel,), dtype)
    tensor.fill_(3)
    assert tensor.sum() == 3 * numel or dtype == torch.bfloat16
    held = tensor[-1:]
    del tensor
    assert held.item() == 3  # a view keeps the memory


def test_a_workspace_grows_and_is_used_again() -> None:
    workspace = Workspace()
    small = workspace.take(10, torch.bfloat16)
    assert workspace.take(5, torch.float32).data_ptr() == small.data_ptr()
    large = workspace.take(2**21, torch.float32)
    assert large.numel() == 2**21
    assert workspace.take(2**22, torch.bfloat16).data_ptr() == large.data_ptr()
    assert workspace.take(3, torch.float64).shape == (3,)


def test_threads_have_their_own() -> None:
    workspace = Workspace()
    mine, others = workspace.take(100, torch.float32), []
    thread = threading.Thread(target=lambda: others.append(workspace.take(100, torch.float32)))
    thread.start()
    thread.join()
    assert others[0].data_ptr() != mine.data_ptr()


def test_only_cuda_has_kernels() -> None:
    assert not has_kernels(CPU)
    assert not has_kernels(torch.device("meta"))


def test_nothing_is_imported_before_it_is_used() -> None:
    check = (
        "import sys; import groundup.models, groundup.models.quant; assert 'torch' not in sys.modules;"
        "from groundup.models.quant import Linear4bit, quantize_4bit; assert 'triton' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
