"""A run that goes on: what its command line may change, what it may not, and that what it changes is kept."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import groundup.trainers.trainer as module
import pytest
import yaml
from groundup.trainers.command import main
from groundup.trainers.metrics import read_jsonl

Checkpoint = Callable[[str], Path]
LORA = ("--fine_tuning.method", "lora", "--fine_tuning.lora.r", "2")


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The error with which a command is refused."""
    capsys.readouterr()
    assert main(words) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


def steps(folder: Path) -> int:
    return read_jsonl(folder / "train" / "metrics" / "train.jsonl")[-1]["step"]


def config(folder: Path, name: str = "config.yaml") -> dict[str, Any]:
    return yaml.safe_load((folder / name).read_text())


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    original = module.Trainer._window

    def window(self: Any, at: int) -> Any:
        if at == step - 1:
            signal.raise_signal(signal.SIGINT)
        return original(self, at)

    monkeypatch.setattr(module.Trainer, "_window", window)


def test_what_the_model_is_does_not_change(start: Any, checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]):
    folder = start("out", f"model={checkpoint('llama')}", *LORA)
    before = (folder / "config.yaml").read_text()
    made = "which its checkpoints were made with: leave it out, or begin another run."
    for words, what in (
        (["--fine_tuning.lora.r", "64"], "fine_tuning.lora.r (the command line): 64, and the run that goes on has 2, "),
        (["fine_tuning.method=full"], "fine_tuning.method (the command line): 'full', and the run that goes on has 'l"),
        (["model=gpt2"], "model.base_model (the command line): 'gpt2', and the run that goes on has '"),
        (["model.tokenizer=byte"], "model.tokenizer (the command line): 'byte', and the run that goes on has null, "),
        (["distillation.teacher=gpt2"], "distillation.teacher (the command line): 'gpt2', and the run that goes on ha"),
        (["dataset.format=alpaca"], "dataset.format (the command line): 'alpaca', and the run that goes on has null"),
    ):
        error = said(capsys, "--resume", str(folder), *words)
        assert error.startswith(what), error
        assert error.endswith(made), error
    assert (folder / "config.yaml").read_text() == before
    same = ["model.use_flash_attention=false", "--fine_tuning.lora.r", "2", "trainer.optimizer.lr=1e-4"]
    assert main(["--resume", str(folder), *same, "trainer.max_iters=5"]) == 0
    assert steps(folder) == 5


def test_a_described_model_does_not_change_either(tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--config", str(tiny()), "trainer.max_iters=2"]) == 0
    (folder,) = (tmp_path / "tiny").glob("*/*")
    error = said(capsys, "--resume", str(folder), "model.num_layers=3")
    assert error.startswith("model.num_layers (the command line): 3, and the run that goes on has 2, which its")


def test_one_run_goes_on_and_by_its_own_configuration(tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tiny()
    assert main(["--config", str(path), "trainer.max_iters=2"]) == 0
    (folder,) = (tmp_path / "tiny").glob("*/*")
    assert said(capsys, "--resume", str(folder), "--models", "A", "B") == (
        "--resume goes on with one run: leave --models out."
    )
    error = said(capsys, "--resume", str(folder), "--config", str(path))
    assert error == f"--resume {folder} goes on with the run's own configuration: leave --config {path} out."
    assert main(["--resume", "latest", "--config", str(path), "trainer.max_iters=3"]) == 0  # which says where it is
    assert steps(folder) == 3


def test_what_changes_is_kept_with_the_run(start: Any, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch):
    """The command that an interrupt prints goes on with what was said before it."""
    folder = start("out", f"model={checkpoint('gpt2')}")
    first = (folder / "config.yaml").read_text()
    with monkeypatch.context() as patch:
        stop_after(patch, 6)
        assert main(["--resume", str(folder), "trainer.max_iters=8", "trainer.optimizer.lr=1e-3"]) == 130
    assert steps(folder) == 6
    assert (folder / "config.before_step_5.yaml").read_text() == first
    trainer = config(folder)["trainer"]
    assert (trainer["max_iters"], trainer["optimizer"]["lr"]) == (8, 1e-3)
    assert main(["--resume", str(folder)]) == 0
    assert steps(folder) == 8
    assert len(list(folder.glob("config*.yaml"))) == 2  # nothing more has changed
    assert not list(folder.glob("*.tmp"))


def test_what_was_changed_twice_before_a_step_is_kept_once(
    start: Any, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
):
    folder = start("out", f"model={checkpoint('gpt2')}")

    def stopped(self: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.Trainer, "fit", stopped)
        assert main(["--resume", str(folder), "trainer.max_iters=100"]) == 130
    assert main(["--resume", str(folder), "trainer.max_iters=5"]) == 0
    assert config(folder)["trainer"]["max_iters"] == 5
    assert config(folder, "config.before_step_5.yaml")["trainer"]["max_iters"] == 4


def test_texts_of_other_classes(start: Any, checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def write(name: str, *classes: str) -> Path:
        path = tmp_path / name
        path.write_text("\n".join(["text,label", *(f"{i} {c},{c}" for i in range(30) for c in classes)]))
        return path

    words = (f"dataset.name={write('rows.csv', 'bad', 'good')}", "dataset.documents=auto")
    folder = start("out", f"model={checkpoint('bert')}", *words)
    other, moved = write("other.csv", "bad", "fair", "good"), write("moved.csv", "bad", "good")
    error = said(capsys, "--resume", str(folder), f"dataset={other}")
    assert error.startswith("dataset (the command line): its classes are bad, fair, good, and those of the run that")
    assert main(["--resume", str(folder), f"dataset={moved}", "trainer.max_iters=5"]) == 0
    assert config(folder)["dataset"]["name"] == str(moved)


def test_a_bag_of_words_does_not_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [f"{'good' if i % 2 else 'bad'} {i},{i % 2}" for i in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]))
    assert main(["model=bag-of-words-tfidf", f"dataset={tmp_path / 'rows.csv'}", f"output.output_dir={tmp_path}"]) == 0
    (folder,) = tmp_path.glob("bag-of-words-tfidf/*")
    assert said(capsys, "--resume", str(folder)).endswith("bag-of-words-tfidf is fitted in one go: begin it again.")
