"""benchmarks/fused_kernels.py runs, and compares what it times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def results(root: Path, output: Path, *words: str) -> dict[str, Any]:
    script = root / "benchmarks" / "fused_kernels.py"
    done = subprocess.run(
        [sys.executable, str(script), "--quick", "--dtype=float32", "--output", str(output), *words],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (file,) = output.glob("*.json")
    return json.loads(file.read_text())


@pytest.mark.slow
def test_on_a_cpu_it_is_rmsnorm_alone(root: Path, tmp_path: Path) -> None:
    (result,) = results(root, tmp_path, "--device=cpu")["results"]
    assert list(result["systems"]) == ["torch", "layernorm", "by hand"]
    assert result["systems"]["by hand"]["apart"] < 1e-6
    assert result["systems"]["layernorm"]["apart"] > 1e-3  # the comparison can fail
    assert "nothing to measure but RMSNorm" in (tmp_path / "fused_kernels_cpu.md").read_text()


@pytest.mark.gpu
def test_on_a_gpu_it_is_every_kernel(root: Path, tmp_path: Path) -> None:
    found = results(root, tmp_path, "--device=cuda")["results"]
    assert [result["work"] for result in found] == ["rmsnorm", "rmsnorm of heads", "rope", "swiglu", "loss"]
    for result in found:
        assert {system: times["apart"] < 1e-4 for system, times in result["systems"].items()} == {
            "torch": True,
            "compile": True,
            "kernel": True,
        }
