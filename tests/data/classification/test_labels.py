"""Labels below zero."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from groundup.data.classification.known import read_known
from groundup.data.classification.labels import number_labels
from groundup.data.classification.local import read_local
from groundup.errors import UserError

Write = Callable[[str, str], Path]
Dataset = Callable[..., Any]


def table(labels: list[Any]) -> str:
    return "text,label\n" + "".join(f"text {i},{label}\n" for i, label in enumerate(labels))


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        ([1, -1, 0, 1], ("-1", "0", "1"), [2, 0, 1, 2]),
        ([1, -1, 1], ("-1", "1"), [1, 0, 1]),
        ([-2, 2, 0, 1, -1], ("-2", "-1", "0", "1", "2"), [0, 4, 2, 3, 1]),
    ],
)
def test_labels_evenly_around_zero_are_classes(
    write: Write,
    dataset: Dataset,
    labels: list[int],
    names: tuple[str, ...],
    classes: list[int],
    capsys: pytest.CaptureFixture[str],
):
    path = write("a.csv", table(labels))
    assert number_labels(read_local(dataset(path))) == ({"train": classes}, names)
    assert f"the labels {', '.join(names)} are taken for {len(names)} classes" in capsys.readouterr().err
    assert read_known(path, names)[2] == classes


@pytest.mark.parametrize("labels", [[0, 1, -1, 2, -1], [0, -1, 0, 1, 2, -1]])
def test_a_label_that_says_none(write: Write, dataset: Dataset, labels: list[int]):
    path = write("a.csv", table(labels))
    said = rf"the label '-1' says that the row has none \(.*another name\); 2 of {len(labels)} rows cannot be used"
    with pytest.raises(UserError, match=said):
        read_local(dataset(path))
    source = read_local(dataset(path, on_bad_row="drop"))
    assert [int(example.label) for example in source.splits["train"]] == [label for label in labels if label >= 0]


def test_a_split_without_a_label_is_left_out_where_rows_may_be(
    write: Write, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for split, labels in (("train", [0, 1]), ("dev", [1, 0]), ("test", [-1, -1])):
        write(f"glue/{split}.csv", table(labels))
    source = read_local(dataset(tmp_path / "glue", on_bad_row="drop"))
    assert source.splits.keys() == {"train", "validation"}
    assert "no test row of" in capsys.readouterr().err


def test_numbers_of_named_classes_are_not_signed(write: Write, dataset: Dataset):
    write("ag/classes.txt", "World\nSports\n")
    path = write("ag/train.csv", '"1","a"\n"-1","b"\n')
    with pytest.raises(UserError, match=r"train\.csv:2: the label '-1' says that the row has none"):
        read_local(dataset(path))


def test_a_list_of_labels_beside_its_words(write: Write, dataset: Dataset):
    path = write("a.jsonl", '{"text": "a", "label": [0, 2], "label_text": "x"}\n{"text": "b", "label": [1]}\n')
    with pytest.raises(UserError, match=r"a\.jsonl:1: the label is \[0, 2\], and a whole number or a word is wanted"):
        number_labels(read_local(dataset(path)))
