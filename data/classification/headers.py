"""Whether a csv or tsv file has a header, and whether it is parted as its name says."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..tables import is_quoted, table_kind

COLUMNS = ("text_column", "label_column", "text_pair_column")


def numbered_columns(path: Path, dataset: Any) -> list[str] | None:
    """`1`, `2`, ... for a csv or tsv file without a header, None for any other table.

    A header has no whole number in it; or the configuration calls a column by its number. Raises UserError for a csv
    file that is parted by semicolons.
    """
    kind = table_kind(path)
    if kind not in ("csv", "tsv"):
        return None
    if semicolon_columns(path):
        raise UserError(f"{path} is parted by ';', and a csv file is by ',': save it with commas, or as a tsv")
    delimiter = "\t" if kind == "tsv" else ","
    try:
        quoting = csv.QUOTE_MINIMAL if is_quoted(path) else csv.QUOTE_NONE
        csv.field_size_limit(1 << 30)
        with _lines(path) as file:
            cells = next(csv.reader(file, delimiter=delimiter, quoting=quoting), [])
    except (OSError, EOFError, zlib.error, csv.Error):  # who reads the rows says what is wrong
        return None
    names = [getattr(dataset, key, None) for key in COLUMNS]
    is_headless = any(is_whole(cell) for cell in cells) or any(name and name.isdigit() for name in names)
    return [str(number + 1) for number in range(len(cells))] if is_headless else None


def semicolon_columns(path: Path) -> list[str]:
    """The names in the first line of a csv file that is parted by semicolons; none for any other file."""
    if table_kind(path) != "csv":
        return []
    try:
        with _lines(path) as file:
            line = file.readline()
    except (OSError, EOFError, zlib.error):
        return []
    return [name.strip('" \r\n') for name in line.split(";")] if ";" in line and "," not in line else []


def is_whole(cell: Any) -> bool:
    """Whether a cell is a whole number, or spells one."""
    return re.fullmatch(r"\s*[+-]?\d+\s*", str(cell)) is not None


def _lines(path: Path) -> Any:
    """The file as text, opened; bytes that are none are told of where its rows are read."""
    settings: dict[str, Any] = {"encoding": "utf-8-sig", "errors": "replace", "newline": ""}
    return gzip.open(path, "rt", **settings) if path.suffix.lower() == ".gz" else path.open("r", **settings)
