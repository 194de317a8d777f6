from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from groundup.data.cache import cache_folder, publish_folder, short_hash
from groundup.errors import UserError


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROUNDUP_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/groundup"
    monkeypatch.setenv("GROUNDUP_CACHE", "/somewhere")
    paths = SimpleNamespace(data_dir=None)
    run = SimpleNamespace(general=SimpleNamespace(paths=paths))
    assert cache_folder(run) == Path("/somewhere")
    paths.data_dir = "~/mine"
    assert cache_folder(run) == tmp_path / "mine"


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep/down/thing"

    def write(folder: Path) -> None:
        assert not target.exists()
        (folder / "a").write_text("1")

    publish_folder(target, write)
    assert [(path.name, path.read_text()) for path in target.iterdir()] == [("a", "1")]
    assert [path.name for path in target.parent.iterdir()] == ["thing"]


def test_a_second_writer_replaces_the_first(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    publish_folder(target, lambda folder: (folder / "a").write_text("old") and None)

    def while_another_finishes(folder: Path) -> None:
        (folder / "a").write_text("slow")
        publish_folder(target, lambda inner: (inner / "a").write_text("quick") and None)

    publish_folder(target, while_another_finishes)
    assert (target / "a").read_text() == "slow"
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    publish_folder(target, lambda folder: (folder / "a").write_text("old") and None)

    def full(folder: Path) -> None:
        (folder / "a").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"cannot write to the cache at .*: No space left on device; free some space"):
        publish_folder(target, full)
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write to the cache at .*GROUNDUP_CACHE or general\.paths\.data_dir"):
        publish_folder(tmp_path / "file/thing", lambda folder: None)


def test_what_killed_writers_left_is_cleared_after_a_day(tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in ("thing.1.tmp", "thing.2.tmp", "another.1.tmp"))
    for folder in (old, new, other):
        folder.mkdir()
        (folder / "tokens.bin").write_text("half")
    two_days_ago = time.time() - 2 * 86400
    for folder in (old, other):
        os.utime(folder, (two_days_ago, two_days_ago))
    publish_folder(tmp_path / "thing", lambda folder: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another.1.tmp", "thing", "thing.2.tmp"]


def test_hashes_tell_settings_apart() -> None:
    assert short_hash("a", 1) == short_hash("a", 1)
    assert len({short_hash("a", 1), short_hash("a", "1"), short_hash("a1"), short_hash("a", 1, None)}) == 4


def test_what_another_writer_finished_and_may_be_reading_stays(tmp_path: Path) -> None:
    target = tmp_path / "thing"

    def while_another_finishes(folder: Path) -> None:
        publish_folder(target, lambda inner: (inner / "a").write_text("first") and None)
        (folder / "a").write_text("second")

    publish_folder(target, while_another_finishes, lambda folder: (folder / "a").read_text() == "first")
    assert (target / "a").read_text() == "first"
    publish_folder(target, lambda folder: (folder / "a").write_text("new") and None, lambda folder: False)
    assert (target / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]
