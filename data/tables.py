"""A column of text in jsonl, json, csv, tsv or parquet files."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..errors import UserError, nearest, notice
from .articles import are_lines, articles, joined
from .corpus import Corpus, Piece
from .files import READ_BYTES, hash_files, size_of, unreadable

TABLE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
USUAL_COLUMNS = ("text", "content", "document", "body", "article", "story", "passage", "sentence")
Row = tuple[str, dict[str, Any]]
"""Where a row stands (`file:line`) and its cells."""
_LOOKED_AT = 3  # rows that show WikiText's lines: nothing, a title, nothing
_FIRST_ROWS = 100  # in which each column should hold something
_QUOTED = re.compile(r'"([^"]|"")*"')
_LONGEST_CELL = 1 << 30  # a document is longer than the 128 KiB that the csv module expects


def table_kind(path: Path) -> str | None:
    """`jsonl`, `csv`, ... by the file's name, `.gz` apart; None for anything else."""
    name = path.name.lower().removesuffix(".gz")
    suffix = next((suffix for suffix in TABLE_SUFFIXES if name.endswith(suffix)), None)
    return None if suffix is None else "jsonl" if suffix == ".ndjson" else suffix[1:]


def is_table(path: Path) -> bool:
    """Whether the file's name says that it holds rows and columns."""
    return table_kind(path) is not None


class TableColumn(Corpus):
    """One column of one or more tables of a kind. Rows without text are left out, and counted.

    Each row is a document, or a line of text that is `joined` or parted into `article`s; `auto` sees WikiText's lines.
    Raises UserError for a column that is not there, with the names of those that are, and for a bad row.
    """

    def __init__(self, name: str, files: list[Path], text_column: str | None = None, documents: str = "auto") -> None:
        self.name = name
        self.files = files
        self.text_column = text_column
        self.documents_are = documents
        # What is packed says nothing of how much text will come.
        packed = any(path.suffix.lower() in (".parquet", ".gz") for path in files)
        self.n_bytes = None if packed else sum(size_of(path) for path in files)

    def _fingerprint(self) -> str:
        return hash_files(self.files, "table", self.text_column, *([] if self._how == "row" else [self._how]))

    def _pieces(self) -> Iterator[Piece]:
        return text_pieces(self._rows(), self.text_column, self.name, self._how)

    def _rows(self) -> Iterator[Row]:
        return (row for path in self.files for row in read_rows(path))

    @cached_property
    def _how(self) -> str:
        if self.documents_are != "auto":
            return self.documents_are
        return "article" if _are_lines(list(islice(self._rows(), _LOOKED_AT)), self.text_column) else "row"


def _are_lines(first: list[Row], text_column: str | None) -> bool:
    """Whether rows that begin so, in the column named or in any, are the lines of WikiText."""
    columns = [text_column] if text_column else [name for _, row in first[:1] for name in row]
    return any(are_lines([str(row.get(column) or "") for _, row in first]) for column in columns)


def text_pieces(rows: Iterable[Row], text_column: str | None, source: str, documents: str = "row") -> Iterator[Piece]:
    """The text of each row, in the column of that name or the one the first rows suggest.

    documents: what a row is: a document (`row`), or a line of text that is `joined` or of an `article`; `auto` looks.
    """
    if documents == "auto":
        rows = iter(rows)
        first = list(islice(rows, _LOOKED_AT))
        rows, documents = chain(first, rows), "article" if _are_lines(first, text_column) else "row"
    texts = _texts(rows, text_column, source, keeps_empty=documents != "row")
    if documents == "joined":
        return joined(texts)
    return ((text, True) for text in (articles(texts) if documents == "article" else texts))


def _texts(rows: Iterable[Row], text_column: str | None, source: str, keeps_empty: bool) -> Iterator[str]:
    rows, first = iter(rows), list[Row]()
    for row in islice(rows, _FIRST_ROWS):  # no more than it takes: a row may have to come over the network
        first.append(row)
        if None not in _filled(first).values():
            break
    column, empty, total = find_column(_filled(first), text_column, source) if first else "", 0, 0
    for where, row in chain(first, rows):
        total += 1
        text = row.get(column)
        if text is not None and not isinstance(text, str):
            raise UserError(f"{where}: the column '{column}' holds {text!r}, and text is wanted")
        if text or (keeps_empty and text is not None):
            yield text
        else:
            empty += 1
    if empty:
        notice(f"{empty} of {total} rows of {source} have no text in the column '{column}' and were left out")


def _filled(rows: list[Row]) -> dict[str, Any]:
    """A row of the first value that each column of the first row holds."""
    columns = rows[0][1]
    return {name: next((row[name] for _, row in rows if row.get(name) is not None), None) for name in columns}


