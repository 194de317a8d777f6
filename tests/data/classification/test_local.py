"""Labelled texts in files: every format and layout gives the same rows; what is wrong is said with file and row."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from groundup.data.classification.examples import Example, Labelled
from groundup.data.classification.kind import is_labelled
from groundup.data.classification.labels import number_labels
from groundup.data.classification.local import read_local
from groundup.errors import UserError

Write = Callable[[str, str], Path]
Dataset = Callable[..., Any]
ROWS = [("a good film", "pos"), ('so "bad", it hurts', "neg"), ("fine\nindeed", "pos"), ("no", "neg")]
FLAT = [(text.replace("\n", " "), label) for text, label in ROWS]


def pairs(examples: list[Example]) -> list[tuple[str, Any]]:
    return [(example.text, example.label) for example in examples]


def numbered(source: Labelled) -> tuple[dict[str, list[int]], tuple[str, ...]]:
    return number_labels(source)


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "tsv", "json", "jsonl", "parquet"])
def test_every_kind_of_table_gives_the_same_rows(tmp_path: Path, dataset: Dataset, kind: str):
    import csv

    import pyarrow as pa
    import pyarrow.parquet as pq

    path, rows = tmp_path / f"reviews.{kind}", FLAT if kind == "tsv" else ROWS
    records = [{"id": i, "review": text, "sentiment": label} for i, (text, label) in enumerate(rows)]
    if kind.startswith("csv"):
        with (gzip.open if kind.endswith("gz") else open)(path, "wt", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(records[0]))
            writer.writeheader()
            writer.writerows(records)
    elif kind == "tsv":  # GLUE's: quotes belong to the text
        path.write_text("\n".join(["review\tsentiment", *(f"{t}\t{y}" for t, y in rows)]))
    elif kind == "json":
        path.write_text(json.dumps(records))
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, records)))
    else:
        pq.write_table(pa.Table.from_pylist(records), path)
    source = read_local(dataset(path))
    assert pairs(source.splits["train"]) == [(text.strip(), label) for text, label in rows]
    assert source.splits.keys() == {"train"}
    assert numbered(source) == ({"train": [1, 0, 1, 0]}, ("neg", "pos"))
    assert is_labelled(dataset(path))
    assert all(str(path) in example.where for example in source.splits["train"])


def test_a_quote_that_opens_a_tsv_row_swallows_nothing(write: Write, dataset: Dataset):
    path = write("train.tsv", 'sentence\tlabel\n"unclosed quote\t1\nnext\t0\nlast "\t1\n')
    source = read_local(dataset(path))
    assert pairs(source.splits["train"]) == [('"unclosed quote', "1"), ("next", "0"), ('last "', "1")]


def test_a_folder_of_tables_by_split(write: Write, dataset: Dataset, capsys: pytest.CaptureFixture[str]):
    for name, text in (("train", "a"), ("dev", "b"), ("test", "c")):
        write(f"set/{name}.tsv", f"sentence\tlabel\n{text}\t0\n{text} {text}\t1\n")
    write("set/other-val.tsv", "sentence\tlabel\nx\t0\n")
    source = read_local(dataset(write("set/readme.md", "").parent))
    assert {split: rows[0].text for split, rows in source.splits.items()} == {
        "train": "a",
        "validation": "b",
        "test": "c",
    }
    assert "other-val.tsv" in capsys.readouterr().err


def test_shards_of_a_split_are_joined(write: Write, dataset: Dataset):
    for split, shard in (("train", 0), ("train", 1), ("test", 0)):
        line = json.dumps({"text": f"{split} {shard}", "label": shard}) + "\n"
        write(f"set/data/{split}-0000{shard}-of-00002.jsonl", line)
    source = read_local(dataset(write("set/x.md", "").parent))
    assert {split: [row.text for row in rows] for split, rows in source.splits.items()} == {
        "train": ["train 0", "train 1"],
        "test": ["test 0"],
    }


def test_the_folders_of_aclimdb(write: Write, dataset: Dataset, capsys: pytest.CaptureFixture[str]):
    for split in ("train", "test"):
        for label, stars in (("pos", 9), ("neg", 2)):
            for i in range(2):
                write(f"aclImdb/{split}/{label}/{i}_{stars}.txt", f"{split} {label} {i}")
        write(f"aclImdb/{split}/urls_pos.txt", "http://nothing")
    write("aclImdb/train/unsup/0_0.txt", "who knows")
    folder = write("aclImdb/README", "read me").parent
    source = read_local(dataset(folder))
    assert pairs(source.splits["train"]) == [(f"train {y} {i}", y) for y in ("neg", "pos") for i in range(2)]
    assert pairs(source.splits["test"]) == [(f"test {y} {i}", y) for y in ("neg", "pos") for i in range(2)]
    assert numbered(source)[1] == ("neg", "pos")
    assert "1 texts without a label" in capsys.readouterr().err
    assert is_labelled(dataset(folder))


def test_a_folder_for_each_class(write: Write, dataset: Dataset):
    for label in ("sport", "art", "law"):
        path = write(f"news/{label}/one.txt", f"about {label}")
    source = read_local(dataset(path.parent.parent))
    assert pairs(source.splits["train"]) == [(f"about {y}", y) for y in ("art", "law", "sport")]


def test_csv_without_a_header_counts_its_classes_from_one(write: Write, dataset: Dataset):
    """AG News: class, title, description, and the names beside it."""
    write("ag/classes.txt", "World\nSports\nBusiness\n")
    path = write("ag/train.csv", '"3","Oil","Oil is up, again"\n"1","Vote","They voted"\n"2","Cup","They won"\n')
    source = read_local(dataset(path))
    assert pairs(source.splits["train"])[0] == ("Oil Oil is up, again", "3")
    assert numbered(source) == ({"train": [2, 0, 1]}, ("World", "Sports", "Business"))
    assert is_labelled(dataset(path))
    only = read_local(dataset(path, text_column="3"))
    assert only.splits["train"][0].text == "Oil is up, again"


def test_label_out_of_range_of_classes_txt(write: Write, dataset: Dataset):
    write("ag/classes.txt", "World\nSports\n")
    path = write("ag/train.csv", '"1","a"\n"2","b"\n"3","c"\n')
    with pytest.raises(
        UserError, match=r"train\.csv:3: the label 3 is out of range: the 2 classes .* 1 \(World\) to 2"
    ):
        numbered(read_local(dataset(path)))


def test_names_in_a_column_beside_the_numbers(write: Write, dataset: Dataset):
    path = write("a.csv", "label,text,label_text\n1,good,positive\n0,bad,negative\n")
    source = read_local(dataset(path))
    assert numbered(source) == ({"train": [1, 0]}, ("negative", "positive"))


def test_stars_are_ordered_as_numbers(write: Write, dataset: Dataset):
    path = write("a.csv", "stars,text\n10,x\n9,y\n2,z\n")
    assert numbered(read_local(dataset(path))) == ({"train": [2, 1, 0]}, ("2", "9", "10"))


def test_columns_are_found_or_named(write: Write, dataset: Dataset):
    path = write("a.csv", "headline,description,note,grade,label\nH,D,N,x,0\nI,E,M,y,1\n")
    assert pairs(read_local(dataset(path)).splits["train"]) == [("H D", "0"), ("I E", "1")]
    named = dataset(path, text_column="note", label_column="grade")
    assert pairs(read_local(named).splits["train"]) == [("N", "x"), ("M", "y")]
    pair = read_local(dataset(path, text_column="note", text_pair_column="headline")).splits["train"][0]
    assert (pair.text, pair.pair) == ("N", "H")


def test_pairs_by_their_usual_names(write: Write, dataset: Dataset):
    path = write("rte.tsv", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n1\tc\td\tnot_entailment\n")
    first = read_local(dataset(path)).splits["train"][0]
    assert (first.text, first.pair, first.label) == ("a", "b", "entailment")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text,label\na,0\n,1\n", r"a\.csv:3: the text is empty \(column 'text'\)"),
        ("text,label\na,0\nb,\n", r"a\.csv:3: the label is missing"),
        ("text,label\na,0\nb,0\n", "all 2 training rows of .* have one class, '0'"),
        ("text,label\na,0\nb,0.5\n", r"a\.csv:3: the label is '0.5', a number between classes"),
        ("text,label\na,1\nb,x\n", r"a\.csv:3: the label is 'x', and those before are whole numbers"),
        ("text,label\na,0\nb,-1\n", r"a\.csv:3: the label '-1' says that the row has none"),
        ("text,label\na,1\nb,nan\n", r"a\.csv:3: the label is 'nan'"),
        ("text,kind\na,1\nb,0\n", r"no column of labels .* among text, kind: name it in dataset.label_column"),
        ("left,right,label\na,b,1\nc,d,0\n", "has the columns left, right: name the one with the text"),
        ("text,label\na,1,2\n", r"a\.csv:2 has another number of cells"),
        ("text,label\n", "there are no rows in it"),
        (
            "text,label\n" + "\n".join(f"t{i},u{i}" for i in range(50)),
            "have 50 values in 50 rows, so they are no classes",
        ),
    ],
)
def test_bad_rows_are_one_sentence_with_their_place(write: Write, dataset: Dataset, text: str, said: str):
    with pytest.raises(UserError, match=said) as caught:
        numbered(read_local(dataset(write("a.csv", text))))
    assert "\n" not in str(caught.value)


def test_broken_json_names_the_line(write: Write, dataset: Dataset):
    path = write("a.jsonl", '{"text": "a", "label": 0}\n{"text": "b", "label"\n')
    with pytest.raises(UserError, match=r"a\.jsonl:2 is no JSON"):
        read_local(dataset(path))
    path = write("b.jsonl", '{"text": "a", "label": 0}\n{"text": "b"}\n')
    with pytest.raises(UserError, match=r"b\.jsonl:2: no column 'label'"):
        read_local(dataset(path))
    path = write("c.jsonl", '{"text": "a", "label": 0}\n{"text": "b", "label": 0.7}\n')
    with pytest.raises(UserError, match=r"c\.jsonl:2: the label is 0.7, a number between classes"):
        numbered(read_local(dataset(path)))


def test_labels_that_training_never_sees(write: Write, dataset: Dataset):
    train = write("t.csv", "text,label\na,pos\nb,neg\n")
    test = write("e.csv", "text,label\na,pos\nb,negative\n")
    with pytest.raises(
        UserError, match=r"e\.csv:3: the label 'negative' of the validation rows is none that .* Known: neg"
    ):
        numbered(read_local(dataset("x", train_path=str(train), eval_path=str(test))))


def test_a_class_that_the_test_lacks_is_said(write: Write, dataset: Dataset, capsys: pytest.CaptureFixture[str]):
    train = write("t.csv", "text,label\na,pos\nb,neg\n")
    test = write("e.csv", "text,label\na,pos\n")
    classes, _ = numbered(read_local(dataset("x", train_path=str(train), test_path=str(test))))
    assert classes == {"train": [1, 0], "test": [1]}
    assert "no test row has the class 'neg'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"text_column": "txt"}, r"no column 'txt' \(dataset.text_column\). Did you mean 'text'"),
        ({"label_column": "lable"}, r"no column 'lable' \(dataset.label_column\). Did you mean 'label'"),
        ({"text_column": "label"}, "'label' of .* is given two parts"),
        ({"eval_path": "/nowhere.csv"}, "dataset.eval_path is '/nowhere.csv', and there is no such file"),
    ],
)
def test_settings_that_name_nothing(write: Write, dataset: Dataset, settings: dict[str, str], said: str):
    path = write("a.csv", "text,label\na,1\nb,0\n")
    with pytest.raises(UserError, match=said):
        read_local(dataset("x", train_path=str(path), **settings))


def test_what_is_no_labelled_data(write: Write, dataset: Dataset, tmp_path: Path):
    text = write("plain/a.txt", "just text")
    table = write("table.csv", "text,other\na,b\n")
    assert not is_labelled(dataset(text))
    assert not is_labelled(dataset(text.parent))
    assert not is_labelled(dataset(table))
    assert is_labelled(dataset("imdb"))
    assert is_labelled(dataset(table, label_column="other"))
    assert is_labelled(dataset(text, format="classification"))
    with pytest.raises(UserError, match=r"is no table .*: a text without labels trains no classifier"):
        read_local(dataset(text))
    with pytest.raises(UserError, match="no labelled texts in it"):
        read_local(dataset(text.parent))
    write("only/test.csv", "text,label\na,1\n")
    with pytest.raises(UserError, match=r"nothing named train: name the file in dataset.train_path"):
        read_local(dataset(tmp_path / "only"))
