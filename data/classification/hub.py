"""Labelled data sets by name, through `datasets`: the only source of classes that may reach for the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...errors import UserError, nearest, notice
from ..hub import fold, go_offline_if_need_be
from ..tables import Row
from .bad_rows import BadRows
from .columns import Columns, find_columns
from .examples import TEST, TRAIN, VALIDATION, Example, Labelled, examples_of, is_missing
from .labels import are_signed, is_negative, read_label
from .split import some_rows

VALIDATIONS = (VALIDATION, "dev", "valid", "val", "validation_matched")


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
    """The labelled splits of a data set on the hub, or of its cache; of each, dataset.max_documents rows by class.

    Rows without a text or a label are left out, unless dataset.on_bad_row is error: nobody here can mend them.

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
    if dataset.split not in everything:
        raise UserError(f"the dataset {name} has no split '{dataset.split}'.{nearest(dataset.split, everything)}")
    train = everything[dataset.split]
    if not len(train):
        raise UserError(f"the {dataset.split} split of {name} has no rows: name another in dataset.split")
    columns = find_columns(train[0], f"the dataset {name}", found.columns if found else None, dataset)
    names = getattr(train.features[columns.label], "names", None)
    splits: dict[str, list[Example]] = {}
    counts: Counter[Any] | None = None
    signed = False
    for split, own in _splits(everything, dataset.split, name).items():
        rows, place = everything[own], f"the {own} split of {name}"
        labels: list[Any] = list(rows[columns.label]) if columns.label in rows.column_names else []
        if split == TRAIN:
            # -1 is a class among the numbers of one that is not described; a ClassLabel has it for none.
            signed = names is None and are_signed(labels)
        kept = _with_a_label(labels, place, signed, BadRows.of(dataset, "drop"))
        if split == TRAIN and dataset.max_documents is not None:
            counts = Counter(labels[i] for i in kept)
        kept = _few(kept, labels, dataset.max_documents, place, seed)
        bad = BadRows.of(dataset, "drop")
        examples = examples_of(_rows(rows, kept, place), columns, bad)
        bad.settle(place)
        if examples:
            splits[split] = examples
        elif split == TRAIN:
            why = f"the first: {bad.first}" if bad.first else "none has a label"
            raise UserError(f"no row of {place} can be trained on; {why}: name another split in dataset.split")
        elif not kept:
            notice(f"{place} has no labels and is left out")
    return Labelled(name, splits, tuple(names) if names else None, reads=columns.said(train[0]), counts=counts)


def _splits(everything: Any, training: str, name: str) -> dict[str, str]:
    """The hub's own name of each of our splits; `training`, which is dataset.split, is trained on."""
    found = {TRAIN: training}
    for split, names in ((VALIDATION, VALIDATIONS), (TEST, (TEST,))):
        if own := next((own for own in names if own in everything and own != training), None):
            found[split] = own
            if own != split:
                notice(f"{name} has no {split} split: '{own}' is taken")
    return found


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


def _with_a_label(labels: list[Any], place: str, signed: bool, bad: BadRows) -> list[int]:
    """The rows with a label; published test splits have -1, and SNLI some in each. Raises UserError for lists."""
    kept: list[int] = []
    for row, label in enumerate(labels):
        if is_missing(label) or (not signed and is_negative(label)):
            bad.add(f"row {row + 1} of {place}: the label is missing")
        elif isinstance(label, list | dict):
            read_label(label, f"row {row + 1} of {place}", False)
        else:
            kept.append(row)
    bad.rows = len(labels)
    if kept:
        bad.settle(place)
    return kept


def _few(kept: list[int], labels: list[Any], limit: int | None, place: str, seed: int) -> list[int]:
    """As many of the rows, the same share of every label."""
    if limit is None or limit >= len(kept):
        return kept
    number = {label: i for i, label in enumerate(sorted({labels[row] for row in kept}))}
    notice(f"{limit:,} of {len(kept):,} rows of {place} are read, as dataset.max_documents says")
    return [kept[i] for i in some_rows([number[labels[row]] for row in kept], limit, seed)]


def _rows(rows: Any, kept: list[int], place: str) -> Iterator[Row]:
    """The rows, each called by its number in the whole split."""
    chosen = rows if len(kept) == len(rows) else rows.select(kept)
    for number, row in zip(kept, chosen, strict=True):
        yield f"row {number + 1} of {place}", row