def find_column(row: dict[str, Any], named: str | None, source: str) -> str:
    """The text column: the one named, else one with a usual name, else the only one that holds text."""
    columns = list(row)
    if named is not None:
        if named not in columns:
            raise UserError(f"{source} has no column '{named}'.{nearest(named, columns)}")
        return named
    # An empty cell says nothing against its column.
    usual = next((name for name in USUAL_COLUMNS if name in row and isinstance(row[name], str | None)), None)
    texts = [name for name in columns if isinstance(row[name], str)]
    if usual is None and len(texts) != 1:
        raise UserError(
            f"{source} has the columns {', '.join(columns)}: say which holds the text with dataset.text_column"
        )
    return usual or texts[0]


def read_rows(path: Path, columns: list[str] | None = None, quoted: bool | None = None) -> Iterator[Row]:
    """The rows of a table, one at a time. Raises UserError with file and line of a bad one.

    `columns` are those of a csv or tsv file without a header; in one that is not `quoted`, quotes are part of the text:
    `is_quoted` finds out where nothing is said.
    """
    kind = table_kind(path)
    assert kind is not None
    try:
        if kind == "parquet":
            yield from _parquet(path)
        elif kind in ("csv", "tsv"):
            yield from _csv(path, columns, is_quoted(path) if quoted is None else quoted)
        elif kind == "json" or _is_list(path):
            yield from _json(path, kind)
        else:
            yield from _jsonl(path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is no whole gzip file ({error}): fetch it again") from None
    except OSError as error:
        raise unreadable(path, error) from None


def is_quoted(path: Path) -> bool:
    """Whether cells of a csv or tsv file may stand in quotes. In a tsv quotes are often part of the text (GLUE's).

    They are, unless every cell with one is quoted as a whole, or only reading them so makes a table of the lines. The
    first 4 MiB decide.
    """
    if table_kind(path) != "tsv":
        return True
    with _open(path) as file:
        data = file.read(READ_BYTES)
    whole = None if len(data) < READ_BYTES else -1  # the last line, or quoted cell, may be cut
    lines = [line + "\n" for line in data.decode("utf-8", "replace").split("\n")[:whole]]
    cells = [line.rstrip("\r\n").split("\t") for line in lines if line.strip("\r\n")]
    quoted = [cell for row in cells for cell in row if '"' in cell]
    if len({len(row) for row in cells}) == 1:
        return bool(quoted) and all(_QUOTED.fullmatch(cell) for cell in quoted)
    csv.field_size_limit(_LONGEST_CELL)
    rows = [row for row in csv.reader(lines, delimiter="\t") if row]
    return len({len(row) for row in rows[:whole]}) == 1


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def _is_list(path: Path) -> bool:
    """Whether a file of records is one JSON list of them, whatever its name says."""
    with _open(path) as file:
        return file.read(1 << 16).removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"["


def _jsonl(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                row = json.loads(line)
            except UnicodeDecodeError as error:
                raise UserError(f"{where} is not UTF-8: byte {error.start} of the line fits no character") from None
            except (ValueError, RecursionError) as error:
                raise UserError(f"{where} is no JSON ({error}): mend or delete the line") from None
            yield where, _record(row, where)


def _json(path: Path, kind: str) -> Iterator[Row]:
    with _open(path) as file:
        data = file.read()
    try:
        rows = json.loads(data)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: byte {error.start} fits no character") from None
    except (ValueError, RecursionError) as error:
        if kind == "json":
            raise UserError(f"{path} is no JSON ({error}); if each line is a record, name it .jsonl") from None
        raise UserError(f"{path} begins with '[' and is no JSON list of records ({error}): mend it") from None
    if not isinstance(rows, list):
        raise UserError(f"{path} holds one {type(rows).__name__}, and a list of records is wanted")
    for number, row in enumerate(cast("list[Any]", rows), 1):
        yield f"{path}, record {number}", _record(row, f"{path}, record {number}")


def _record(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{where} holds a {type(row).__name__}, and a record with columns is wanted: {{...}}")
    return cast("dict[str, Any]", row)


def _csv(path: Path, columns: list[str] | None, quoted: bool) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_CELL)
    with _open(path) as file:
        lines = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        delimiter, quoting = "\t" if table_kind(path) == "tsv" else ",", csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        reader = csv.DictReader(lines, columns, delimiter=delimiter, quoting=quoting, strict=False)
        try:
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if None in row or None in row.values():
                    raise UserError(
                        f"{where} has another number of cells than the header has columns: quote or mend it"
                    )
                yield where, cast("dict[str, Any]", row)
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path} is not UTF-8, some lines after {reader.line_num} (0x{error.object[error.start]:02x} fits no "
                "character): convert it (iconv -f LATIN1 -t UTF-8)"
            ) from None
        except csv.Error as error:
            raise UserError(f"{path}:{reader.line_num} is no CSV ({error}): mend or delete the line") from None


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in table.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", row
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is no whole parquet file: {error}") from None
