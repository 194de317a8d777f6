"""Memory of huge pages: as any tensor's, and given back. Freed memory of small ones: kept where a run asks for that."""

from __future__ import annotations

import copy
import mmap
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import groundup.trainers.trainer
import pytest
import torch
from groundup.models.config import ModelConfig
from groundup.models.memory import empty
from groundup.models.model import build_model
from groundup.trainers.settings import Settings
from groundup.trainers.trainer import Trainer
from safetensors.torch import load_file, save_file

CPU = torch.device("cpu")
LARGE = (1100, 1023)  # more than a huge page in fp32 and in bf16, a whole number of them in neither


def flags_of(tensor: torch.Tensor) -> list[str]:
    """What the kernel says of the mapping that a tensor lies in."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            start, end = (int(word, 16) for word in first.split("-"))
            inside = start <= tensor.data_ptr() < end
        elif inside and first == "VmFlags:":
            return line.split()[1:]
    return []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [LARGE, (3, 5), (0, 4)])
def test_it_is_a_tensor_as_any_other(shape: tuple[int, int], dtype: torch.dtype, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    content = torch.randn(shape, generator=generator).to(dtype)
    ours = empty(shape, dtype, CPU).copy_(content)
    assert (ours.shape, ours.dtype, ours.is_contiguous()) == (shape, dtype, True)
    assert torch.equal(ours, content)
    assert torch.equal(copy.deepcopy(ours), content)
    ours.requires_grad_().square().sum().backward()
    torch.testing.assert_close(ours.grad, 2 * content)
    save_file({"one": ours.detach(), "two": empty(shape, dtype, CPU).copy_(2 * content)}, tmp_path / "file")
    assert torch.equal(load_file(tmp_path / "file")["one"], content)
    assert ours.untyped_storage().nbytes() == content.untyped_storage().nbytes()


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="a kernel with huge pages")
def test_large_ones_may_lie_in_huge_pages() -> None:
    assert "hg" in flags_of(empty(LARGE, torch.float32, CPU))
    assert "hg" not in flags_of(empty((3, 5), torch.float32, CPU))


def test_a_system_that_refuses_the_advice_gives_small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmap, "MADV_HUGEPAGE", 12345, raising=False)  # EINVAL
    assert empty(LARGE, torch.float32, CPU).fill_(2).sum() == 2 * 1100 * 1023
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE")  # not Linux
    assert empty(LARGE, torch.float32, CPU).fill_(2).sum() == 2 * 1100 * 1023


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux")
def test_it_is_given_back_with_the_tensor() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    before = resident()
    tensor = empty((64, 2**18), torch.float32, CPU).fill_(1)  # 64 MiB
    assert resident() - before > 60 * 2**20
    view = tensor[3:4]
    del tensor
    assert resident() - before > 60 * 2**20
    assert view.sum() == 2**18
    del view
    assert resident() - before < 8 * 2**20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc")
def test_freed_memory_is_kept_for_the_next_tensors() -> None:
    faults = """
import resource, sys, torch
from groundup.models.memory import keep_freed
if sys.argv[1] == "kept":
    assert keep_freed()
def step():
    torch.ones(12 * 2**20)  # 48 MiB: more than glibc comes to keep by itself
counts = []
for _ in range(30):  # the heap has grown to its size after ten or so, by where small blocks come to lie
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(counts))
"""

    def run(word: str) -> int:
        return int(subprocess.run([sys.executable, "-c", faults, word], check=True, capture_output=True).stdout)

    assert run("kept") < 100  # of 12,288 pages
    assert run("not") > 2000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc")
def test_where_memory_is_limited_what_is_freed_can_be_anything_again() -> None:
    """glibc would put what follows a freed block of 24 MiB on its heap, whose top a small block then holds."""
    told = """
import re, resource, sys, torch
from groundup.models.memory import keep_freed
def data():
    return int(re.search(r"VmData:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024
if sys.argv[1] == "limited":
    resource.setrlimit(resource.RLIMIT_DATA, (2**34, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    assert not keep_freed()
first = torch.ones(6 * 2**20)  # 24 MiB
del first
before = data()
many = [torch.ones(5 * 2**20) for _ in range(10)]  # 20 MiB
small = [torch.ones(100 * i) for i in range(1, 100)]
del many
print(data() - before)
"""

    def run(word: str) -> int:
        return int(subprocess.run([sys.executable, "-c", told, word], check=True, capture_output=True).stdout)

    assert run("limited") < 20
    assert run("not") > 150  # MiB of 200: otherwise the test shows nothing


def test_who_trains_on_a_cpu_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(groundup.trainers.trainer, "keep_freed", lambda: asked.append(True))
    nothing = cast(Any, None)
    model = build_model(ModelConfig(vocab_size=7, d_model=4, n_layers=1, n_heads=1, d_ff=4, max_seq_len=5))
    settings = Settings(1, 1, 0.0, 5, 0.0, 1, (), 1, 1, 0, 0, False)
    Trainer(model, nothing, nothing, nothing, nothing, nothing, None, settings, nothing, nothing, None)
    assert asked == [True]
