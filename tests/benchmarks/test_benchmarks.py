"""The benchmarks run: their --help, their reports, and one of them small, to its end."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if path.stem not in ("report", "peak"))


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script of benchmarks/ as a module; they import each other from their own folder."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(script: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True, check=False)


def test_the_scripts_are_found() -> None:
    assert {path.stem for path in SCRIPTS} >= {"loss_memory", "shakespeare", "train_cpu"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_says_what_is_measured(script: Path) -> None:
    done = run(script, "--help")
    assert done.returncode == 0, done.stderr
    docstring = script.read_text(encoding="utf-8").split('"""')[1]
    assert docstring.strip() in done.stdout
    assert "--output" in done.stdout


@pytest.mark.slow
def test_loss_memory_runs_and_the_chunked_loss_takes_less_for_equal_gradients(tmp_path: Path) -> None:
    done = run(ROOT / "benchmarks" / "loss_memory.py", "--quick", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    data: dict[str, Any] = json.loads((tmp_path / "loss_memory.json").read_text())
    (result,) = data["results"]
    plain, chunked = (result["steps"][method][-1] for method in ("plain", "chunked"))
    logits = data["tokens"] * data["vocabulary"] * 4 / 2**30
    assert plain["above_gib"] > 1.8 * logits  # log-probabilities, and the gradient of the logits
    assert plain["above_gib"] - chunked["above_gib"] > 0.5 * logits
    assert max(d["norm_relative"] for d in result["difference"].values()) < 1e-6
    assert done.stdout == (tmp_path / "loss_memory.md").read_text() + "\n"


def test_a_missing_checkout_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("x")
    for script, words in (("train_cpu", []), ("shakespeare", ["--text", str(tmp_path / "text.txt")])):
        done = run(ROOT / "benchmarks" / f"{script}.py", "--nanogpt", str(tmp_path / "nowhere"), *words)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {tmp_path / 'nowhere'}")
        assert "Traceback" not in done.stderr


def test_heldout_loss_is_that_of_the_last_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a sum written out by hand, of a "model" that looks at one character."""
    shakespeare = load("shakespeare", monkeypatch)
    text = "".join("abcdefg"[i * i % 7] for i in range(3000))
    characters = sorted(set(text))
    table = torch.randn(len(characters), len(characters), generator=torch.Generator().manual_seed(0))
    held_out = [characters.index(c) for c in text[2700:]]
    pairs = [(held_out[i], held_out[i + 1]) for i in range(4 * 64)]  # 299 pairs, 4 full windows
    expected = -sum(table[a].log_softmax(-1)[b].item() for a, b in pairs) / len(pairs)
    assert shakespeare.heldout_loss(lambda ids: table[ids], text) == pytest.approx(expected, abs=1e-5)


def test_differences_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One wrong element among 3,000 rows shows in all three measures."""
    loss_memory = load("loss_memory", monkeypatch)
    exact = torch.randn(3000, 5, generator=torch.Generator().manual_seed(0))
    other = exact.clone()
    other[2999, 4] += 0.5
    found = loss_memory.difference(other, exact)
    d = (other.double() - exact.double()).abs()
    assert found["max_abs"] == pytest.approx(d.max().item())
    assert found["max_relative"] == pytest.approx(d.max().item() / exact.abs().max().item())
    assert found["norm_relative"] == pytest.approx((d.norm() / exact.double().norm()).item())


def test_a_table_is_markdown(monkeypatch: pytest.MonkeyPatch) -> None:
    report = load("report", monkeypatch)
    rows = [{"name": "a", "rate": 12345.6, "small": 2.5e-7}, {"name": "bb", "rate": None, "small": 0.25}]
    assert report.table(rows).splitlines() == [
        "| name |   rate |   small |",
        "|------|-------:|--------:|",
        "| a    | 12,346 | 2.5e-07 |",
        "| bb   |        |   0.250 |",
    ]
