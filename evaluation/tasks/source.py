"""Where a task's rows come from: the hub by name, or a local file, folder or zip in whatever format it is published."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ...data.files import hash_files, unreadable
from ...data.hub import go_offline_if_need_be
from ...data.tables import Row, read_rows, table_kind
from ...errors import UserError
from .formats import to_hub
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
    return _from_files(task, _choose(data, task, task.hub.split) if _holds_files(data) else [data])


def read_shots(task: Task, data: Path | None) -> Rows | None:
    """The rows that few-shot examples are drawn from; None: those that are asked.

    Raises UserError where a local file has no other split beside it.
    """
    split = task.hub.shots
    if split is None:
        return None
    if data is None:
        return _from_hub(task, split)
    files = _choose(data, task, split) if _holds_files(data) else _beside(data, task, split)
    if not files:
        raise UserError(
            f"few-shot examples of {task.name} come from its {split} split, and beside {data} there is none: put "
            f"a file named {data.with_stem(split).name} there, or ask for 0 examples"
        )
    return _from_files(task, files)


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
        rows = _by_article(rows)
    source = {"dataset": hub.dataset, "config": hub.config, "split": split, "revision": _commit(parts, hub)}
    return Rows(list(to_hub(task.format, rows, task.name)), source)


def _commit(parts: list[Any], hub: Hub) -> str:
    """The commit that was read, from the addresses that `datasets` keeps; without them, the revision's name."""
    addresses = " ".join(address for part in parts for address in (part.info.download_checksums or {}))
    found = re.search(r"@([0-9a-f]{40})/", addresses)
    return found.group(1) if found else hub.revision


# Local files


def _from_files(task: Task, files: list[Path]) -> Rows:
    rows = (row for file in files for row in _read(file, task))
    found = list(to_hub(task.format, rows, task.name))
    if not found:
        raise UserError(f"{files[0]} holds no rows")
    real = [file for file in files if isinstance(file, Path)] or [Path(str(cast(Any, files[0]).root.filename))]
    return Rows(found, {"files": [str(file) for file in files], "sha256": hash_files(real)})


def _holds_files(data: Path) -> bool:
    return data.is_dir() or data.suffix.lower() == ".zip"


def _choose(folder: Path, task: Task, split: str) -> list[Path]:
    """The files of a folder that hold a split. Where no name tells one, all of them."""
    root = folder
    if folder.is_file():
        try:
            root = cast(Path, zipfile.Path(zipfile.ZipFile(folder)))
        except zipfile.BadZipFile:
            raise UserError(f"{folder} is no whole zip file: fetch it again") from None
    zips = [] if folder.is_file() else sorted(folder.glob("*.zip"))
    try:
        named = {file: _words(str(file)[len(str(root)) :]) for file in _walk(root) if _readable(file, task)}
    except OSError as error:
        raise unreadable(folder, error) from None
    if not named and len(zips) == 1:
        return _choose(zips[0], task, split)
    if not named:
        raise UserError(f"{folder} holds no rows: looked for .jsonl, .json, .csv, .parquet and one .zip")
    splits = {file: _split_words(words) for file, words in named.items()}
    files = [file for file in named if splits[file] & set(SPLIT_WORDS[split])] if any(splits.values()) else list(named)
    config = set(_words(task.hub.config or "")[0])
    files = [file for file in files if config <= {*named[file][0], *named[file][1]}] or files
    files = [file for file in files if task.only and file.name.startswith(task.only)] or files
    if not files:
        raise UserError(f"{folder} holds no {split} split of {task.name}: none of its files is named so")
    if len(files) > 1 and task.group is None and any(table_kind(file) for file in files):
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
    others = [other for other in _walk(file.parent, deep=False) if other != file and _readable(other, task)]
    return [other for other in others if set(SPLIT_WORDS[split]) & _split_words(_words(other.name))][:1]


def _walk(folder: Path, deep: bool = True) -> Iterator[Path]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.startswith((".", "__MACOSX")):
            continue
        if not entry.is_dir():
            yield entry
        elif deep:
            yield from _walk(entry)


def _readable(file: Path, task: Task) -> bool:
    suffix = file.name.lower().rpartition(".")[2]
    return table_kind(file) is not None or (task.format, suffix) in (("race", "txt"), ("copa", "xml"))


def _words(path: str) -> tuple[list[str], list[str]]:
    """The words of a path in small letters: those of the file's name, those of its folders."""
    folders, _, name = path.rpartition("/")
    return _letters(name), _letters(folders)


def _letters(text: str) -> list[str]:
    return [word for word in re.split(r"[^a-z]+", text.lower()) if word]


