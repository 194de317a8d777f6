"""Rows held out, and the few that are read: by class, the same each time, equal texts together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from groundup.data.classification.duplicates import number_texts
from groundup.data.classification.examples import Example
from groundup.data.classification.load import labelled_texts, load_classification
from groundup.data.classification.split import some_rows, stratified
from groundup.errors import UserError

Write = Callable[[str, str], Path]
Dataset = Callable[..., Any]


def test_stratified_keeps_a_row_of_each_class_to_train_on():
    train, held = stratified([0] * 10 + [1] * 3 + [2], 0.9, seed=0)
    assert sorted(train + held) == list(range(14))
    assert sum(row < 10 for row in held) == 9
    assert {13, *train} == {*train}
    with pytest.raises(UserError, match=r"too few rows to hold 0.1 of them out: raise dataset.val_fraction"):
        stratified([0, 1, 0, 1], 0.1, seed=0)


def test_max_documents_draws_rows_from_the_whole_file(write: Write, dataset: Dataset, bert: Any):
    """A file sorted by class would else have one class only."""
    lines = [f"a,{label}" for label in (0, 1) for _ in range(100)]
    path = write("s.csv", "text,label\n" + "\n".join(lines))
    data = load_classification(dataset(path, max_documents=20, val_fraction=0.0), bert, max_length=9)
    assert len(data.train) == 20
    assert {row.labels for row in data.train} == {0, 1}
    with pytest.raises(UserError, match=r"dataset.max_documents is 1: two classes need two rows at least"):
        load_classification(dataset(path, max_documents=1), bert, max_length=9)


def test_small_classes_give_a_row_where_no_class_is_large():
    """Two rows of each of 50 classes: a twentieth of a class is no row, and one of all is five."""
    train, held = stratified([i // 2 for i in range(100)], 0.05, seed=0)
    assert (len(train), len(held)) == (95, 5)
    assert len({row // 2 for row in held}) == 5


def test_some_rows_have_the_shares_of_the_classes():
    classes = [0] * 900 + [1] * 90 + [2] * 9 + [3]
    rows = some_rows(classes, 100, seed=0)
    assert rows == sorted(rows) == some_rows(classes, 100, seed=0)
    assert rows != some_rows(classes, 100, seed=1)
    assert Counter(classes[row] for row in rows) == {0: 89, 1: 9, 2: 1, 3: 1}
    assert [classes[row] for row in some_rows(classes, 4, seed=0)] == [0, 1, 2, 3]
    assert [classes[row] for row in some_rows(classes, 2, seed=0)] == [0, 1]  # the largest
    assert some_rows([0, 1, 0], 9, seed=0) == [0, 1, 2]
    assert len({some_rows([0] * 10 + [1] * 10, 2, seed=seed)[0] for seed in range(20)}) > 5


def test_few_rows_of_many_classes_are_numbered_as_all_are(write: Write, dataset: Dataset):
    lines = [f"t {i},{i % 77}" for i in range(770)]
    train = str(write("train.csv", "text,label\n" + "\n".join(lines)))
    test = str(write("test.csv", "text,label\n" + "\n".join(f"u {i},{76 - i % 77}" for i in range(231))))
    section = dataset("x", train_path=train, test_path=test, max_documents=100, val_fraction=None)
    parts, names, _ = labelled_texts(section)
    assert names == tuple(map(str, range(77)))
    for examples, classes in parts.values():
        assert (len(examples), len(set(classes))) == (100, 77)
        assert [example.label for example in examples] == [names[number] for number in classes]


# --- equal texts ---------------------------------------------------------------------------------------------------


def test_equal_texts_stay_on_one_side():
    """100 texts, of which every fifth comes three times."""
    texts = [i for i in range(100) for _ in range(3 if i % 5 == 0 else 1)]
    classes = [text % 2 for text in texts]
    for seed in range(5):
        train, held = stratified(classes, 0.2, seed, texts=np.array(texts))
        assert sorted(train + held) == list(range(len(texts)))
        assert not {texts[row] for row in train} & {texts[row] for row in held}
        assert any(Counter(texts[row] for row in held)[text] == 3 for text in range(0, 100, 5))
        assert Counter(classes[row] for row in held) == {0: 14, 1: 14}
    alone = stratified(classes, 0.2, 0)[1]
    assert stratified(classes, 0.2, 0, texts=np.arange(len(texts)))[1] == alone
    assert {texts[row] for row in alone} & {texts[row] for row in set(range(len(texts))) - set(alone)}  # would leak


def test_a_class_of_texts_that_all_come_often_is_held_out_from_as_well():
    texts = np.repeat(np.arange(10), 4)
    train, held = stratified([0] * 20 + [1] * 20, 0.1, 0, texts=texts)
    assert (len(train), len(held)) == (32, 8)
    assert len({int(texts[row]) for row in held}) == 2
    train, held = stratified([0] * 4 + [1] * 4, 0.5, 0, texts=np.array([0, 0, 0, 0, 1, 2, 3, 4]))
    assert {0, 1, 2, 3} <= set(train)  # the only text of a class
    assert len(held) == 2


def test_equal_texts_of_several_labels_are_trained_on():
    texts = [0, 0, *range(1, 19)]
    classes = [0, 1] * 10
    for seed in range(10):
        train, held = stratified(classes, 0.5, seed, texts=np.array(texts))
        assert {0, 1} <= set(train)
        assert len(held) == 10


def test_texts_are_equal_with_their_pair():
    rows = [("a", None), ("b", None), ("a", "b"), ("a", None), ("a", "b"), ("ab", None)]
    numbers = number_texts([Example(text, 0, "", pair) for text, pair in rows])
    assert [[bool(numbers[i] == numbers[j]) for j in range(6)] for i in range(6)] == [
        [rows[i] == rows[j] for j in range(6)] for i in range(6)
    ]


def test_equal_texts_are_said(write: Write, dataset: Dataset, capsys: pytest.CaptureFixture[str]):
    path = write("d.csv", "text,label\n" + "\n".join(f"t {i % 8},{'x' if i % 2 else 'y'}" for i in range(16)))
    parts = labelled_texts(dataset(path, val_fraction=0.25))[0]
    assert f"8 of 16 training rows of {path} repeat the text of another\n" in capsys.readouterr().err
    train, held = ({example.text for example in parts[split][0]} for split in ("train", "heldout"))
    assert len(held) == 2
    assert not train & held
    path = write("e.csv", "text,label\na,x\nb,y\nc,x\nb,x\na,x\n")
    labelled_texts(dataset(path, val_fraction=0.0))
    assert (
        f"2 of 5 training rows of {path} repeat the text of another; texts with several labels: 1, the first is 'y' "
        f"at {path}:3 and 'x' at {path}:5"
    ) in capsys.readouterr().err


def test_rows_to_measure_by_that_are_trained_on_are_said(
    write: Write, dataset: Dataset, capsys: pytest.CaptureFixture[str]
):
    train = str(write("t.csv", "text,label\na,x\nb,y\n"))
    test = str(write("e.csv", "text,label\na,x\nc,y\nb,x\n"))
    labelled_texts(dataset("x", train_path=train, test_path=test, val_fraction=None))
    assert f"2 of 3 test rows of {train} have the text of a training row" in capsys.readouterr().err
