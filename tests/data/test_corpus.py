from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from groundup.data import files
from groundup.data.corpus import is_hub_id, open_corpus
from groundup.errors import UserError


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read 7 bytes at a time, so that every boundary is met."""
    monkeypatch.setattr(files, "READ_BYTES", 7)


TEXT = "\n\nfirst é line\r\nsecond 日本 line  \n \n\n\tthird 😀\n\nlast, without an end"


@pytest.mark.usefixtures("small_blocks")
def test_a_file_is_one_document_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT.encode("utf-8"))
    for documents in (None, "auto", "file"):
        corpus = open_corpus(path, documents=documents)
        assert list(corpus.documents()) == [TEXT]
        assert len(list(corpus.pieces())) > 5
    assert corpus.n_bytes == len(TEXT.encode())


@pytest.mark.usefixtures("small_blocks")
def test_lines_and_paragraphs(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT.encode("utf-8"))
    lines = [line.rstrip("\r") for line in TEXT.split("\n")]
    assert list(open_corpus(path, documents="line").documents()) == [line for line in lines if line]
    assert list(open_corpus(path, documents="blank_line").documents()) == [
        "first é line\r\nsecond 日本 line  \n",
        "\tthird 😀\n",
        "last, without an end",
    ]


@pytest.mark.usefixtures("small_blocks")
def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + "ab\ufeffc".encode())
    assert list(open_corpus(tmp_path / "a.txt").documents()) == ["ab\ufeffc"]


def test_a_folder_is_its_files_in_order(tmp_path: Path) -> None:
    names = ["b.txt", "a/z.md", "a/b/c.py", "C.TXT", "a.rst"]
    order = ["C.TXT", "a.rst", "a/b/c.py", "a/z.md", "b.txt"]
    shuffled = random.Random(0).sample(names, len(names))
    for name in [*shuffled, ".hidden.txt", ".git/x.txt", "image.png", "data.jsonl"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")
    assert list(open_corpus(tmp_path).documents()) == [f"text of {name}" for name in order]
    assert list(open_corpus(tmp_path, max_documents=2).documents()) == [f"text of {name}" for name in order[:2]]


def test_the_fingerprint_is_of_the_text_and_how_it_is_split(tmp_path: Path) -> None:
    first, copy = tmp_path / "a.txt", tmp_path / "copy.txt"
    first.write_text("one\n\ntwo")
    copy.write_text("one\n\ntwo")
    same = open_corpus(first).fingerprint
    assert open_corpus(copy).fingerprint == open_corpus(first, documents="file").fingerprint == same
    others = [
        open_corpus(first, documents="line"),
        open_corpus(first, max_documents=1),
        open_corpus(first, documents="blank_line"),
    ]
    copy.write_text("one\n\ntwo ")
    others.append(open_corpus(copy))
    # The same bytes, otherwise shared out among files, are other documents.
    for name, text in {"x/a.txt": "one", "x/b.txt": "\n\ntwo"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    others.append(open_corpus(tmp_path / "x"))
    assert len({same, *(corpus.fingerprint for corpus in others)}) == 6


def test_stdlib_is_the_source_of_this_python_without_its_tests() -> None:
    corpus = open_corpus("stdlib")
    names = [path.as_posix() for path in corpus.files]  # type: ignore[attr-defined]
    assert not any("/test/" in name or "/tests/" in name or "site-packages" in name for name in names)
    assert {"argparse.py", "decimal.py", "__init__.py"} < {name.rsplit("/", 1)[1] for name in names}
    assert names == sorted(names)
    documents = list(corpus.documents())
    assert 8e6 < sum(map(len, documents)) < 20e6
    assert len(documents) > 500
    assert open_corpus("stdlib").fingerprint == corpus.fingerprint


# --- what goes wrong ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("data", "byte", "offset"),
    [
        (b"a few letters, then \xff and more", "0xff", 20),
        ("é".encode() * 10 + b"\xe9t\xe9", "0xe9", 20),  # Latin-1 in UTF-8, at a block's edge
        ("日本".encode()[:-1], "0xe6", 3),  # cut off in a character
    ],
)
def test_text_that_is_not_utf8(tmp_path: Path, data: bytes, byte: str, offset: int) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(data)
    with pytest.raises(UnicodeDecodeError) as plain:
        data.decode("utf-8")
    assert plain.value.start == offset
    with pytest.raises(UserError, match=rf"latin\.txt is not UTF-8: byte {offset} \({byte}\).*iconv"):
        list(open_corpus(path).documents())


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.name is '.*none\.txt', and there is no such file or folder"):
        open_corpus(tmp_path / "none.txt")
    with pytest.raises(UserError, match=r"Did you mean 'stdlib'"):
        open_corpus("stdlb")


def test_a_name_that_was_probably_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reviews.csv").write_text("text\nx\n")
    monkeypatch.chdir(tmp_path)
    for name, meant in {
        "imbd": "imdb",
        "wikitxt": "wikitext",
        "reviews.cvs": "reviews.csv",
        "revews.csv": "reviews.csv",
    }.items():
        with pytest.raises(UserError, match=rf"dataset\.name is '{name}', and .*Did you mean '{meant}'\?$"):
            open_corpus(name)


@pytest.mark.parametrize("where", ["stat", "open"])
def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")
    corpus = open_corpus(path)

    def refused(self: Path, *args: Any, **settings: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))  # played: a superuser may read everything

    monkeypatch.setattr(Path, where, refused)
    uses = [lambda: corpus.fingerprint, lambda: list(corpus.documents())]
    for use in uses if where == "open" else [lambda: files.size_of(path)]:
        with pytest.raises(UserError, match=r"cannot read .*a\.txt: Permission denied; give yourself the right"):
            use()


def test_an_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("text")

    def refused(top: Path, onerror: Any) -> Any:
        onerror(PermissionError(13, "Permission denied", str(top / "locked")))
        return iter(())

    monkeypatch.setattr("os.walk", refused)
    with pytest.raises(UserError, match=r"cannot read .*locked: Permission denied"):
        open_corpus(tmp_path)


def test_a_folder_without_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no text: looked for \*\.txt.*\*\.parquet"):
        open_corpus(tmp_path)
    (tmp_path / "a.csv").write_text("text\nx\n")
    (tmp_path / "b.jsonl").write_text('{"text": "y"}\n')
    with pytest.raises(UserError, match=r"tables of several kinds \(csv, jsonl\): name one file"):
        open_corpus(tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"text_column": "text"}, r"dataset\.text_column is 'text': it is for tables"),
        ({"streaming": True}, r"dataset\.streaming is True: it is for hub datasets"),
        ({"split": "validation"}, r"dataset\.split is 'validation'"),
        ({"config": "en"}, r"dataset\.config is 'en'"),
        ({"documents": "blank_lines"}, r"Did you mean 'blank_line'\?"),
        ({"max_documents": 0}, r"starts at 1"),
    ],
)
def test_settings_that_text_cannot_honour(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match=said):
        open_corpus(tmp_path / "a.txt", **settings)


def test_settings_at_their_defaults_are_no_settings(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert list(open_corpus(tmp_path / "a.txt", split="train", streaming=False).documents()) == ["x"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("imdb", True),
        ("HuggingFaceFW/fineweb-edu", True),
        ("data/input.txt", False),
        ("corpus.jsonl", False),
        ("/data/imdb", False),
        ("./imdb", False),
        ("a/b/c", False),
        ("stdlibb", False),
        ("imbd", False),
        ("some/imbd", True),
        ("ag-news", True),
        ("wikitext", True),
        ("squad", True),
        ("reviews.cvs", False),
        ("reviews.csv.gz", False),
    ],
)
def test_what_may_be_a_hub_dataset(name: str, expected: bool) -> None:
    assert is_hub_id(name) == expected