def _split_words(words: tuple[list[str], list[str]]) -> set[str]:
    """The splits that a path names; a file's own name counts before its folders'."""
    return ALL_SPLITS & set(words[0]) or ALL_SPLITS & set(words[1])


# The formats that are not tables of the usual kind


def _read(file: Path, task: Task) -> Iterator[Row]:
    kind = task.format
    if kind == "race" and file.name.endswith(".txt"):
        return _one_object(file)
    if kind == "copa" and file.name.endswith(".xml"):
        return _copa_xml(file)
    if table_kind(file) is None:
        raise UserError(f"{file} has none of the names that tables have: .jsonl, .json, .csv, .tsv, .parquet")
    if kind == "mmlu" and file.name.endswith(".csv"):
        return _mmlu_csv(file)
    rows = read_rows(file)
    if kind == "piqa":
        return _piqa_labels(file, rows)
    if kind == "race":
        return _by_article(rows)
    if kind == "blimp":  # a paradigm's name is its file's where the rows do not say it
        return ((where, {"UID": file.name.partition(".")[0], **row}) for where, row in rows)
    return rows


def _one_object(file: Path) -> Iterator[Row]:
    """RACE: an article and its questions are one JSON object a file."""
    try:
        row = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{file} is no JSON object ({error})") from None
    if not isinstance(row, dict):
        raise UserError(f"{file} holds a {type(row).__name__}, and an article with its questions is wanted")
    yield str(file), cast(Record, row)


def _by_article(rows: Iterable[Row]) -> Iterator[Row]:
    """RACE in one row a question, as one of its forms on the hub is: the questions of an article follow each other."""
    held: Record | None = None
    place = ""
    for where, row in rows:
        if "example_id" not in row or "question" not in row:
            yield where, row
            continue
        if held is not None and held["id"] != row["example_id"]:
            yield place, held
            held = None
        if held is None:
            held, place = {"id": row["example_id"], "article": row.get("article"), "problems": []}, where
        held["problems"].append({key: row.get(key) for key in ("question", "answer", "options")})
    if held is not None:
        yield place, held


def _mmlu_csv(file: Path) -> Iterator[Row]:
    """MMLU as first published: a file a subject, no header; question, four choices, the answer's letter."""
    subject = re.sub(r"_(test|dev|val|train)$", "", file.name.partition(".")[0])
    with file.open("rb") as raw:
        reader = csv.reader(io.TextIOWrapper(cast(Any, raw), encoding="utf-8-sig", newline=""))
        try:
            for cells in reader:
                where = f"{file}:{reader.line_num}"
                if len(cells) != 6:
                    raise UserError(
                        f"{where} has {len(cells)} cells, and MMLU's files have 6 and no header: question, four choices"
                        ", the answer's letter"
                    )
                answer = "ABCD".find(cells[5]) if len(cells[5]) == 1 else -1
                if answer < 0:
                    raise UserError(f"{where} has the answer {cells[5]!r}, and a letter from A to D is wanted")
                yield where, {"question": cells[0], "subject": subject, "choices": cells[1:5], "answer": answer}
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{file}:{reader.line_num} is no CSV in UTF-8 ({error})") from None


def _piqa_labels(file: Path, rows: Iterable[Row]) -> Iterator[Row]:
    """PIQA keeps its labels in a file of their own, a line a row."""
    labels: list[str] | None = None
    beside = file.parent / f"{file.name.partition('.')[0]}-labels.lst"
    number = 0
    for where, row in rows:
        if "label" in row or "goal" not in row:
            yield where, row
            continue
        if labels is None:
            if not beside.exists():
                raise UserError(f"{where} has no label: PIQA's labels are wanted in {beside}")
            labels = beside.read_text().split()
        if number >= len(labels):
            raise UserError(f"{beside} holds {len(labels)} labels, and {where} has none")
        yield where, {**row, "label": labels[number]}
        number += 1
    if labels is not None and number != len(labels):
        raise UserError(f"{beside} holds {len(labels)} labels, and {file} {number} rows")


def _copa_xml(file: Path) -> Iterator[Row]:
    """COPA as first published."""
    from xml.etree import ElementTree

    try:
        items = ElementTree.fromstring(file.read_bytes()).iter("item")
    except ElementTree.ParseError as error:
        raise UserError(f"{file} is no XML ({error})") from None
    for item in items:
        cells = {name: (item.findtext(tag) or "").strip() for name, tag in _COPA_TAGS.items()}
        label = {"1": 0, "2": 1}.get(item.get("most-plausible-alternative", ""))
        yield f"{file}, item {item.get('id')}", {**cells, "question": item.get("asks-for"), "label": label}


_COPA_TAGS = {"premise": "p", "choice1": "a1", "choice2": "a2"}
