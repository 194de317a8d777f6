"""What the server on localhost cannot do: a full disk, and what other versions of `huggingface_hub` raise."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import groundup.hub
import huggingface_hub.constants
import pytest
from groundup.errors import UserError
from groundup.hub import Wanted, fetch
from groundup.hub.trouble import describe

WANTED = Wanted("model", lambda names, read: list(names))


def fail_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def download(repo: str, wanted: Wanted, revision: str | None) -> Path:
        raise error

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(groundup.hub, "_download", download)


def named(name: str, base: type[Exception] = Exception) -> Exception:
    return type(name, (base,), {})("two\nlines")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            r"the disk is full .* cache at .*: free some space, or",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied"),
            r"the cache at .* cannot be used \(Permission denied\)",
        ),
        (named("ReadTimeout"), "the hub did not answer in time: try again"),
        (named("ConnectionError", OSError), "the hub cannot be reached at http.*: 'org/tiny' is not cached here"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "the hub cannot be reached"),
        (named("ChunkedEncodingError", OSError), "the download of 'org/tiny' broke off: run it again"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset"), "the download of 'org/tiny' broke off"),
        (OSError("Consistency check failed: file should be of size 5 but has size 3"), "'org/tiny' broke off"),
        (named("NobodyKnows"), r"'org/tiny' could not be fetched \(NobodyKnows\): two lines$"),
    ],
)
def test_sentences(monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    fail_with(monkeypatch, error)
    with pytest.raises(UserError, match=said) as caught:
        fetch("org/tiny", WANTED)
    assert str(caught.value).startswith("Failed to load model from HuggingFace: ")
    assert "\n" not in str(caught.value)


def test_the_cause_counts() -> None:
    """The library says "cannot find an appropriate cached snapshot" of whatever went wrong before."""
    error = FileNotFoundError("cannot find ...")
    error.__cause__ = named("ReadTimeout")
    assert describe(error, "org/tiny", None, lambda repo: "").what == "the hub did not answer in time"


def test_what_is_cached_serves_when_the_network_fails_but_not_when_the_question_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot = tmp_path / "models--org--tiny/snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (tmp_path / "models--org--tiny/refs").mkdir()
    (tmp_path / "models--org--tiny/refs/main").write_text("a" * 40)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    fail_with(monkeypatch, named("ReadTimeout"))
    assert fetch("org/tiny", WANTED) == snapshot
    assert (
        "note: the hub did not answer in time; what was fetched of 'org/tiny' before is used" in capsys.readouterr().err
    )
    assert fetch("org/tiny", WANTED, "a" * 40) == snapshot
    with pytest.raises(UserError, match="did not answer in time"):
        fetch("org/tiny", WANTED, "v2")
    fail_with(monkeypatch, PermissionError(errno.EACCES, "Permission denied"))
    with pytest.raises(UserError, match="cannot be used"):
        fetch("org/tiny", WANTED)
    # A link that leads nowhere is no file.
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(tmp_path / "gone")

    def choose(names: object, read: object) -> list[str]:
        assert names == []
        raise UserError("has no config.json: and so on")

    fail_with(monkeypatch, named("ReadTimeout"))
    with pytest.raises(UserError, match="did not answer in time"):
        fetch("org/tiny", Wanted("model", choose))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"'org/tiny' is cached here in part only \(it has no config.json\), and"):
        fetch("org/tiny", Wanted("model", choose))
