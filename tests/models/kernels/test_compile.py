"""Every kernel compiles for a GPU, which need not be there: the interpreter lets pass what Triton refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Where a kernel would be launched it is compiled, with the arguments of the launch.
SCRIPT = """
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction, mangle_type

def launcher(kernel, grid):
    def launch(*args, num_warps=4, enable_fp_fusion=True, **named):
        given = dict(zip(kernel.arg_names, args)) | named
        assert given.keys() == set(kernel.arg_names)
        fixed = {p.name for p in kernel.params if p.is_constexpr or (type(given[p.name]) is int and given[p.name] == 1)}
        signature = {name: "constexpr" if name in fixed else mangle_type(given[name]) for name in kernel.arg_names}
        constants = {(i,): given[name] for i, name in enumerate(kernel.arg_names) if name in fixed}
        options = dict(num_warps=num_warps, enable_fp_fusion=enable_fp_fusion)
        compiled = triton.compile(ASTSource(kernel, signature, constants), GPUTarget("cuda", 90, 32), options)
        assert compiled.asm["cubin"]
        print(kernel.fn.__module__.rpartition(".")[2] + "." + kernel.fn.__name__)
    return launch

JITFunction.__getitem__ = launcher
from groundup.models.kernels import cross_entropy, rmsnorm, rope, swiglu
from groundup.models.rope import RopeTables

dtype = getattr(torch, {dtype!r})

def new(*shape):
    return torch.zeros(*shape, dtype=dtype, requires_grad=True)

for unit_offset in (False, True):
    rmsnorm.rms_norm(new(3, 100), new(100), 1e-6, unit_offset).sum().backward()
tables = RopeTables(torch.zeros(5, 8), torch.zeros(5, 8))
for width in (8, 12):
    rope.rope(new(2, 3, 5, width), tables).sum().backward()
for kind in swiglu.KINDS:
    swiglu.gated(new(100), new(100), kind).sum().backward()
labels = torch.zeros(3, dtype=torch.long)
for scale, smoothing, softcap in ((1.0, 0.0, None), (None, 0.1, None), (0.5, 0.1, 30.0)):
    cross_entropy.cross_entropy_(new(3, 10000).detach(), labels, scale, smoothing, softcap)
"""


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_every_kernel_compiles(dtype: str, root: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("{dtype!r}", repr(dtype))],
        cwd=root,
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Warning" not in done.stderr, done.stderr
    launched = done.stdout.split()
    assert {name: launched.count(name) for name in launched} == {
        "rmsnorm._forward": 2,
        "rmsnorm._backward": 2,
        "rope._rope": 4,
        "swiglu._forward": 3,
        "swiglu._backward": 3,
        "cross_entropy._cross_entropy": 3,
    }
