"""Metrics files survive a kill; trackers receive what the files do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from groundup.errors import UserError
from groundup.trainers.metrics import JsonLines, Trackers, read_jsonl


def test_rows_are_on_disk_as_soon_as_written(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "deep" / "log.jsonl")
    log.write({"step": 1, "loss": 2.5})
    assert read_jsonl(tmp_path / "deep" / "log.jsonl") == [{"step": 1, "loss": 2.5}]
    log.write({"step": 2, "loss": float("nan"), "lr": float("inf")})
    assert read_jsonl(tmp_path / "deep" / "log.jsonl")[1] == {"step": 2, "loss": None, "lr": None}


def test_resuming_drops_what_was_never_saved(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    log = JsonLines(path, resume_step=2)
    log.write({"step": 3, "again": True})
    log.close()
    assert read_jsonl(path) == [{"step": 1}, {"step": 2}, {"step": 3, "again": True}]


def test_a_disk_that_is_full_when_a_run_goes_on_costs_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = JsonLines(tmp_path / "a.jsonl")
    for step in (1, 2):
        lines.write({"step": step})
    lines.close()

    def full(self: Path, *args: object, **options: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space"):
            JsonLines(tmp_path / "a.jsonl", resume_step=2)
    assert [row["step"] for row in read_jsonl(tmp_path / "a.jsonl")] == [1, 2]


def test_a_new_run_starts_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n')
    JsonLines(tmp_path / "log.jsonl").close()
    assert read_jsonl(tmp_path / "log.jsonl") == []
    assert read_jsonl(tmp_path / "none.jsonl") == []


def test_tensorboard_receives_the_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trackers = Trackers(tmp_path, tensorboard=True, wandb=False, project="p", name="n", config={})
    trackers.write("train", {"step": 3, "loss": 1.5, "text": "left out"})
    trackers.write("train", {"step": 4, "loss": 1.25})
    trackers.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["scalars"] == ["train/loss"]
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(3, 1.5), (4, 1.25)]


def test_wandb_receives_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in: the library itself wants an account."""
    calls: list[tuple] = []

    class Run:
        def log(self, numbers: dict, step: int) -> None:
            calls.append(("log", numbers, step))

        def finish(self) -> None:
            calls.append(("finish",))

    class Wandb:
        @staticmethod
        def init(**arguments: object) -> Run:
            calls.append(("init", arguments["project"], arguments["name"], arguments["id"], arguments["resume"]))
            return Run()

    monkeypatch.setitem(sys.modules, "wandb", Wandb)
    trackers = Trackers(tmp_path / "stamp", tensorboard=False, wandb=True, project="p", name="n", config={})
    trackers.write("heldout", {"step": 5, "loss": 2.0})
    trackers.close()
    assert calls == [("init", "p", "n", "stamp", "allow"), ("log", {"heldout/loss": 2.0}, 5), ("finish",)]


@pytest.mark.parametrize(("flag", "package"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_missing_tracker_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    chosen = {"tensorboard": False, "wandb": False, flag: True}
    with pytest.raises(UserError, match=rf"general\.logging\.{flag}_log is on but {flag} is not installed"):
        Trackers(tmp_path, project="p", name="n", config={}, **chosen)
