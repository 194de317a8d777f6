"""What a folder holds for training is not what it keeps apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from groundup.data.corpus import open_corpus
from groundup.data.splits import files_by_split, kept_apart, say_splits, split_of


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"text": "{name}"}}' if "jsonl" in name else name)
    return folder


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("wiki.train.raw", "train"),
        ("wiki.valid.raw", "validation"),
        ("test.jsonl", "test"),
        ("Train.CSV", "train"),
        ("train-00000-of-00002.parquet", "train"),
        ("SST-2-val.parquet", "validation"),
        ("data_dev.tsv.gz", "validation"),
        ("test/a.txt", "test"),
        ("training/x/a.txt", "train"),
        ("a.txt", None),
        ("train.py", None),
        ("test.md", None),
        ("latest.txt", None),
        ("train_of_thought.txt", None),
    ],
)
def test_the_split_that_a_name_says(name: str, split: str | None, tmp_path: Path) -> None:
    assert split_of(tmp_path / name, tmp_path) == split


@pytest.mark.parametrize(
    ("names", "train", "apart"),
    [
        (["wiki.train.raw", "wiki.valid.raw", "wiki.test.raw"], ["wiki.train.raw"], ["wiki.valid.raw"]),
        (["train.jsonl", "test.jsonl", "README.md"], ["train.jsonl"], ["test.jsonl"]),
        (["train/a.txt", "train/b.txt", "dev/a.txt"], ["train/a.txt", "train/b.txt"], ["dev/a.txt"]),
        (["train.txt", "test.txt", "README.md", "LICENSE.txt"], ["train.txt"], ["test.txt"]),
        (["train.txt", "test.txt", "notes.txt"], ["train.txt"], ["test.txt"]),
        # Not split: one of two kinds alone, names among many, source code.
        (["test.txt", "valid.txt"], ["test.txt", "valid.txt"], []),
        (["train.txt", "notes.txt"], ["notes.txt", "train.txt"], []),
        (["express-train.txt", "blood-test.txt", "a.txt", "b.txt"], None, []),
        (["train.py", "test.py"], ["test.py", "train.py"], []),
    ],
)
def test_what_is_trained_on_and_what_is_held_out(
    names: list[str], train: list[str] | None, apart: list[str], tmp_path: Path
) -> None:
    corpus = open_corpus(fill(tmp_path, *names), whole=False)
    assert list(corpus.documents()) == (sorted(names) if train is None else train)
    held = corpus.apart()
    assert ([] if held is None else list(held.documents())) == apart
    few = open_corpus(tmp_path, max_documents=1, whole=False).apart()
    assert few is None or len(list(few.documents())) == 1
    # Where nothing is trained there is nothing to keep apart.
    assert set(open_corpus(tmp_path).documents()) >= {name for name in names if name.islower()}


def test_what_each_file_is_for_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"train-{i}.txt" for i in range(5)] + ["valid.txt", "test.txt", "notes.txt"]
    files = [tmp_path / name for name in names]
    by_split = files_by_split(tmp_path, files)
    assert kept_apart(by_split) == [tmp_path / "valid.txt"]
    say_splits("data", by_split)
    say_splits("data", by_split, evaluated=False)
    say_splits("data", {"train": files})
    trained = "note: data is a folder of splits: trained on: train-0.txt, train-1.txt, train-2.txt, ... (5 files); "
    assert capsys.readouterr().err.splitlines() == [
        trained + "held out: valid.txt; not read: test.txt, notes.txt",
        trained + "not read: valid.txt, test.txt, notes.txt",
    ]


def test_a_data_set_s_readme_is_not_its_text(tmp_path: Path) -> None:
    """As a data set is cloned from the hub."""
    folder = fill(tmp_path / "wiki", "README.md", "LICENSE", "wiki.py", "data.jsonl", ".gitattributes")
    (folder / "dataset_infos.json").write_text("{}")
    assert list(open_corpus(folder).documents()) == ["data.jsonl"]
    assert list(open_corpus(fill(tmp_path / "text", "README.md", "a.md")).documents()) == ["README.md", "a.md"]
    assert list(open_corpus(fill(tmp_path / "only", "README.md")).documents()) == ["README.md"]
    # Text beside tables is text, as ever.
    assert list(open_corpus(fill(tmp_path / "both", "README.md", "a.txt", "b.jsonl")).documents()) == [
        "README.md",
        "a.txt",
    ]
