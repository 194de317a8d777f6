"""A column of text in jsonl, json, csv, tsv or parquet files."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..errors import UserError, nearest, notice
from .corpus import Corpus, Piece
from .files import hash_files, size_of, unreadable

TABLE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
USUAL_COLUMNS = ("text", "content", "document", "body", "article", "story", "passage", "sentence")
Row = tuple[str, dict[str, Any]]
"""Where a row stands (`file:line`) and its cells."""


def table_kind(path: Path) -> str | None:
    """`jsonl`, `csv`, ... by the file's name, `.gz` apart; None for anything else."""
    name = path.name.lower().removesuffix(".gz")
    suffix = next((suffix for suffix in TABLE_SUFFIXES if name.endswith(suffix)), None)
    return None if suffix is None else "jsonl" if suffix == ".ndjson" else suffix[1:]


def is_table(path: Path) -> bool:
    """Whether the file's name says that it holds rows and columns."""
    return table_kind(path) is not None


class TableColumn(Corpus):
    """One column of one or more tables of a kind; each row is a document. Rows without text are left out, and counted.

    Raises UserError for a column that is not there, with the names of those that are, and for a bad row.
    """

    def __init__(self, name: str, files: list[Path], text_column: str | None = None) -> None:
        self.name = name
        self.files = files
        self.text_column = text_column
        # What is packed says nothing of how much text will come.
        packed = any(path.suffix.lower() in (".parquet", ".gz") for path in files)
        self.n_bytes = None if packed else sum(size_of(path) for path in files)

    def _fingerprint(self) -> str:
        return hash_files(self.files, "table", self.text_column)

    def _pieces(self) -> Iterator[Piece]:
        rows = (row for path in self.files for row in read_rows(path))
        return text_pieces(rows, self.text_column, self.name)


def text_pieces(rows: Iterable[Row], text_column: str | None, source: str) -> Iterator[Piece]:
    """The text of each row, in the column of that name or the one the first row suggests."""
    column, empty, total = "", 0, 0
    for where, row in rows:
        total += 1
        column = column or find_column(row, text_column, source)
        text = row.get(column)
        if text is not None and not isinstance(text, str):
            raise UserError(f"{where}: the column '{column}' holds {text!r}, and text is wanted")
        if text:
            yield text, True
        else:
            empty += 1
    if empty:
        notice(f"{empty} of {total} rows of {source} have no text in the column '{column}' and were left out")


def find_column(row: dict[str, Any], named: str | None, source: str) -> str:
    """The text column: the one named, else one with a usual name, else the only one that holds text."""
    columns = list(row)
    if named is not None:
        if named not in columns:
            raise UserError(f"{source} has no column '{named}'.{nearest(named, columns)}")
        return named
    usual = next((name for name in USUAL_COLUMNS if isinstance(row.get(name), str)), None)
    texts = [name for name in columns if isinstance(row[name], str)]
    if usual is None and len(texts) != 1:
        raise UserError(
            f"{source} has the columns {', '.join(columns)}: say which holds the text with dataset.text_column"
        )
    return usual or texts[0]


def read_rows(path: Path, columns: list[str] | None = None, quoted: bool = True) -> Iterator[Row]:
    """The rows of a table, one at a time. Raises UserError with file and line of a bad one.

    `columns` are those of a csv or tsv file without a header; in one that is not `quoted`, quotes are part of the text.
    """
    kind = table_kind(path)
    assert kind is not None
    readers = {"jsonl": _jsonl, "json": _json, "parquet": _parquet}
    try:
        yield from readers[kind](path) if kind in readers else _csv(path, columns, quoted)
    except (gzip.BadGzipFile, EOFError) as error:
        raise UserError(f"{path} is no whole gzip file ({error}): fetch it again") from None
    except OSError as error:
        raise unreadable(path, error) from None


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


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
            except ValueError as error:
                raise UserError(f"{where} is no JSON ({error}): mend or delete the line") from None
            yield where, _record(row, where)


def _json(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        data = file.read()
    try:
        rows = json.loads(data)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: byte {error.start} fits no character") from None
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}); if each line is a record, name it .jsonl") from None
    if not isinstance(rows, list):
        raise UserError(f"{path} holds one {type(rows).__name__}, and a list of records is wanted")
    for number, row in enumerate(cast("list[Any]", rows), 1):
        yield f"{path}, record {number}", _record(row, f"{path}, record {number}")


def _record(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{where} holds a {type(row).__name__}, and a record with columns is wanted: {{...}}")
    return cast("dict[str, Any]", row)


def _csv(path: Path, columns: list[str] | None, quoted: bool) -> Iterator[Row]:
    csv.field_size_limit(1 << 30)  # a document is longer than the 128 KiB that the module expects of a cell
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
