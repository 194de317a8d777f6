"""`--models A B C`: each in turn, past failures, with a table at the end."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
    (error,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: no-such: Model 'no-such' not found")


def test_what_is_wrong_with_all_of_them_is_said_once(words: list[str], capsys: pytest.CaptureFixture[str]):
    for action in ([], ["--validate"], ["--plan"]):
        assert main([*action, "--models", "BERT-tiny", "gpt2", "--model", "BERT-mini", *words]) == 1
        said = capsys.readouterr()
        assert said.err == (
            "error: model.base_model (the command line) names one model and models several: leave one of them out.\n"
        )
        assert not said.out
    assert main(["--validate", "--models", "no-such", "BERT-tiny", "nor-such", *words]) == 1
    assert sum(line.startswith("error: ") for line in capsys.readouterr().err.splitlines()) == 2  # each its own


def test_classes_that_the_data_has_not(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "study.yaml"
    path.write_text("models: [{name: prajjwal1/bert-tiny, alias: Mine, num_labels: 7}]\n")
    for action in ([], ["--validate"], ["--plan"]):
        assert main([*action, "--config", str(path), *words]) == 1
        (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert error.startswith("error: Mine: models, Mine: num_labels 7, and ")
        assert error.endswith("reviews.csv has 2 classes: leave it out, they are counted")
    assert not list((tmp_path / "out").glob("*/*"))


@pytest.fixture
def begin(root: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """begin(*words): train.py in a process group of its own, in which Ctrl-C is not ignored."""
    # A process started in the background may ignore SIGINT from birth, and so would those that it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    begun: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "train.py", *words]
        pipe = subprocess.PIPE
        begun.append(subprocess.Popen(command, cwd=root, stdout=pipe, stderr=pipe, text=True, start_new_session=True))
        return begun[-1]

    yield start
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    signal.signal(signal.SIGINT, before)


def stop(process: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str]:
    """Send what a terminal's Ctrl-C does, or the SIGTERM of whoever ends a job. -> what it said in all"""
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    return process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_saves_the_run_it_falls_on_and_begins_no_other(
    number: signal.Signals, words: list[str], checkpoint: Checkpoint, tmp_path: Path, begin: Any
):
    long = [word.replace("max_iters=4", "max_iters=100000") for word in words]
    bert, gpt2 = str(checkpoint("bert")), str(checkpoint("gpt2"))
    process = begin("--models", bert, gpt2, *long)
    end = time.monotonic() + 60
    while not list((tmp_path / "out").glob("*/*/train/weights/step_*")) and time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    out, err = stop(process, number)
    assert process.returncode == 128 + number, err
    assert "(stopped)" in out
    assert "not begun: gpt2" in err
    (folder,) = (tmp_path / "out").glob("*/*")
    commands = [line.strip() for line in err.partition("\ngo on with\n")[2].splitlines()]
    assert commands == [f"python train.py --resume {folder}", f"python train.py --models {gpt2} {shlex.join(long)}"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("seconds", [0, 0.5, 2])
def test_an_interrupt_before_the_first_step_is_no_fault_of_the_model(
    number: signal.Signals, seconds: float, words: list[str], checkpoint: Checkpoint, begin: Any
):
    """While Python starts, while the model's process imports torch, while data and weights are read."""
    long = [word.replace("max_iters=4", "max_iters=100000") for word in words]
    bert, gpt2 = str(checkpoint("bert")), str(checkpoint("gpt2"))
    process = begin("--models", bert, gpt2, *long)
    head = process.stderr.readline()
    assert head == "=== 1 of 2: bert ===\n"
    time.sleep(seconds)
    out, err = stop(process, number)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert "(stopped)" in out
    assert "=== 2 of 2" not in err
    # Python's own tracker of resources may have a word after it, of a process that was ended while it imported.
    (command,) = [line.strip() for line in err.splitlines() if line.startswith("    python train.py --models ")]
    assert command.endswith(shlex.join(long))


@pytest.mark.slow
def test_what_failed_is_begun_again_by_one_command(
    words: list[str], checkpoint: Checkpoint, capfd: pytest.CaptureFixture[str]
):
    assert main(["--models", "no-such-model", str(checkpoint("bert")), "nor-such", *words]) == 1
    err = capfd.readouterr().err
    assert err.endswith(
        f"\nonce what failed is mended\n    python train.py --models no-such-model nor-such {shlex.join(words)}\n"
    )
    assert "go on with" not in err
