"""Where a task's rows come from: the hub by name, or a local file, folder or zip in whatever format it is published."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from zipfile import BadZipFile, ZipFile

from ...data.files import hash_files, unreadable
from ...data.hub import go_offline_if_need_be
from ...data.tables import Row, table_kind
from ...errors import UserError
from .formats import to_hub
from .readers import by_article, is_readable, read_file
from .task import Hub, Record, Task

SPLIT_WORDS = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
    "dev": ("dev",),
}
"""What a split is called in the names of files."""
ALL_SPLITS = {word for words in SPLIT_WORDS.values() for word in words}


@dataclass(frozen=True)
class Rows:
    """Rows in the hub's shape, and what is recorded of where they come from."""

    rows: list[tuple[str, Record]]
    source: dict[str, Any]


def read_split(task: Task, data: Path | None) -> Rows:
    """The rows that are asked. Raises UserError: no such file, several that fit, a row in the wrong format."""
    if data is None:
        return _from_hub(task, task.hub.split)
    if not data.exists():
        raise UserError(f"{data} does not exist: name a file or folder with the rows of {task.name}")
    data = _zip_within(data, task)
    with _unpacked(data) as place:
        files = _choose(place, task, task.hub.split) if place.is_dir() else [place]
        return _from_files(task, files, place, data)


def read_shots(task: Task, data: Path | None) -> Rows | None:
    """The rows that few-shot examples are drawn from; None: those that are asked.

    Raises UserError where a local file has no other split beside it.
    """
    split = task.hub.shots
    if split is None:
        return None
    if data is None:
        return _from_hub(task, split)
    data = _zip_within(data, task)
    with _unpacked(data) as place:
        files = _choose(place, task, split) if place.is_dir() else _beside(data, task, split)
        if not files:
            raise UserError(
                f"few-shot examples of {task.name} come from its {split} split, and beside {data} there is none: put "
                f"a file named {data.with_stem(split).name} there, or ask for 0 examples"
            )
        return _from_files(task, files, place, data)


# The hub


def _from_hub(task: Task, split: str) -> Rows:
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    hub = task.hub
    go_offline_if_need_be()
    local = f"give the rows of {task.name} as a local file or folder (--data)"
    try:
        configs: list[str | None] = [hub.config]
        if hub.config == "*":
            configs = list(datasets.get_dataset_config_names(hub.dataset, revision=hub.revision))
        parts = [datasets.load_dataset(hub.dataset, name, split=split, revision=hub.revision) for name in configs]
    except DatasetNotFoundError:
        raise UserError(f"the hub has no dataset {hub.dataset}, or it needs a login (hf auth login): {local}") from None
    except (ConnectionError, FileNotFoundError):
        raise UserError(
            f"{task.name} is the dataset {hub.dataset} of the Hugging Face hub, which is not cached, and the hub "
            f"cannot be reached: fetch it where there is a network, or {local}"
        ) from None
    except Exception as error:  # a missing configuration, a script: the library's own words
        raise UserError(f"{hub.dataset} cannot be loaded ({' '.join(str(error).split())}): {local}") from None
    rows: Iterable[Row] = (
        (f"row {number} of {hub.dataset}{f' ({name})' if name else ''}, {split}", cast(Record, row))
        for name, part in zip(configs, parts, strict=True)
        for number, row in enumerate(cast("Iterable[Any]", part), 1)
    )
    if task.format == "race":
        rows = by_article(rows)
    source = {"dataset": hub.dataset, "config": hub.config, "split": split, "revision": _commit(parts, hub)}
    return Rows(list(to_hub(task.format, rows, task.name)), source)


def _commit(parts: list[Any], hub: Hub) -> str:
    """The commit that was read, from the addresses that `datasets` keeps; without them, the revision's name."""
    addresses = " ".join(address for part in parts for address in (part.info.download_checksums or {}))
    found = re.search(r"@([0-9a-f]{40})/", addresses)
    return found.group(1) if found else hub.revision


# Local files


