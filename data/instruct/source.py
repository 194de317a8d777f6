"""The rows of a run's instruction data: files, folders or the hub, read into conversations and split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ...errors import UserError, nearest, notice
from ..corpus import STDLIB, is_hub_id
from ..files import folder_files, hash_files
from ..splits import TRAIN, files_by_split, kept_apart, say_splits
from ..tables import TABLE_SUFFIXES, is_table, read_rows
from ..text import VAL_FRACTION
from .conversation import Conversation
from .custom import custom_reader
from .formats import alpaca, sharegpt
from .oasst import oasst, trees

FORMATS = ("alpaca", "sharegpt", "oasst", "custom")
Rows = Iterable[tuple[str, dict[str, Any]]]
Group = list[Conversation]
"""What came of one row: it is trained on or held out as one."""


@dataclass(frozen=True)
class Source:
    """Where rows come from. `fingerprint()` reads the data; `apart` is what a folder keeps for evaluation."""

    name: str
    rows: Callable[[], Rows]
    fingerprint: Callable[[], str]
    is_local: bool = True
    splits: dict[str, list[Path]] = field(default_factory=dict)

    @property
    def apart(self) -> Source | None:
        """The files of its folder that are to evaluate on, by their names; None where there are none."""
        files = kept_apart(self.splits)
        return _of_files(self.name, files) if files else None


def open_source(dataset: Any, key: str) -> Source:
    """What `dataset.<key>` names: a table, a folder of tables, or, as `dataset.name`, a dataset of the hub.

    Raises UserError: nothing is named, nothing is there, or it is no table.
    """
    name = getattr(dataset, key)
    path = Path(name).expanduser()
    if key == "name" and name == STDLIB:
        raise UserError(
            f"dataset.format is {dataset.format}, and no data is named: give its file in dataset.train_path"
        )
    if path.exists():
        splits = files_by_split(path, folder_files(path)) if path.is_dir() else {TRAIN: [path]}
        files = kept_apart(splits) or splits[TRAIN] if key == "eval_path" else splits[TRAIN]
        if not all(map(is_table, files)):
            raise UserError(f"dataset.{key} is '{name}', and a table is wanted: {', '.join(TABLE_SUFFIXES)}")
        return _of_files(str(name), files, splits)
    if key == "name" and is_hub_id(name):
        from ..hub import HubDataset

        hub = HubDataset(name, dataset.config, dataset.split or "train", None, dataset.streaming, dataset.num_proc)
        return Source(name, hub.rows, lambda: hub.fingerprint, is_local=False)
    raise UserError(f"dataset.{key} is '{name}', and there is no such file or folder")


def _of_files(name: str, files: list[Path], splits: dict[str, list[Path]] | None = None) -> Source:
    def rows() -> Rows:
        return (row for file in files for row in read_rows(file))

    return Source(name, rows, lambda: hash_files(files, "rows"), splits=splits or {})


def open_sides(dataset: Any) -> tuple[Source, Source | None]:
    """What is trained on, and what is held out where it is named or kept apart, not a share of the rows."""
    source = open_source(dataset, "train_path" if dataset.train_path else "name")
    held = None if dataset.eval_path or dataset.val_fraction == 0 else source.apart
    say_splits(source.name, source.splits, evaluated=held is not None)
    return source, open_source(dataset, "eval_path") if dataset.eval_path else held


def look_at(dataset: Any) -> None:
    """Read and check all rows on this machine, without a tokenizer; a data set of the hub is not asked for.

    Raises UserError for what `load_instructions` would refuse whatever the tokenizer.
    """
    _reader(dataset)
    source, held = open_sides(dataset)
    if held is not None:
        read_groups(held, dataset)
    if source.is_local:
        groups = read_groups(source, dataset)
        if held is None:
            split_groups(groups, share_held_out(dataset), 0)


def share_held_out(dataset: Any) -> float:
    """dataset.val_fraction, or the usual one."""
    return VAL_FRACTION if dataset.val_fraction is None else dataset.val_fraction


def read_groups(source: Source, dataset: Any) -> list[Group]:
    """The conversations of each row (of each tree, for oasst), the first `dataset.max_documents` rows of them.

    Raises UserError for bad rows, unless dataset.on_bad_row is drop: then they are left out and counted.
    """
    reader = _reader(dataset)
    rows: Rows = source.rows()
    if dataset.format == "oasst":
        rows = trees(rows, getattr(dataset, "lang", None))
    groups: list[Group] = []
    bad: list[str] = []
    for where, row in islice(rows, getattr(dataset, "max_documents", None)):
        try:
            groups.append(reader(where, row))
        except UserError as error:
            bad.append(str(error))
    settle_bad(bad, len(groups) + len(bad), source.name, getattr(dataset, "on_bad_row", "error"))
    if not groups:
        raise UserError(f"{source.name} has no conversation to train on")
    return groups


def settle_bad(bad: list[str], total: int, source: str, on_bad_row: str) -> None:
    """The note about bad rows that are left out, with the first of them. Raises UserError where they are refused."""
    if not bad:
        return
    if on_bad_row == "drop":
        notice(f"{len(bad):,} of {total:,} rows of {source} were left out; the first: {bad[0]}")
        return
    if len(bad) < total:
        rest = f"{len(bad):,} of {total:,} rows cannot be used: mend them, or set dataset.on_bad_row to drop"
    elif total > 1:
        rest = f"none of the {total:,} rows can be used: is it of another dataset.format, or another file?"
    else:
        rest = "it is the only row: mend it"
    link = " " if bad[0].endswith(("?", ".")) else "; "
    raise UserError(f"{bad[0]}{link}{rest if link == '; ' else rest[0].upper() + rest[1:]}")


def _reader(dataset: Any) -> Callable[[str, dict[str, Any]], Group]:
    name, template = dataset.format, getattr(dataset, "template", None)
    if template is not None and name != "custom":
        raise UserError(f"dataset.template is for dataset.format custom, and it is {name}: leave it out")
    if getattr(dataset, "lang", None) is not None and name != "oasst":
        raise UserError(f"dataset.lang is for dataset.format oasst, and it is {name}: leave it out")
    if name == "oasst":
        return oasst
    if name == "custom":
        one = custom_reader(template)
    else:
        readers = {"alpaca": alpaca, "sharegpt": sharegpt}
        if name not in readers:
            raise UserError(f"dataset.format is '{name}'.{nearest(name, FORMATS)}")
        one = readers[name]
    return lambda where, row: [one(where, row)]


def split_groups(groups: list[Group], fraction: float, seed: int) -> tuple[list[Group], list[Group]]:
    """(training, held out): a share of the groups by a hash of what they ask first, so equal questions stay together.

    Raises UserError where there are too few to hold any out.
    """
    if not 0.0 <= fraction < 1.0:
        raise UserError(f"dataset.val_fraction is {fraction}: it is a share, from 0 to below 1")
    if not fraction:
        return groups, []
    keys = [_key(group, seed) for group in groups]
    wanted = max(1, round(fraction * len(groups)))
    border = sorted(keys)[min(wanted, len(keys)) - 1]
    train = [group for group, key in zip(groups, keys, strict=True) if key > border]
    heldout = [group for group, key in zip(groups, keys, strict=True) if key <= border]
    if not train:
        raise UserError(
            f"{len(groups)} rows are too few to hold any out: set dataset.val_fraction to 0, or give dataset.eval_path"
        )
    return train, heldout


def _key(group: Group, seed: int) -> bytes:
    first = next(message["content"] for message in group[0].messages if message["role"] == "user")
    return hashlib.blake2b(f"{seed}\0{first}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def conversations(groups: Iterable[Group]) -> Iterator[Conversation]:
    """All conversations, in order."""
    return (conversation for group in groups for conversation in group)
