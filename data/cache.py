"""Where made things are kept, and how a folder appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import UserError

STALE_AFTER = 24 * 3600.0


def cache_folder(run: Any = None) -> Path:
    """`general.paths.data_dir` of the run, else $GROUNDUP_CACHE, else ~/.cache/groundup."""
    paths = getattr(getattr(run, "general", None), "paths", None)
    data_dir = getattr(paths, "data_dir", None)
    if data_dir:
        return Path(data_dir).expanduser()
    named = os.environ.get("GROUNDUP_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "groundup"


def short_hash(*parts: object) -> str:
    """Sixteen hex digits that tell lists of settings and fingerprints apart."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def publish_folder(
    folder: Path, write: Callable[[Path], None], is_whole: Callable[[Path], bool] = lambda folder: False
) -> None:
    """Let `write(temporary folder)` fill a folder, then rename it to `folder`.

    A reader sees nothing or all of it, also after a kill. Of two writers at once the first one stays if it `is_whole`:
    its reader may just be opening the files. Raises UserError where the cache cannot be written.
    """
    temporary = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.mkdir(parents=True)
        _remove_stale(folder)
        try:
            write(temporary)
            for path in temporary.iterdir():
                _sync(path)
            _replace(temporary, folder, is_whole)
            _sync(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"cannot write to the cache at {folder.parent}: {error.strerror or error}; "
            "free some space, or name another place with GROUNDUP_CACHE or general.paths.data_dir"
        ) from None


def _replace(temporary: Path, folder: Path, is_whole: Callable[[Path], bool]) -> None:
    for _ in range(10):
        try:
            os.rename(temporary, folder)
            return
        except OSError:
            if not folder.is_dir():
                raise
            if is_whole(folder):
                return
            # A folder cannot be renamed onto a full one: what is there and damaged steps aside first.
            # Open memory maps of it stay valid on POSIX.
            aside = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
            try:
                os.rename(folder, aside)
            except FileNotFoundError:
                continue
            shutil.rmtree(aside, ignore_errors=True)
    os.rename(temporary, folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some file systems cannot sync a folder; its files are synced all the same
    finally:
        os.close(handle)


def _remove_stale(folder: Path) -> None:
    """Clear what a killed writer of the same folder left a day ago or more."""
    for left in folder.parent.glob(f"{folder.name}.*.tmp"):
        if time.time() - left.stat().st_mtime > STALE_AFTER:
            shutil.rmtree(left, ignore_errors=True)