@contextmanager
def _unpacked(data: Path) -> Iterator[Path]:
    """The path itself; for a zip, a folder with what is in it while the context lasts. Messages name the zip."""
    if data.suffix.lower() != ".zip" or data.is_dir():
        yield data
        return
    with TemporaryDirectory() as folder:
        try:
            with ZipFile(data) as archive:
                archive.extractall(folder)
            yield Path(folder)
        except BadZipFile:
            raise UserError(f"{data} is no whole zip file: fetch it again") from None
        except UserError as error:
            raise UserError(str(error).replace(folder, str(data))) from None


def _zip_within(data: Path, task: Task) -> Path:
    """The only zip of a folder without other rows (as BLiMP comes), else the path itself."""
    if not data.is_dir() or any(is_readable(file, task.format) for file in _walk(data)):
        return data
    zips = sorted(data.glob("*.zip"))
    return zips[0] if len(zips) == 1 else data


def _from_files(task: Task, files: list[Path], place: Path, data: Path) -> Rows:
    """The rows of files under `place`, which stands for `data`."""
    rows = to_hub(task.format, (row for file in files for row in read_file(file, task.format)), task.name)
    found = [(where.replace(str(place), str(data), 1), row) for where, row in rows]
    if not found:
        raise UserError(f"{files[0]} holds no rows")
    names = [str(file).replace(str(place), str(data), 1) for file in files]
    return Rows(found, {"files": names, "sha256": hash_files(files)})


def _choose(folder: Path, task: Task, split: str) -> list[Path]:
    """The files of a folder that hold a split. Where no name tells one, all of them."""
    readable = [file for file in _walk(folder) if is_readable(file, task.format)]
    named = {file: _words(file.relative_to(folder)) for file in readable}
    if not named:
        raise UserError(f"{folder} holds no rows: looked for .jsonl, .json, .csv, .tsv and .parquet files")
    splits = {file: _split_words(words) for file, words in named.items()}
    files = [file for file in named if splits[file] & set(SPLIT_WORDS[split])] if any(splits.values()) else list(named)
    if not files:
        raise UserError(f"{folder} holds no {split} split of {task.name}: none of its files is named so")
    config = set(_letters(task.hub.config or ""))
    files = [file for file in files if config <= {*named[file][0], *named[file][1]}] or files
    files = [file for file in files if task.only and file.name.startswith(task.only)] or files
    if task.group is not None or not any(table_kind(file) for file in files):
        return files
    exact = [
        file for file in files if file.name.partition(".")[0].lower() in ALL_SPLITS
    ]  # val.jsonl before dev32.jsonl
    files = exact if len(exact) == 1 else files
    if len(files) > 1:
        raise UserError(
            f"{folder} holds several files for {task.name}, {split}: {', '.join(file.name for file in files[:4])}; "
            "name one"
        )
    return files


def _beside(file: Path, task: Task, split: str) -> list[Path]:
    """The file of another split that belongs to a file: test.jsonl -> dev.jsonl, else what its folder holds of it."""
    near = f"{file.parent.name}/{file.name}"  # as in MMLU's test/anatomy_test.csv
    for old in SPLIT_WORDS[task.hub.split]:
        for new in SPLIT_WORDS[split]:
            for renamed in (near.replace(old, new), near.replace(old.capitalize(), new.capitalize())):
                candidate = file.parent.parent / renamed
                if renamed != near and candidate.is_file():
                    return [candidate]
    others = [other for other in _walk(file.parent, deep=False) if other != file and is_readable(other, task.format)]
    return [other for other in others if set(SPLIT_WORDS[split]) & _split_words((_letters(other.name), []))][:1]


def _walk(folder: Path, deep: bool = True) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise unreadable(folder, error) from None
    for entry in entries:
        if entry.name.startswith((".", "__MACOSX")):
            continue
        if not entry.is_dir():
            yield entry
        elif deep:
            yield from _walk(entry)


def _words(path: Path) -> tuple[list[str], list[str]]:
    """The words of a path in small letters: those of the file's name, those of its folders."""
    return _letters(path.name), _letters(path.parent.as_posix())


def _letters(text: str) -> list[str]:
    return [word for word in re.split(r"[^a-z]+", text.lower()) if word]


def _split_words(words: tuple[list[str], list[str]]) -> set[str]:
    """The splits that a path names; a file's own name counts before its folders'."""
    return ALL_SPLITS & set(words[0]) or ALL_SPLITS & set(words[1])
