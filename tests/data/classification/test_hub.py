"""Labelled data sets of the hub: by name, their splits, and the rows of them that nobody can mend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from groundup.data.classification.hub import read_hub
from groundup.data.classification.labels import number_labels
from groundup.data.classification.load import labelled_texts, load_classification
from groundup.errors import UserError

Dataset = Callable[..., Any]


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `datasets.load_dataset` gives for an id, instead of the hub."""
    import datasets

    there: dict[str, Any] = {}

    def load_dataset(name: str, config: str | None = None, **workers: Any) -> Any:
        if name not in there:
            raise ConnectionError("no network")
        return datasets.DatasetDict(there[name])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return there


def split_of(names: list[str], labels: list[int], **columns: list[str]) -> Any:
    import datasets

    features = {name: datasets.Value("string") for name in columns} | {"label": datasets.ClassLabel(names=names)}
    return datasets.Dataset.from_dict({**columns, "label": labels}, features=datasets.Features(features))


@pytest.mark.parametrize(
    ("name", "id", "columns"),
    [
        ("imdb", "stanfordnlp/imdb", ["text"]),
        ("ag_news", "fancyzhx/ag_news", ["text"]),
        ("sst2", "stanfordnlp/sst2", ["sentence"]),
        ("SST-2", "stanfordnlp/sst2", ["sentence"]),
        ("amazon", "fancyzhx/amazon_polarity", ["title", "content"]),
        ("amazon_polarity", "fancyzhx/amazon_polarity", ["title", "content"]),
        ("yelp_polarity", "fancyzhx/yelp_polarity", ["text"]),
        ("fancyzhx/yelp_polarity", "fancyzhx/yelp_polarity", ["text"]),
    ],
)
def test_data_sets_by_name(
    published: dict[str, Any], dataset: Dataset, bert: Any, name: str, id: str, columns: list[str]
):
    texts = {column: [f"{chr(97 + i)} {chr(98 + i)}" for i in range(3)] for column in columns}
    train = split_of(["neg", "pos"], [1, 0, 1], **texts)
    published[id] = {"train": train, "test": train, "unsupervised": train}
    data = load_classification(dataset(name, val_fraction=None), bert, max_length=9)
    assert data.label_names == ("neg", "pos")
    assert [row.labels for row in data.train] == [1, 0, 1]
    assert data.heldout_is == "test"
    assert data.train_texts[0] == " ".join(["a b"] * len(columns))


def test_a_test_split_without_labels_is_left_out(
    published: dict[str, Any], dataset: Dataset, bert: Any, capsys: pytest.CaptureFixture[str]
):
    names = ["negative", "positive"]
    published["stanfordnlp/sst2"] = {
        "train": split_of(names, [1, 0], sentence=["a", "b"]),
        "validation": split_of(names, [1, 0], sentence=["c", "d"]),
        "test": split_of(names, [-1, -1], sentence=["e", "f"]),
    }
    data = load_classification(dataset("sst2"), bert, max_length=9)
    assert (data.heldout_is, data.test) == ("validation", None)
    assert "the test split of stanfordnlp/sst2 has no labels and is left out" in capsys.readouterr().err


def test_rows_of_the_hub_without_a_text_are_left_out(
    published: dict[str, Any], dataset: Dataset, bert: Any, capsys: pytest.CaptureFixture[str]
):
    rows = split_of(["n", "p"], [1, 0, 1, 0], text=["a", "", "b", "c"])
    published["stanfordnlp/imdb"] = {"train": rows, "test": rows}
    data = load_classification(dataset("imdb", val_fraction=None), bert, max_length=9)
    assert data.train_texts == ["a", "b", "c"]
    said = "1 of 4 rows of the train split of stanfordnlp/imdb were left out; the first: row 2 of the train split of"
    assert said in capsys.readouterr().err
    with pytest.raises(UserError, match=r"row 2 of the train split of stanfordnlp/imdb: the text is empty"):
        load_classification(dataset("imdb", on_bad_row="error"), bert, max_length=9)


def test_without_network_it_says_how_to_give_files(published: dict[str, Any], dataset: Dataset, bert: Any):
    with pytest.raises(UserError) as caught:
        load_classification(dataset("imdb", val_fraction=None), bert, max_length=9)
    said = str(caught.value)
    assert said.startswith("dataset.name is 'imdb': the Hugging Face dataset stanfordnlp/imdb is not on this machine")
    assert "dataset.train_path" in said
    assert "stdlib-docstrings" in said
    assert "\n" not in said


def test_streaming_a_data_set_of_classes_is_refused(published: dict[str, Any], dataset: Dataset, bert: Any):
    with pytest.raises(UserError, match=r"dataset.streaming: the labels of stanfordnlp/imdb are counted before"):
        load_classification(dataset("imdb", streaming=True), bert, max_length=9)


# --- rows and splits that cannot be used ---------------------------------------------------------------------------


def test_a_split_without_labels_cannot_be_trained_on(published: dict[str, Any], dataset: Dataset):
    names = ["negative", "positive"]
    published["stanfordnlp/sst2"] = {
        "train": split_of(names, [1, 0], sentence=["a", "b"]),
        "test": split_of(names, [-1, -1], sentence=["e", "f"]),
    }
    with pytest.raises(UserError, match=r"no row of the test split of stanfordnlp/sst2 can be trained on; none has a"):
        read_hub(dataset("sst2", split="test"), 0)


def test_an_empty_split_cannot_be_trained_on(published: dict[str, Any], dataset: Dataset):
    published["stanfordnlp/imdb"] = {"train": split_of(["n", "p"], [], text=[])}
    with pytest.raises(UserError, match=r"the train split of stanfordnlp/imdb has no rows: name another in dataset.sp"):
        read_hub(dataset("imdb"), 0)


