"""Which files are which split, and which folders are classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from groundup.data.classification.kind import is_labelled
from groundup.data.classification.known import read_known
from groundup.data.classification.local import read_local
from groundup.errors import UserError

Write = Callable[[str, str], Path]
Dataset = Callable[..., Any]
TABLE = "text,label\na,0\nb,1\n"


@pytest.mark.parametrize(
    "names",
    [
        ("wk/train/a.txt", "wk/valid/a.txt", "wk/test/a.txt"),  # a corpus by split
        ("wk/vol1/a.txt", "wk/vol1/b.txt"),  # in one folder
        ("wk/vol1/a.txt", "wk/test/b.txt"),
    ],
)
def test_folders_of_text_are_no_classes(write: Write, dataset: Dataset, tmp_path: Path, names: tuple[str, ...]):
    for name in names:
        write(name, "just text")
    assert not is_labelled(dataset(tmp_path / "wk"))


def test_no_class_is_called_as_a_split_is(write: Write, dataset: Dataset, tmp_path: Path):
    for name in ("car", "bus", "train"):
        write(f"wheels/{name}/a.txt", f"a {name}")
    with pytest.raises(UserError, match=r"wheels/train is called as a split is, and its texts lie in no folder"):
        read_local(dataset(tmp_path / "wheels"))


def test_two_folders_are_classes(write: Write, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("train/pos/1.txt", "train/neg/1.txt", "train/unsup/1.txt", "test/pos/1.txt"):
        write(f"films/{name}", "a text")
    assert is_labelled(dataset(tmp_path / "films"))
    assert capsys.readouterr().err == ""  # who only asks is told nothing
    assert read_local(dataset(tmp_path / "films")).reads == "each folder is a class (neg, pos)"


def test_a_folder_without_the_split_that_it_is_named_for(write: Write, dataset: Dataset, tmp_path: Path):
    """Its training rows would be the validation rows."""
    write("set/train.csv", TABLE)
    write("set/test.csv", TABLE)
    folder = str(tmp_path / "set")
    with pytest.raises(UserError, match=r"nothing named validation: name the file in dataset.eval_path"):
        read_local(dataset("x", train_path=folder, eval_path=folder))
    source = read_local(dataset("x", train_path=folder, test_path=folder))
    assert source.splits["test"][0].where.endswith("test.csv:2")


def test_a_folder_of_one_split(write: Write, dataset: Dataset, tmp_path: Path):
    """A single table that is named after nothing, or the folders of the classes, are what they are given for."""
    write("a/rows.csv", TABLE)
    write("b/more.csv", TABLE)
    folders = {"train_path": str(tmp_path / "a"), "eval_path": str(tmp_path / "b")}
    assert {split: len(rows) for split, rows in read_local(dataset("x", **folders)).splits.items()} == {
        "train": 2,
        "validation": 2,
    }


def test_a_file_that_is_named_is_what_it_is_named_for(write: Write, dataset: Dataset, tmp_path: Path):
    for name in ("train", "test"):
        write(f"set/{name}.csv", TABLE)
    source = read_local(dataset(tmp_path / "set", eval_path=str(tmp_path / "set/test.csv")))
    assert {split: rows[0].where.rpartition("/")[2] for split, rows in source.splits.items()} == {
        "train": "train.csv:2",
        "validation": "test.csv:2",
    }


@pytest.mark.parametrize("key", ["eval_path", "test_path"])
def test_one_file_is_one_split(write: Write, dataset: Dataset, key: str):
    path = str(write("rows.csv", TABLE))
    split = {"eval_path": "validation", "test_path": "test"}[key]
    with pytest.raises(UserError, match=rf"would be the train rows and the {split} rows: .* dataset.{key}"):
        read_local(dataset("x", train_path=path, **{key: path}))


def test_a_folder_with_nothing_but_a_test_is_enough_to_measure(write: Write, dataset: Dataset, tmp_path: Path):
    write("only/test.csv", TABLE)
    split, examples, classes = read_known(tmp_path / "only", ("0", "1"))
    assert (split, len(examples), classes) == ("test", 2, [0, 1])
    with pytest.raises(UserError, match=r"nothing named train: name the file in dataset.train_path"):
        read_local(dataset(tmp_path / "only"))
