"""Labelled data sets by name, through `datasets`: the only source of classes that may reach for the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...errors import UserError, nearest, notice
from ..hub import fold, go_offline_if_need_be
from ..tables import Row
from .examples import SPLITS, TEST, TRAIN, VALIDATION, Columns, Labelled, examples_of, find_columns
from .split import some_rows


@dataclass(frozen=True)
class Known:
    """A data set that goes by a short name: its id on the hub, its columns, and the label smoothing it is learned with.

    `label_smoothing` is None for that of any labelled texts.
    """

    id: str
    columns: Columns
    label_smoothing: float | None = None


AMAZON = Known("fancyzhx/amazon_polarity", Columns(("title", "content"), "label"))
YELP = Known("fancyzhx/yelp_polarity", Columns(("text",), "label"))
KNOWN = {
    "imdb": Known("stanfordnlp/imdb", Columns(("text",), "label"), label_smoothing=0.0),
    "ag_news": Known("fancyzhx/ag_news", Columns(("text",), "label")),
    "sst2": Known("stanfordnlp/sst2", Columns(("sentence",), "label")),
    "amazon": AMAZON,
    "amazon_polarity": AMAZON,
    "yelp": YELP,
    "yelp_polarity": YELP,
}
_FOLDED = {fold(name): one for name, one in KNOWN.items()}


def known(name: str) -> Known | None:
    """What `imdb`, `stanfordnlp/imdb`, `AG-News` and the like stand for."""
    return _FOLDED.get(fold(name.rpartition("/")[2]))


def read_hub(dataset: Any, seed: int) -> Labelled:
    """The labelled splits of a data set on the hub, or of its cache.

    Raises:
        UserError: not found, no network, no labels, no such split or configuration.
    """
    found = known(dataset.name)
    name = dataset.name if found is None or "/" in dataset.name else found.id
    if dataset.streaming:
        raise UserError(
            f"dataset.streaming: the labels of {name} are counted before training, which needs all of it: leave it out"
        )
    everything = _load(name, dataset)
    splits = {split: everything[own] for own in everything if (split := _split(own, dataset.split))}
    if TRAIN not in splits:
        raise UserError(f"the dataset {name} has no split '{dataset.split}'.{nearest(dataset.split, everything)}")
    first = splits[TRAIN][0]
    columns = find_columns(first, f"the dataset {name}", found.columns if found else None, dataset)
    feature = splits[TRAIN].features[columns.label]
    names = getattr(feature, "names", None)
    labelled = {split: _labelled(rows, columns.label, name, split) for split, rows in splits.items()}
    limit = dataset.max_documents
    read = {
        split: examples_of(
            _rows(rows if limit is None else rows.select(some_rows(len(rows), limit, seed)), columns), columns
        )
        for split, rows in labelled.items()
        if rows is not None
    }
    return Labelled(name, read, tuple(names) if names else None)


def _split(own: str, training: str) -> str | None:
    """Ours for a split of the hub's: `dataset.split` is trained on."""
    if own == training:
        return TRAIN
    return own if own in (VALIDATION, TEST) and own in SPLITS else None


def _load(name: str, dataset: Any) -> Any:
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    go_offline_if_need_be()
    workers = {} if dataset.num_proc is None else {"num_proc": dataset.num_proc}
    local = (
        "local files in dataset.train_path and dataset.eval_path (csv, tsv, json, jsonl, parquet, or aclImdb's folders)"
    )
    try:
        return datasets.load_dataset(name, dataset.config, **workers)
    except (ConnectionError, FileNotFoundError) as error:
        if isinstance(error, DatasetNotFoundError):
            raise UserError(
                f"dataset.name is '{dataset.name}': no file or folder here is called so, and the Hugging Face dataset "
                f"{name} does not exist, or needs a login (hf auth login)"
            ) from None
        raise UserError(
            f"dataset.name is '{dataset.name}': the Hugging Face dataset {name} is not on this machine and the hub "
            f"cannot be reached; name {local}, or use dataset.name stdlib-docstrings"
        ) from None
    except Exception as error:  # a missing config, a script: the library's own words
        raise UserError(f"the dataset {name} cannot be loaded: {' '.join(str(error).split())}") from None


def _labelled(rows: Any, column: str, name: str, split: str) -> Any:
    """The rows, None where not one has a label (-1, as GLUE's tests): there is nothing to measure by."""
    labels = rows[column]
    if all(label == -1 or label is None for label in labels):
        notice(f"the {split} split of {name} has no labels and is left out")
        return None
    return rows


def _rows(rows: Any, columns: Columns) -> Iterator[Row]:
    """The rows with a text; a published data set cannot be mended."""
    empty = 0
    for number, row in enumerate(rows, 1):
        if not any(isinstance(row[column], str) and row[column].strip() for column in columns.text):
            empty += 1
            continue
        yield f"row {number}", row
    if empty:
        notice(f"{empty} of {len(rows):,} rows have no text and were left out")