def test_a_split_without_the_column_of_labels_is_left_out(
    published: dict[str, Any], dataset: Dataset, capsys: pytest.CaptureFixture[str]
):
    rows = split_of(["n", "p"], [0, 1], text=["a", "b"])
    published["stanfordnlp/imdb"] = {"train": rows, "test": rows.remove_columns("label")}
    assert read_hub(dataset("imdb"), 0).splits.keys() == {"train"}
    assert "the test split of stanfordnlp/imdb has no labels and is left out" in capsys.readouterr().err


def test_rows_without_a_label_or_a_second_text_are_left_out(
    published: dict[str, Any], dataset: Dataset, capsys: pytest.CaptureFixture[str]
):
    """SNLI has -1 here and there, QQP questions without a second one."""
    rows = split_of(["e", "c"], [0, -1, 1, 0], premise=list("abcd"), hypothesis=["w", "x", " ", "z"])
    published["stanfordnlp/snli"] = {"train": rows}
    train = read_hub(dataset("stanfordnlp/snli"), 0).splits["train"]
    assert [(example.text, example.pair) for example in train] == [("a", "w"), ("d", "z")]
    assert train[1].where == "row 4 of the train split of stanfordnlp/snli"
    said = capsys.readouterr().err
    assert "1 of 4 rows of the train split of stanfordnlp/snli were left out; the first: row 2 of" in said
    assert "1 of 3 rows of the train split of stanfordnlp/snli were left out; the first: row 3 of" in said


@pytest.mark.parametrize(("own", "count"), [("validation_matched", 1), ("dev", 1), ("validation", 0)])
def test_validation_by_another_name(
    published: dict[str, Any], dataset: Dataset, own: str, count: int, capsys: pytest.CaptureFixture[str]
):
    rows = [split_of(["n", "p"], [0, 1], text=[name, "b"]) for name in ("a", "c", "d")]
    published["someone/set"] = {"train": rows[0], own: rows[1], "validation_mismatched": rows[2]}
    source = read_hub(dataset("someone/set"), 0)
    assert source.splits["validation"][0].where == f"row 1 of the {own} split of someone/set"
    assert source.splits["validation"][0].text == "c"
    assert capsys.readouterr().err.count(f"has no validation split: '{own}' is taken") == count


def test_the_split_that_is_trained_on_is_not_held_out(published: dict[str, Any], dataset: Dataset):
    rows = split_of(["n", "p"], [0, 1], text=["a", "b"])
    published["someone/set"] = {"train": rows, "dev": rows}
    assert read_hub(dataset("someone/set", split="dev"), 0).splits.keys() == {"train"}
    with pytest.raises(UserError, match=r"someone/set has no split 'tran'. Did you mean 'train'"):
        read_hub(dataset("someone/set", split="tran"), 0)


# --- few of the rows -----------------------------------------------------------------------------------------------


def numbers_of(labels: list[Any], kind: str = "int64") -> Any:
    """A split whose labels have no names."""
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.Value(kind)})
    return datasets.Dataset.from_dict({"text": [f"t {i}" for i in range(len(labels))], "label": labels}, features)


def test_few_rows_know_all_the_classes(published: dict[str, Any], dataset: Dataset):
    """77 classes in 100 of the rows: some have one, and the test rows may have any."""
    published["someone/banking"] = {
        "train": numbers_of([i % 77 for i in range(7700)]),
        "test": numbers_of([76 - i % 77 for i in range(154)]),
    }
    parts, names, _ = labelled_texts(dataset("someone/banking", max_documents=100, val_fraction=None))
    assert names == tuple(map(str, range(77)))
    assert {split: (len(rows), len(set(classes))) for split, (rows, classes) in parts.items()} == {
        "train": (100, 77),
        "heldout": (100, 77),
    }
    examples, classes = parts["train"]
    rows = [int(example.where.split()[1]) - 1 for example in examples]  # numbers in the whole split
    assert [row % 77 for row in rows] == classes
    assert [example.text for example in examples] == [f"t {row}" for row in rows]
    again = labelled_texts(dataset("someone/banking", max_documents=100, val_fraction=None))[0]
    assert again == parts


def test_few_rows_leave_out_what_has_no_label(published: dict[str, Any], dataset: Dataset):
    published["someone/snli"] = {"train": split_of(["e", "c"], [0, -1, -1, 1, -1, 0, 1, -1], text=list("abcdefgh"))}
    train = read_hub(dataset("someone/snli", max_documents=4), 0).splits["train"]
    assert [example.text for example in train] == ["a", "d", "f", "g"]


def test_negative_numbers_of_the_hub(published: dict[str, Any], dataset: Dataset):
    published["someone/moods"] = {"train": numbers_of([1, -1, 0])}
    assert number_labels(read_hub(dataset("someone/moods"), 0)) == ({"train": [2, 0, 1]}, ("-1", "0", "1"))
    published["someone/snli"] = {"train": numbers_of([1, -1, 0, 2])}
    assert number_labels(read_hub(dataset("someone/snli"), 0)) == ({"train": [1, 0, 2]}, ("0", "1", "2"))


@pytest.mark.parametrize("limit", [None, 2])
def test_lists_of_labels_are_refused(published: dict[str, Any], dataset: Dataset, limit: int | None):
    import datasets

    rows = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "labels": [[1], [0, 2], [3]]})
    published["someone/emotions"] = {"train": rows}
    with pytest.raises(UserError, match=r"row 1 of the train split of someone/emotions: the label is \[1\], and"):
        read_hub(dataset("someone/emotions", max_documents=limit), 0)
