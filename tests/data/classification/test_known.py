"""Labels of a file among the classes that a classifier knows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from groundup.data.classification.known import read_known
from groundup.errors import UserError


def table(path: Path, labels: list[object]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("text,label\n" + "".join(f"text {i},{label}\n" for i, label in enumerate(labels)))
    return path


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        (["bad", "good", "bad"], ("good", "bad"), [1, 0, 1]),  # by name, not by the alphabet of this file
        ([1, 1, 1], ("bad", "good"), [1, 1, 1]),  # numbers of named classes; one class is enough to measure
        ([2, 1, 5], ("1", "2", "5"), [1, 0, 2]),  # stars: a number is a name here
        ([0, 2], ("LABEL_0", "LABEL_1", "LABEL_2"), [0, 2]),
    ],
)
def test_labels_are_the_classifiers(
    tmp_path: Path, labels: list[object], names: tuple[str, ...], classes: list[int]
) -> None:
    split, examples, found = read_known(table(tmp_path / "rows.csv", labels), names)
    assert (split, found) == ("all", classes)
    assert [example.text for example in examples] == [f"text {i}" for i in range(len(labels))]


def test_names_of_the_files_own_classes(tmp_path: Path) -> None:
    """AG News counts from 1 and tells the names beside."""
    folder = tmp_path / "news"
    folder.mkdir()
    (folder / "classes.txt").write_text("World\nSports\nBusiness\n")
    (folder / "train.csv").write_text('"1","a","b"\n"2","a","b"\n')
    (folder / "test.csv").write_text('"3","c","d"\n"1","e","f"\n')
    split, examples, found = read_known(folder, ("Business", "Sports", "World"))
    assert (split, found) == ("test", [0, 2])
    assert examples[0].text == "c d"


def test_the_runs_own_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"said": "x", "mood": "good", "label": 7}\n')
    section = SimpleNamespace(text_column="said", label_column="mood", text_pair_column=None)
    assert read_known(path, ("bad", "good"), section)[2] == [1]


@pytest.mark.parametrize(
    ("labels", "names", "match"),
    [
        (["good", "god"], ("bad", "good"), r"rows.csv:3: the label 'god' is none .* Did you mean 'good'"),
        ([0, 2], ("bad", "good"), r"rows.csv:3: the label 2 is none that the classifier tells apart"),
        ([1, 0], ("1", "2"), r"rows.csv:3: the label 0 is none"),
    ],
)
def test_an_unknown_label(tmp_path: Path, labels: list[object], names: tuple[str, ...], match: str) -> None:
    with pytest.raises(UserError, match=match):
        read_known(table(tmp_path / "rows.csv", labels), names)
