"""Labelled texts as rows: templates, cuts, what is held out, random stretches, the table, the hub, the docstrings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from groundup.data.classification.load import load_classification
from groundup.data.classification.split import some_rows, stratified
from groundup.data.classification.tokens import CroppedRows
from groundup.data.lengths import Lengths, LengthTable
from groundup.errors import UserError

Write = Callable[[str, str], Path]
Dataset = Callable[..., Any]
CLS, SEP, A = 2, 3, 4  # ids of the tokenizer of letters


@pytest.fixture
def reviews(write: Write) -> Path:
    """40 rows, 10 of class n: `a b` .. of 1 to 12 letters."""
    lines = [f"{' '.join('abcdefghijkl'[: i % 12 + 1])},{'n' if i % 4 == 0 else 'p'}" for i in range(40)]
    return write("r.csv", "text,label\n" + "\n".join(lines))


def test_rows_have_the_template_of_the_tokenizer(reviews: Path, dataset: Dataset, bert: Any):
    data = load_classification(dataset(reviews, val_fraction=0.0), bert, max_length=8)
    assert data.label_names == ("n", "p")
    assert (data.heldout, data.test, data.num_labels) == ([], None, 2)
    assert data.train[2].ids.tolist() == [CLS, A, A + 1, A + 2, SEP]
    assert data.train[11].ids.tolist() == [CLS, *range(A, A + 6), SEP]  # cut, and [SEP] stays
    assert [row.labels for row in data.train[:5]] == [0, 1, 1, 1, 0]
    assert data.train[2].token_types is None
    assert data.train[2].where.endswith("r.csv:4")
    assert data.train_texts[2] == "a b c"


def test_pairs_have_token_types_and_lose_the_longer_text_first(write: Write, dataset: Dataset, bert: Any):
    path = write("p.csv", "sentence1,sentence2,label\na b,c,0\na b c d e f,g h,1\n")
    data = load_classification(dataset(path, val_fraction=0.0), bert, max_length=8)
    assert data.train[0].ids.tolist() == [CLS, A, A + 1, SEP, A + 2, SEP]
    types = [row.token_types.tolist() for row in data.train if row.token_types is not None]
    assert types[0] == [0, 0, 0, 0, 1, 1]
    assert data.train[1].ids.tolist() == [CLS, A, A + 1, A + 2, SEP, A + 6, A + 7, SEP]
    batch = data.batches(2, 8, 0).batch(0)
    assert batch.token_type_ids is not None
    assert batch.token_type_ids.sum() == 2 + 3
    assert data.train_texts[0] == "a b c"


def test_truncation_at_the_tokenizers_side(reviews: Path, dataset: Dataset, bert: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bert, "truncation_side", "left")
    data = load_classification(dataset(reviews, val_fraction=0.0), bert, max_length=5)
    assert data.train[11].ids.tolist() == [CLS, A + 9, A + 10, A + 11, SEP]


def test_the_same_share_of_every_class_is_held_out(reviews: Path, dataset: Dataset, bert: Any):
    data = load_classification(dataset(reviews, val_fraction=0.2), bert, max_length=16, seed=1)
    assert (len(data.train), len(data.heldout)) == (32, 8)
    assert [row.labels for row in data.heldout].count(0) == 2
    places = {row.where for row in data.train} | {row.where for row in data.heldout}
    assert len(places) == 40
    again = load_classification(dataset(reviews, val_fraction=0.2), bert, max_length=16, seed=1)
    assert [row.where for row in again.heldout] == [row.where for row in data.heldout]
    assert again.fingerprint == data.fingerprint
    other = load_classification(dataset(reviews, val_fraction=0.2), bert, max_length=16, seed=2)
    assert [row.where for row in other.heldout] != [row.where for row in data.heldout]
    assert other.fingerprint != data.fingerprint


def test_splits_that_are_there_are_held_out(write: Write, dataset: Dataset, bert: Any):
    def table(name: str, text: str) -> str:
        return str(write(name, f"text,label\n{text},0\n{text} {text},1\n"))

    train, dev, test = table("a.csv", "a"), table("b.csv", "b"), table("c.csv", "c")
    data = load_classification(dataset("x", train_path=train, eval_path=dev, test_path=test), bert, max_length=9)
    assert (data.heldout_is, data.heldout_texts[0]) == ("validation", "b")
    assert data.test_texts is not None
    assert data.test_texts[0] == "c"
    data = load_classification(dataset("x", train_path=train, test_path=test), bert, max_length=9)
    assert (data.heldout_is, data.heldout_texts[0], data.test) == ("test", "c", None)


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
    assert some_rows(200, 20, 0) == some_rows(200, 20, 0) == sorted(some_rows(200, 20, 0))
    assert some_rows(5, 9, 0) == [0, 1, 2, 3, 4]


def test_batches_are_grouped_by_length_and_the_same_again(reviews: Path, dataset: Dataset, bert: Any):
    data = load_classification(dataset(reviews, val_fraction=0.0), bert, max_length=16)
    batches = data.batches(4, 16, seed=0)
    widths = [batches.batch(i).input_ids.shape[1] for i in range(batches.batches_per_epoch)]
    padding = sum(w * 4 for w in widths) - sum(len(row.ids) for row in data.train)
    assert padding <= 10 * 4
    assert widths != sorted(widths)
    again = data.batches(4, 16, seed=0)
    assert all(bool((again.batch(i).input_ids == batches.batch(i).input_ids).all()) for i in (0, 7, 13))
    rows = data.evaluation(data.train, 7, 16)
    assert sum(len(rows.batch(i).labels) for i in range(rows.batches_per_epoch)) == 40


def test_the_length_table_says_what_is_cut(reviews: Path, dataset: Dataset, bert: Any):
    data = load_classification(dataset(reviews, val_fraction=0.0), bert, max_length=8)
    lengths = [i % 12 + 3 for i in range(40)]
    table = data.table.splits[0]
    assert (table.rows, table.tokens, table.longest) == (40, sum(lengths), 14)
    assert (table.cut, table.lost) == (sum(n > 8 for n in lengths), sum(max(0, n - 8) for n in lengths))
    assert table.p50 == sorted(lengths)[20]
    lines = str(data.table).splitlines()
    assert lines[0].split() == ["rows", "tokens", "p50", "p90", "max", "cut", "to", "8", "tokens", "lost"]
    assert lines[1].split()[:3] == ["train", "40", str(sum(lengths))]
    assert "1,000" in str(LengthTable((Lengths.of("a", [1000], 2000),), 2000))


def test_random_stretches(reviews: Path, dataset: Dataset, bert: Any):
    """Each is a stretch of its text, of at least the share that stays, and a function of seed, epoch and row."""
    data = load_classification(dataset(reviews, val_fraction=0.0, random_crop=0.5), bert, max_length=9)
    batches = data.batches(3, 9, seed=5)
    assert isinstance(batches, CroppedRows)
    seen = set()
    for epoch in range(30):
        for number in range(40):
            n = number % 12 + 1
            row = batches.row(number, epoch)
            first, *body, last = row.ids.tolist()
            assert (first, last) == (CLS, SEP)
            assert max(1, -(-n // 2)) <= len(body) <= min(n, 7) or len(body) == 7
            assert body == list(range(body[0], body[0] + len(body)))  # letters in a row
            assert A <= body[0] <= A + n - len(body)
            assert row.labels == data.train[number].labels
            if number == 11:
                seen.add((body[0], len(body)))
    assert len(seen) > 5
    assert {start for start, _ in seen} >= {A, A + 5}  # both ends of a long text are shown
    again = data.batches(3, 9, seed=5)
    epochs = batches.batches_per_epoch
    assert bool((again.batch(epochs + 3).input_ids == batches.batch(epochs + 3).input_ids).all())
    assert not all(
        np.array_equal(batches.row(i, 0).ids, data.batches(3, 9, seed=6).row(i, 0).ids)  # pyright: ignore
        for i in range(40)
    )


def test_a_stretch_of_a_pair_is_refused(write: Write, dataset: Dataset, bert: Any):
    path = write("p.csv", "sentence1,sentence2,label\na b,c,0\na,g,1\n")
    with pytest.raises(UserError, match=r"dataset.random_crop takes a stretch of one text, and these are pairs"):
        load_classification(dataset(path, val_fraction=0.0, random_crop=0.5), bert, max_length=9)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"config": "plain"}, "dataset.config: it is for Hugging Face datasets"),
        ({"streaming": True}, "dataset.streaming: it is for Hugging Face datasets"),
    ],
)
def test_settings_of_the_hub_do_not_go_with_files(
    reviews: Path, dataset: Dataset, bert: Any, settings: dict[str, Any], said: str
):
    with pytest.raises(UserError, match=said):
        load_classification(dataset(reviews, **settings), bert, max_length=9)


# --- by name -------------------------------------------------------------------------------------------------------


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
    data = load_classification(dataset(name), bert, max_length=9)
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
    data = load_classification(dataset("imdb"), bert, max_length=9)
    assert data.train_texts == ["a", "b", "c"]
    assert "1 of 4 rows have no text" in capsys.readouterr().err


def test_without_network_it_says_how_to_give_files(published: dict[str, Any], dataset: Dataset, bert: Any):
    with pytest.raises(UserError) as caught:
        load_classification(dataset("imdb"), bert, max_length=9)
    said = str(caught.value)
    assert said.startswith("dataset.name is 'imdb': the Hugging Face dataset stanfordnlp/imdb is not on this machine")
    assert "dataset.train_path" in said
    assert "stdlib-docstrings" in said
    assert "\n" not in said


def test_streaming_a_data_set_of_classes_is_refused(published: dict[str, Any], dataset: Dataset, bert: Any):
    with pytest.raises(UserError, match=r"dataset.streaming: the labels of stanfordnlp/imdb are counted before"):
        load_classification(dataset("imdb", streaming=True), bert, max_length=9)


# --- the docstrings ------------------------------------------------------------------------------------------------


def test_the_docstrings_are_balanced_and_can_be_learned(dataset: Dataset):
    """The bag of words is far above chance, and the same rows come twice."""
    from groundup.data.classification.docstrings import stdlib_docstrings
    from groundup.evaluation.baseline import fit_baseline

    rows = stdlib_docstrings().splits["train"]
    names = stdlib_docstrings().label_names or ()
    counts = [sum(row.label == name for row in rows) for name in names]
    assert len(names) >= 4
    assert len(set(counts)) == 1
    assert len(rows) >= 800
    assert len({row.text for row in rows}) == len(rows)
    stdlib_docstrings.cache_clear()
    assert stdlib_docstrings().splits["train"] == rows
    labels = [names.index(row.label) for row in rows]
    train, held = stratified(labels, 0.2, seed=0)
    texts = [row.text for row in rows]
    fitted = fit_baseline(
        [texts[i] for i in train],
        [labels[i] for i in train],
        [texts[i] for i in held],
        [labels[i] for i in held],
        names,
    )
    assert fitted.numbers["accuracy"] > 3 / len(names)
    assert fitted.numbers["macro_f1"] > 3 / len(names)


def test_they_go_by_their_name(dataset: Dataset, bert: Any):
    data = load_classification(dataset("stdlib-docstrings", max_documents=100), bert, max_length=32)
    assert len(data.train) + len(data.heldout) == 100
    assert isinstance(dataset("x"), SimpleNamespace)
