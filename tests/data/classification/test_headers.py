"""Tables with a header and without, and a csv file that is none."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from groundup.data.classification.headers import numbered_columns
from groundup.data.classification.kind import is_labelled
from groundup.data.classification.local import read_local
from groundup.errors import UserError

Write = Callable[[str, str], Path]
Dataset = Callable[..., Any]


def test_a_header_is_told_by_the_first_line(write: Write, dataset: Dataset):
    section = dataset("x")
    assert numbered_columns(write("a.csv", "text,label\nx,1\n"), section) is None
    assert numbered_columns(write("b.csv", "2,x\n1,y\n"), section) == ["1", "2"]
    assert numbered_columns(write("c.tsv", "2\tx, y\tz\n"), section) == ["1", "2", "3"]
    assert numbered_columns(write("d.csv", "x,pos\n"), dataset("x", label_column="2")) == ["1", "2"]


def test_a_record_may_have_a_column_called_1(tmp_path: Path, dataset: Dataset):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": t, "label": y, "1": 0.5}) + "\n" for t, y in (("a", "x"), ("b", "y"))))
    assert is_labelled(dataset(path))
    assert [example.text for example in read_local(dataset(path)).splits["train"]] == ["a", "b"]


def test_semicolons_are_said(write: Write, dataset: Dataset):
    path = write("a.csv", '"text";"label"\n"a, b";0\n"c";1\n')
    assert is_labelled(dataset(path))  # not text of one column called `text;label`
    with pytest.raises(UserError, match=r"a\.csv is parted by ';', and a csv file is by ',': save it with commas"):
        read_local(dataset(path))
    assert not is_labelled(dataset(write("b.csv", "text;url\na;b\n")))
    assert not is_labelled(dataset(write("c.csv", "text; or not\na b\n")))


def test_a_tsv_as_pandas_writes_it(tmp_path: Path, dataset: Dataset):
    path, rows = tmp_path / "a.tsv", [('he said "no", twice', "neg"), ("yes", "pos"), ('"so" it is', "pos")]
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([("text", "label"), *rows])
    assert [(example.text, example.label) for example in read_local(dataset(path)).splits["train"]] == rows
