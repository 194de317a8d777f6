from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from groundup.data.corpus import open_corpus
from groundup.data.tables import find_column, is_quoted, read_rows, table_kind, text_pieces
from groundup.errors import UserError

DOCUMENTS = ["plain", 'with "quotes", commas\nand\tlines\r\n', "日本語 😀 é", "x" * 200_000, " "]


def write(folder: Path, kind: str, texts: list[str], column: str = "text") -> Path:
    """A table of an integer column and one of text, as other programs write it."""
    path = folder / f"table.{kind}"
    rows = [{"id": i, column: text} for i, text in enumerate(texts)]
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif kind == "json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif kind.startswith("jsonl"):
        data = "\n".join(json.dumps(row, ensure_ascii=i % 2 == 0) for i, row in enumerate(rows)) + "\n\n"
        path.write_bytes(gzip.compress(data.encode()) if kind.endswith("gz") else data.encode())
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["id", column], delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "ndjson", "json", "csv", "tsv", "parquet"])
def test_each_row_is_a_document(tmp_path: Path, kind: str) -> None:
    if kind == "ndjson":
        path = write(tmp_path, "jsonl", DOCUMENTS).rename(tmp_path / "table.ndjson")
    else:
        path = write(tmp_path, kind, DOCUMENTS)
    assert list(open_corpus(path).documents()) == DOCUMENTS
    assert list(open_corpus(path, text_column="text", max_documents=2).documents()) == DOCUMENTS[:2]


def test_a_byte_order_mark_is_no_part_of_a_column_s_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftext,id\na,1\n")
    assert list(open_corpus(tmp_path / "a.csv", text_column="text").documents()) == ["a"]


def test_a_folder_of_tables(tmp_path: Path) -> None:
    write(tmp_path, "parquet", ["c"]).rename(tmp_path / "b.parquet")
    write(tmp_path, "parquet", ["a", "b"]).rename(tmp_path / "a.parquet")
    assert list(open_corpus(tmp_path).documents()) == ["a", "b", "c"]


def test_the_datasets_at_hand(shared: Path) -> None:
    imdb = list(open_corpus(shared / "classification/imdb/train.csv").documents())
    assert len(imdb) == 2000
    assert all(len(text) > 20 for text in imdb)
    sst2 = list(open_corpus(shared / "classification/sst2/SST-2-val.parquet").documents())
    assert len(sst2) == 872
    alpaca = open_corpus(shared / "instruct/alpaca_data_1k.json", text_column="output")
    rows = json.loads((shared / "instruct/alpaca_data_1k.json").read_text(encoding="utf-8"))
    assert list(alpaca.documents()) == [row["output"] for row in rows if row["output"]]


def test_the_column_is_found_or_named() -> None:
    assert find_column({"id": "a", "text": "b", "url": "c"}, None, "x") == "text"
    assert find_column({"label": 1, "review": "b"}, None, "x") == "review"
    assert find_column({"text": 3, "content": "b", "url": "c"}, None, "x") == "content"
    assert find_column({"a": "1", "b": "2"}, "b", "x") == "b"
    with pytest.raises(UserError, match=r"x has the columns a, b: say which holds the text with dataset\.text_column"):
        find_column({"a": "1", "b": "2"}, None, "x")
    with pytest.raises(UserError, match=r"x has no column 'contents'\. Did you mean 'content'\?"):
        find_column({"content": "1", "b": "2"}, "contents", "x")


def test_an_empty_cell_in_the_first_row_says_nothing_of_its_column(tmp_path: Path) -> None:
    assert find_column({"text": None, "label": "pos"}, None, "x") == "text"
    assert find_column({"id": "7", "content": "b", "text": None}, None, "x") == "text"
    path = tmp_path / "a.jsonl"
    for column in ("text", "review"):
        rows = [{"label": "pos", column: text} for text in (None, "a", None, "b")]
        path.write_text("\n".join(map(json.dumps, rows)))
        if column == "text":
            assert list(open_corpus(path).documents()) == ["a", "b"]
            continue
        with pytest.raises(UserError, match="has the columns label, review: say which"):
            list(open_corpus(path).documents())
        path.write_text("\n".join(json.dumps({**row, "label": 1}) for row in [rows[0]] * 5 + rows))
        assert list(open_corpus(path).documents()) == ["a", "b"]


@pytest.mark.parametrize(("first", "looked_at"), [(0, 1), (3, 4), (250, 251)])
def test_no_more_rows_are_looked_at_than_it_takes(first: int, looked_at: int) -> None:
    """A row may have to come over the network."""
    asked: list[int] = []

    def rows() -> Iterator[tuple[str, dict[str, str | None]]]:
        for number in range(1000):
            asked.append(number)
            yield "x", {"text": "a" if number >= first else None, "id": "b"}

    assert next(text_pieces(rows(), None, "x")) == ("a", True)
    assert len(asked) == looked_at


