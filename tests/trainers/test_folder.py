"""Where a run's things lie, and folders that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from groundup.errors import UserError
from groundup.trainers.folder import RunFolder, find_run, new_run_folder, write_text
from groundup.trainers.progress import duration


def test_two_runs_of_one_second_get_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "2026-01-02_03-04-05")
    names = [new_run_folder(tmp_path, "a model").root.relative_to(tmp_path) for _ in range(3)]
    assert [str(n) for n in names] == [f"a-model/2026-01-02_03-04-05{suffix}" for suffix in ("", "-1", "-2")]


def test_checkpoints_may_lie_elsewhere(tmp_path: Path) -> None:
    folder = new_run_folder(tmp_path / "out", "m", tmp_path / "big-disk")
    assert folder.weights == tmp_path / "big-disk" / "m" / folder.root.name


def test_latest_is_the_run_saved_last(tmp_path: Path) -> None:
    for age, name in ((30, "x/old"), (10, "y/new"), (20, "x/middle")):
        step = RunFolder(tmp_path / name).weights / "step_00000001"
        step.mkdir(parents=True)
        (step / "state.json").write_text("{}")
        (tmp_path / name / "config.yaml").write_text("")
        os.utime(step, (time.time() - age,) * 2)
    assert find_run("latest", tmp_path) == tmp_path / "y/new"


def test_a_run_is_found_by_its_folder_or_a_checkpoint(tmp_path: Path) -> None:
    step = RunFolder(tmp_path / "m/run").weights / "step_00000001"
    step.mkdir(parents=True)
    (tmp_path / "m/run/config.yaml").write_text("")
    assert find_run(str(tmp_path / "m/run"), tmp_path) == tmp_path / "m/run"
    assert find_run(str(step), tmp_path) == (tmp_path / "m/run").resolve()
    with pytest.raises(UserError, match="Did you mean 'run'"):
        find_run(str(tmp_path / "m/rum"), tmp_path)


def test_small_files_are_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.json", "old")

    def broken(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", broken)
    with pytest.raises(UserError, match=r"cannot write .*a\.json: no space left on device"):
        write_text(tmp_path / "a.json", "new")
    monkeypatch.undo()
    assert (tmp_path / "a.json").read_text() == "old"


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounting a read-only disk needs root on Linux"
)
def test_a_read_only_output_folder(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(UserError, match=r"cannot create .*: read-only file system; set output\.output_dir"):
            new_run_folder(disk, "m")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_durations() -> None:
    assert [duration(s) for s in (0, 59.6, 65, 3700)] == ["0:00", "1:00", "1:05", "1:01:40"]
