"""`--models A B C`: each in turn, past failures, with a table at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from groundup.trainers.command import main

Checkpoint = Callable[[str], Path]
FEW = "device=cpu trainer.max_iters=4 trainer.warmup_iters=1 trainer.batch_size=4 trainer.max_seq_length=16"
FEW += " evaluation.interval=2 output.plots=false trainer.log_interval=1 dataset.val_fraction=0.25"


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The settings of a small run on reviews."""
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "reviews.csv"
    rows = [f"{'good' if i % 2 else 'bad'} {i},{'pos' if i % 2 else 'neg'}" for i in range(40)]
    path.write_text("review,sentiment\n" + "\n".join(rows))
    return [f"dataset={path}", f"output.output_dir={tmp_path / 'out'}", *FEW.split()]


@pytest.mark.slow
def test_a_failure_is_kept_and_the_others_go_on(
    words: list[str], checkpoint: Checkpoint, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    import shutil

    bert, broken = checkpoint("bert"), tmp_path / "broken"
    shutil.copytree(bert, broken)
    next(broken.glob("*.safetensors")).write_bytes(b"no weights at all")
    assert main(["--models", str(bert), "no-such-model", str(broken), str(checkpoint("gpt2")), *words]) == 1
    said = capfd.readouterr()
    assert "=== 4 of 4" in said.err
    lines = said.out.strip().splitlines()
    assert lines[0].split()[:3] == ["model", "data", "accuracy"]
    assert [line.split()[0] for line in lines[4:6]] == ["broken", "no-such-model"]
    assert {line.split()[0] for line in lines[2:4]} == {"bert", "gpt2"}
    assert "no-such-model: Model 'no-such-model' not found" in said.out
    assert sum("failed" in line for line in lines) == 2
    assert "Traceback" not in said.err
    (left,) = [path for path in (tmp_path / "out").rglob("training_results.json") if "error" in path.read_text()]
    assert json.loads(left.read_text())["finished"] is False
    finished = [path for path in (tmp_path / "out").rglob("training_results.json") if path != left]
    assert len(finished) == 2


@pytest.mark.slow
def test_none_fails(words: list[str], checkpoint: Checkpoint, capfd: pytest.CaptureFixture[str]):
    assert main(["--models", str(checkpoint("bert")), *words]) == 0
    assert "failed" not in capfd.readouterr().out


def test_validate_looks_at_each(words: list[str], checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]):
    assert main(["--validate", "--models", str(checkpoint("bert")), str(checkpoint("gpt2")), *words]) == 0
    assert capsys.readouterr().out.count(" is valid: ") == 2
    assert main(["--validate", "--models", str(checkpoint("bert")), "no-such", *words]) == 1
    said = capsys.readouterr()
    assert said.out.count(" is valid: ") == 1
    assert said.err.startswith("error: no-such: Model 'no-such' not found")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_saves_the_run_it_falls_on_and_begins_no_other(
    number: signal.Signals, words: list[str], checkpoint: Checkpoint, root: Path, tmp_path: Path
):
    long = [word.replace("max_iters=4", "max_iters=100000") for word in words]
    command = [sys.executable, "train.py", "--models", str(checkpoint("bert")), str(checkpoint("gpt2")), *long]
    process = subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    end = time.monotonic() + 60
    while not list((tmp_path / "out").glob("*/*/train/weights/step_*")) and time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # what a terminal's Ctrl-C does
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "(stopped)" in out
    assert "not begun: " in err
    assert len(list((tmp_path / "out").glob("*/*"))) == 1