def test_quotes_in_a_tsv_are_of_the_text_unless_they_make_the_table(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    plain = 'text\tlabel\n"well\t1\nit is "fine"\t0\n"so" they said\t1\n"all of it"\t0\n'
    path.write_text(plain)
    assert not is_quoted(path)
    assert [row["text"] for _, row in read_rows(path)] == ['"well', 'it is "fine"', '"so" they said', '"all of it"']
    for texts in (['a "b" c', "plain"], ["two\nlines"], ["a\ttab", '"'], DOCUMENTS):
        path = write(tmp_path, "tsv", texts)
        assert is_quoted(path)
        assert [row["text"] for _, row in read_rows(path)] == texts
    assert is_quoted(write(tmp_path, "csv", ["a"]))
    path.write_text('text\tlabel\n"well\t1\n', encoding="utf-8")
    assert [row["text"] for _, row in read_rows(path, quoted=False)] == ['"well']


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz"])
def test_a_json_list_under_the_name_of_lines(tmp_path: Path, name: str) -> None:
    data = b'\xef\xbb\xbf\n [{"text": "a"},\n {"text": "b"}]\n'
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert list(open_corpus(tmp_path / name).documents()) == ["a", "b"]


def test_rows_without_text_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": null}\n{"other": 1}\n{"text": ""}\n{"text": "b"}\n')
    assert list(open_corpus(path).documents()) == ["a", "b"]
    assert "3 of 5 rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"text": "a"', r"a\.jsonl:3 is no JSON"),
        (b"[1, 2]", r"a\.jsonl:3 holds a list, and a record with columns is wanted"),
        (b'{"text": 5}', r"a\.jsonl:3: the column 'text' holds 5, and text is wanted"),
        (b'{"text": ' + b"[" * 200_000, r"a\.jsonl:3 is no JSON \(.*recursion.*\): mend or delete the line"),
        (b'{"text": "\xff"}', r"a\.jsonl:3 is not UTF-8: byte 10 of the line"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, line: bytes, said: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n\n' + line + b"\n")
    with pytest.raises(UserError, match=said):
        list(open_corpus(tmp_path / "a.jsonl").documents())


def broken_gzip() -> bytes:
    """A file whose second block, stored as it is, begins with what begins no block."""
    data = bytearray(gzip.compress(b'{"text": "a"}\n' * 9999, compresslevel=0))
    header, stored = 10, 5 + int.from_bytes(data[11:13], "little")
    data[header + stored] = 0xFF
    return bytes(data)


def test_bad_tables(tmp_path: Path) -> None:
    bad = {
        "a.csv": (b'text,id\n"a\nb",1\nc\n', r"a\.csv:4 has another number of cells than the header"),
        "b.csv": (b"text\n\xe9t\xe9\n", r"b\.csv is not UTF-8.*0xe9.*iconv"),
        "c.parquet": (b"PAR1 and no more", r"c\.parquet is no whole parquet file"),
        "d.jsonl.gz": (gzip.compress(b'{"text": "a"}\n' * 9999)[:-20], r"d\.jsonl\.gz is no whole gzip file"),
        "d2.jsonl.gz": (broken_gzip(), r"d2\.jsonl\.gz is no whole gzip file \(Error -3 "),
        "e.jsonl.gz": (b'{"text": "a"}\n', r"e\.jsonl\.gz is no whole gzip file"),
        "f.json": (b'{"text": "a"}', r"f\.json holds one dict, and a list of records is wanted"),
        "f2.json": (b"[" * 200_000, r"f2\.json is no JSON \(.*recursion"),
        "f3.jsonl": (b"[1]\n[2]\n", r"f3\.jsonl begins with '\[' and is no JSON list of records \(Extra data"),
        "g.json": (b'{"text": "a"}\n{"text": "b"}\n', r"g\.json is no JSON .* name it \.jsonl"),
    }
    for name, (data, said) in bad.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=said):
            list(open_corpus(tmp_path / name).documents())


def test_a_table_is_not_split_further(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="each row is a document"):
        open_corpus(write(tmp_path, "csv", ["a"]), documents="line")


def test_kinds_by_name() -> None:
    names = {"a.JSONL": "jsonl", "b.csv.gz": "csv", "c.txt": None, "d.txt.gz": None, "e.ndjson": "jsonl", "f": None}
    assert {name: table_kind(Path(name)) for name in names} == names


def test_rows_say_where_they_stand(tmp_path: Path) -> None:
    path = write(tmp_path, "csv", ["a\nb", "c"])
    assert [where for where, _ in read_rows(path)] == [f"{path}:3", f"{path}:4"]
