"""Labelled texts as rows: templates, cuts, what is held out, what is left out, random stretches, the docstrings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from groundup.data.classification.load import load_classification
from groundup.data.classification.split import stratified
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


@pytest.fixture
def distinct(write: Write) -> Path:
    """40 rows of two letters, no two the same, 10 of class n."""
    lines = [f"{'abcdefgh'[i // 5]} {'abcde'[i % 5]},{'n' if i % 4 == 0 else 'p'}" for i in range(40)]
    return write("d.csv", "text,label\n" + "\n".join(lines))


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


def test_the_same_share_of_every_class_is_held_out(distinct: Path, dataset: Dataset, bert: Any):
    data = load_classification(dataset(distinct, val_fraction=0.2), bert, max_length=16, seed=1)
    assert (len(data.train), len(data.heldout)) == (32, 8)
    assert [row.labels for row in data.heldout].count(0) == 2
    places = {row.where for row in data.train} | {row.where for row in data.heldout}
    assert len(places) == 40
    again = load_classification(dataset(distinct, val_fraction=0.2), bert, max_length=16, seed=1)
    assert [row.where for row in again.heldout] == [row.where for row in data.heldout]
    assert again.fingerprint == data.fingerprint
    other = load_classification(dataset(distinct, val_fraction=0.2), bert, max_length=16, seed=2)
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
    pair = dataset("x", train_path=train, test_path=test, val_fraction=None)
    data = load_classification(pair, bert, max_length=9)
    assert (data.heldout_is, data.heldout_texts[0], data.test) == ("test", "c", None)


@pytest.mark.parametrize(("share", "rows"), [(0.2, 8), (0.05, 2)])
def test_a_share_that_is_given_comes_before_the_test_split(
    distinct: Path,
    write: Write,
    dataset: Dataset,
    bert: Any,
    capsys: pytest.CaptureFixture[str],
    share: float,
    rows: int,
):
    """Or the step would be chosen by the rows that the reported number is of."""
    test = str(write("t.csv", "text,label\nx,n\ny,p\n"))
    data = load_classification(
        dataset("x", train_path=str(distinct), test_path=test, val_fraction=share), bert, max_length=9
    )
    assert (data.heldout_is, len(data.train), len(data.heldout)) == (f"{share:g} of train", 40 - rows, rows)
    assert data.test_texts == ["x", "y"]
    assert [row.labels for row in data.heldout].count(0) == rows // 4
    assert "choose the best step" not in capsys.readouterr().err
    for fraction in (None, 0.0):  # nothing, nothing to be held out
        section = dataset("x", train_path=str(distinct), test_path=test, val_fraction=fraction)
        data = load_classification(section, bert, max_length=9)
        assert (data.heldout_is, len(data.train), data.heldout_texts, data.test) == ("test", 40, ["x", "y"], None)
        assert "so the test rows are evaluated on during training and choose the best step" in capsys.readouterr().err


def test_what_is_read_as_what_is_said_once(
    reviews: Path, dataset: Dataset, bert: Any, capsys: pytest.CaptureFixture[str]
):
    load_classification(dataset(reviews), bert, max_length=9)
    said = capsys.readouterr().err
    assert said.count("the text is the column 'text', the label 'label'; other columns: dataset.text_column, ") == 1
    assert "plain text instead of classes: dataset.format text" in said
    load_classification(dataset(reviews, text_column="text", label_column="label"), bert, max_length=9)
    assert "the text is" not in capsys.readouterr().err


# --- what is left out ----------------------------------------------------------------------------------------------


BAD = "text,label\na,0\n,1\nb,1\nc,\nd,0\n"


def test_bad_rows_are_refused_and_counted_or_left_out(
    write: Write, dataset: Dataset, bert: Any, capsys: pytest.CaptureFixture[str]
):
    path = write("b.csv", BAD)
    with pytest.raises(UserError) as caught:
        load_classification(dataset(path, val_fraction=0.0), bert, max_length=9)
    assert str(caught.value) == (
        f"{path}:3: the text is empty (column 'text'); 2 of 5 rows cannot be used: mend them, or set "
        "dataset.on_bad_row to drop"
    )
    data = load_classification(dataset(path, val_fraction=0.0, on_bad_row="drop"), bert, max_length=9)
    assert (data.train_texts, [row.labels for row in data.train]) == (["a", "b", "d"], [0, 1, 0])
    assert f"2 of 5 rows of {path} were left out; the first: {path}:3" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"no row can be used; the first: .*e\.csv:2: the text is empty"):
        load_classification(dataset(write("e.csv", "text,label\n,0\n,1\n"), on_bad_row="drop"), bert, max_length=9)
    with pytest.raises(UserError, match=r"dataset.on_bad_row is 'skip', and one of error, drop is wanted"):
        load_classification(dataset(path, on_bad_row="skip"), bert, max_length=9)


def test_empty_files_are_bad_rows(write: Write, dataset: Dataset, bert: Any, tmp_path: Path):
    for name, text in (("pos/1", "a"), ("pos/2", " "), ("neg/1", "b")):
        write(f"films/{name}.txt", text)
    folder = tmp_path / "films"
    with pytest.raises(UserError, match=r"pos/2.txt: the text is empty; 1 of 3 rows cannot be used: mend them, or set"):
        load_classification(dataset(folder, val_fraction=0.0), bert, max_length=9)
    data = load_classification(dataset(folder, val_fraction=0.0, on_bad_row="drop"), bert, max_length=9)
    assert data.train_texts == ["b", "a"]


def test_texts_without_a_token_are_bad_rows(
    write: Write, dataset: Dataset, bert: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    framed = bert.rows

    def bare(texts: list[str], *arguments: Any, **settings: Any) -> Any:  # as of a tokenizer that frames nothing
        rows = framed(texts, *arguments, **settings)
        return [(ids[1:-1], types[1:-1]) if texts[i] != "-" else ([], []) for i, (ids, types) in enumerate(rows)]

    monkeypatch.setattr(bert, "rows", bare)
    path = write("b.csv", "text,label\na,0\n-,1\nb,1\n")
    with pytest.raises(UserError, match=r"b\.csv:3: the tokenizer letters makes no token of the text; 1 of 3 rows can"):
        load_classification(dataset(path, val_fraction=0.0), bert, max_length=9)
    data = load_classification(dataset(path, val_fraction=0.0, on_bad_row="drop"), bert, max_length=9)
    assert (data.train_texts, [row.ids.tolist() for row in data.train]) == (["a", "b"], [[A], [A + 1]])
    assert "1 of 3 rows of the train split were left out; the first:" in capsys.readouterr().err


def test_long_rows_are_cut_refused_or_dropped(reviews: Path, dataset: Dataset, bert: Any):
    """Of 40 rows of 3 to 14 tokens, special ones included, those of more than 8."""
    long = [i for i in range(40) if i % 12 + 3 > 8]

    def load(**settings: Any) -> Any:
        return load_classification(dataset(reviews, val_fraction=0.0, **settings), bert, max_length=8)

    assert [len(row.ids) for row in load(on_overflow="truncate").train] == [min(8, i % 12 + 3) for i in range(40)]
    with pytest.raises(UserError) as caught:
        load(on_overflow="error")
    assert str(caught.value) == (
        f"{reviews}:37 has 14 tokens, and 8 fit into a row; so it is with {len(long)} of 40 rows: raise "
        "trainer.max_seq_length, or set dataset.on_overflow to truncate or drop"
    )
    data = load(on_overflow="drop")
    assert [row.where for row in data.train] == [f"{reviews}:{i + 2}" for i in range(40) if i not in long]
    assert len(data.train_texts) == len(data.train)
    table = data.table.splits[0]
    assert (table.rows, table.over, table.lost) == (40, len(long), sum(i % 12 + 3 for i in long))
    assert "dropped, over 8" in str(data.table)
    cropped = load(on_overflow="drop", random_crop=0.5)
    assert [len(body) for body in cropped.stretches.bodies] == [len(row.ids) - 2 for row in data.train]
    with pytest.raises(UserError, match=r"on_overflow is 'cut', and one of error, truncate, drop is wanted"):
        load(on_overflow="cut")


def test_nothing_is_trained_where_one_class_is_left(write: Write, dataset: Dataset, bert: Any):
    path = write("a.csv", "text,label\na,0\nb,0\na b c d e f,1\n")
    said = r"without those of more than 5 tokens the train rows are of one class: raise trainer.max_seq_length"
    with pytest.raises(UserError, match=said):
        load_classification(dataset(path, val_fraction=0.0, on_overflow="drop"), bert, max_length=5)


def test_the_fingerprint_is_of_texts_classes_and_settings(write: Write, dataset: Dataset, bert: Any):
    def of(text: str, **settings: Any) -> str:
        section = dataset(write("f.csv", f"text,label\n{text}"), val_fraction=0.0, **settings)
        return load_classification(section, bert, max_length=9).fingerprint

    first = of("a,0\nb,1\n")
    assert first == of("a,0\nb,1\n")
    others = [of("a,0\nc,1\n"), of("a,1\nb,0\n"), of("b,1\na,0\n"), of("a,0\nb,1\n", random_crop=0.5)]
    assert len({first, *others}) == 5


def test_the_fingerprint_takes_little_memory():
    """The rows of Amazon and Yelp as one text are gigabytes."""
    import tracemalloc

    from groundup.data.classification.examples import Example
    from groundup.data.classification.load import _fingerprint  # pyright: ignore[reportPrivateUsage]

    rows = [Example("x" * 1000, 0, "here")] * 20_000
    tracemalloc.start()
    _fingerprint({"train": (rows, [0] * len(rows))}, "settings")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


# --- batches ---------------------------------------------------------------------------------------------------------


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
    assert (table.over, table.lost) == (sum(n > 8 for n in lengths), sum(max(0, n - 8) for n in lengths))
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
    from groundup.data.classification.docstrings import stdlib_docstrings

    data = load_classification(dataset("stdlib-docstrings", max_documents=100), bert, max_length=32)
    source = stdlib_docstrings()
    assert data.label_names == source.label_names
    label_of = {example.where: example.label for example in source.splits["train"]}
    rows = [*data.train, *data.heldout]
    assert len(rows) == 100
    assert [data.label_names[int(row.labels)] for row in rows] == [label_of[row.where] for row in rows]  # pyright: ignore
