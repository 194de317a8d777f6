"""What a run uses: processor, memory, disk."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from groundup.trainers.resources import Usage, machine, size_of, summed_up


def test_a_busy_processor_and_an_idle_one():
    usage = Usage(torch.device("cpu"))
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    busy = usage.read()
    time.sleep(0.3)
    idle = usage.read()
    assert busy["cpu_percent"] > 2 * idle["cpu_percent"] + 1  # other work of the machine may slow either
    assert 0 <= idle["cpu_percent"] < 60


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_memory_follows_what_is_held():
    """In a process of its own: this one may have memory that was freed before, and is given out again."""
    code = "import json, torch; from groundup.trainers.resources import Usage; usage = Usage(torch.device('cpu')); "
    code += "before = usage.read(); held = torch.ones(2**26); print(json.dumps([before, usage.read()]))"  # 0.25 GiB
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, with_it = json.loads(done.stdout)
    assert with_it["memory_gib"] - before["memory_gib"] == pytest.approx(0.25, abs=0.05)
    assert with_it["peak_memory_gib"] >= with_it["memory_gib"] - 0.01


def test_sizes_and_sums(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"12345")
    (tmp_path / "y").write_bytes(b"123")
    assert size_of(tmp_path) == 8
    rows = [{"cpu_percent": 100.0, "peak_memory_gib": 1.0}, {"cpu_percent": 50.0, "peak_memory_gib": 2.0}, {}]
    assert summed_up(rows) == {"cpu_percent": 75.0, "peak_memory_gib": 2.0}
    assert machine(torch.device("cpu"))["cores"] >= 1
