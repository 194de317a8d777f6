"""A run's labelled texts: read, numbered, split, tokenised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError, notice
from ...tokenizers.base import Tokenizer
from ..lengths import Lengths, LengthTable
from ..rows import Row, RowSampler, classes_of
from ..text import VAL_FRACTION
from .bad_rows import BadRows
from .docstrings import NAME as DOCSTRINGS
from .docstrings import stdlib_docstrings
from .duplicates import number_texts, say_duplicates, say_overlap
from .examples import TEST, TRAIN, VALIDATION, Example, Labelled
from .hub import known, read_hub
from .labels import number_labels
from .local import read_local
from .split import some_rows, stratified
from .tokens import OVERFLOWS, CroppedRows, Stretches, encode_bodies, fit

HELDOUT = "heldout"
Part = tuple[list[Example], list[int]]
"""Texts and the class of each."""


@dataclass(frozen=True)
class ClassificationData:
    """Everything a classification run reads.

    `heldout` is the validation split, else the test split, else a share of the training rows; empty where
    `dataset.val_fraction` is 0. A share that is given comes before the test split. `test` is the test split where there
    is one beside it. The `*_texts` are the same rows as text, for the bag-of-words baseline: a pair's two are joined.
    """

    train: list[Row]
    heldout: list[Row]
    test: list[Row] | None
    label_names: tuple[str, ...]
    train_texts: list[str]
    heldout_texts: list[str]
    test_texts: list[str] | None
    table: LengthTable
    heldout_is: str  # "validation", "test", or the share held out
    fingerprint: str
    pad_id: int
    stretches: Stretches | None = None
    random_crop: float | None = None

    @property
    def num_labels(self) -> int:
        """How many classes there are."""
        return len(self.label_names)

    @property
    def train_classes(self) -> list[int]:
        """The class of each training row."""
        return classes_of(self.train)

    def batches(self, batch_size: int, max_length: int, seed: int, *, rank: int = 0, world: int = 1) -> RowSampler:
        """Training batches, grouped by length and padded to the longest of each."""
        settings: dict[str, Any] = {"pad_id": self.pad_id, "by_length": True, "multiple_of": 1}
        settings |= {"rank": rank, "world": world}
        if self.stretches is not None and self.random_crop is not None:
            return CroppedRows(
                self.train, batch_size, max_length, seed, stretches=self.stretches, keep=self.random_crop, **settings
            )
        return RowSampler(self.train, batch_size, max_length, seed, **settings)

    def evaluation(self, rows: list[Row], batch_size: int, max_length: int) -> RowSampler:
        """Each of the rows once, those of similar length together."""
        ordered = sorted(rows, key=lambda row: len(row.ids), reverse=True)
        return RowSampler(ordered, batch_size, max_length, pad_id=self.pad_id, mode="sequential", multiple_of=1)


def load_classification(dataset: Any, tokenizer: Tokenizer, *, max_length: int, seed: int = 0) -> ClassificationData:
    """The labelled texts that a `dataset` section names.

    Args:
        dataset: the section; it is read for name, config, split, text_column, label_column, text_pair_column,
            train_path, eval_path, test_path, val_fraction, max_documents, random_crop, num_proc, on_overflow (where
            nothing is said, `truncate`) and on_bad_row (`error`, of what is published `drop`).
        tokenizer: its template gives the special tokens, its sides what is cut and where padding goes.
        max_length: tokens of a row at most, special ones included.
        seed: of what is held out and, with max_documents, of which rows are read.

    Raises:
        UserError: no such data, or a row that is wrong; one sentence with file and row.
    """
    overflow = getattr(dataset, "on_overflow", None) or "truncate"
    if overflow not in OVERFLOWS:
        raise UserError(f"dataset.on_overflow is '{overflow}', and one of {', '.join(OVERFLOWS)} is wanted")
    parts, names, heldout_is = labelled_texts(dataset, seed)
    rows: dict[str, list[Row]] = {}
    lines: list[Lengths] = []
    for split, (examples, labels) in parts.items():
        what = "held out" if split == HELDOUT else split
        bad = BadRows.of(dataset, "error" if _is_here(dataset) else "drop")
        encoded = fit(examples, labels, tokenizer, max_length, bad, overflow)
        bad.settle(f"the {split} split")
        rows[split], parts[split] = encoded.rows, _pick(parts[split], encoded.kept)
        if len(set(parts[split][1])) < min(2 if split == TRAIN else 1, len(set(labels))):
            left = "of one class" if encoded.rows else "none"
            raise UserError(
                f"without those of more than {max_length:,} tokens the {what} rows are {left}: raise "
                "trainer.max_seq_length, or set dataset.on_overflow to truncate"
            )
        if encoded.lengths:
            lines.append(Lengths.of(what, encoded.lengths, max_length, overflow == "drop"))
    texts = {split: [text_of(example) for example in examples] for split, (examples, _) in parts.items()}
    crop = getattr(dataset, "random_crop", None)
    pad_id = next((i for i in (tokenizer.pad_id, tokenizer.eos_id) if i is not None), 0)
    return ClassificationData(
        train=rows[TRAIN],
        heldout=rows[HELDOUT],
        test=rows.get(TEST),
        label_names=names,
        train_texts=texts[TRAIN],
        heldout_texts=texts[HELDOUT],
        test_texts=texts.get(TEST),
        table=LengthTable(tuple(lines), max_length, overflow == "drop"),
        heldout_is=heldout_is,
        fingerprint=_fingerprint(parts, tokenizer.fingerprint, names, max_length, crop),
        pad_id=pad_id,
        stretches=encode_bodies(parts[TRAIN][0], tokenizer) if crop else None,
        random_crop=crop,
    )


def look_at(dataset: Any) -> None:
    """Read and check what is on this machine, without a tokenizer; a data set of the hub is not asked for."""
    if _is_here(dataset):
        source = _open(dataset, 0)
        _say_reads(source, dataset)
        number_labels(source)


def labelled_texts(dataset: Any, seed: int = 0) -> tuple[dict[str, Part], tuple[str, ...], str]:
    """The texts to train on, `heldout` and, where there are any besides, `test`; the classes; what heldout is.

    Notes say what was read as text and label, which texts come twice, and where the test rows are what is held out.
    """
    limit = dataset.max_documents
    if limit is not None and limit < 2:
        raise UserError(f"dataset.max_documents is {limit}: two classes need two rows at least")
    source = _open(dataset, seed)
    _say_reads(source, dataset)
    classes, names = number_labels(source)
    parts = {split: _few((examples, classes[split]), limit, split, seed) for split, examples in source.splits.items()}
    texts = number_texts(parts[TRAIN][0])
    say_duplicates(source.name, *parts[TRAIN], names, texts)
    for split in (VALIDATION, TEST):
        if split in parts:
            say_overlap(source.name, split, parts[TRAIN][0], parts[split][0])
    given = dataset.val_fraction
    fraction = VAL_FRACTION if given is None else given
    if VALIDATION in parts or (TEST in parts and not given):
        heldout_is = VALIDATION if VALIDATION in parts else TEST
        heldout = parts.pop(heldout_is)
        if heldout_is == TEST:
            notice(
                f"{source.name} has no validation rows, so the test rows are evaluated on during training and choose "
                "the best step; a dataset.val_fraction of 0.1, say, holds out training rows instead"
            )
    elif fraction:
        heldout_is = f"{fraction:g} of train"
        train, rest = stratified(parts[TRAIN][1], fraction, seed, source.name, texts)
        heldout, parts[TRAIN] = _pick(parts[TRAIN], rest), _pick(parts[TRAIN], train)
    else:
        heldout, heldout_is = ([], []), "0 of train"
    kept = {TRAIN: parts[TRAIN], HELDOUT: heldout} | ({TEST: parts[TEST]} if TEST in parts else {})
    return kept, names, heldout_is


def text_of(example: Example) -> str:
    """A text, or the two of a pair as one."""
    return example.text if example.pair is None else f"{example.text} {example.pair}"


def _is_here(dataset: Any) -> bool:
    """Whether the data is on this machine, and not a data set of the hub."""
    name: str = dataset.name
    return dataset.train_path is not None or name == DOCSTRINGS or Path(name).expanduser().exists()


def _open(dataset: Any, seed: int) -> Labelled:
    if _is_here(dataset) and (dataset.train_path is not None or dataset.name != DOCSTRINGS):
        if dataset.config is not None or dataset.streaming:
            key = "config" if dataset.config is not None else "streaming"
            name = dataset.train_path or dataset.name
            raise UserError(f"dataset.{key}: it is for Hugging Face datasets, and {name} is local: leave it out")
        return read_local(dataset)
    if dataset.eval_path is not None or getattr(dataset, "test_path", None) is not None:
        key = "eval_path" if dataset.eval_path is not None else "test_path"
        raise UserError(
            f"dataset.{key}: {dataset.name} has splits of its own; name the training file in dataset.train_path"
        )
    if dataset.name == DOCSTRINGS:
        return stdlib_docstrings()
    from ..corpus import is_hub_id

    if known(dataset.name) is None and not is_hub_id(dataset.name):
        raise UserError(f"dataset.name is '{dataset.name}', and there is no such file or folder")
    return read_hub(dataset, seed)


def _say_reads(source: Labelled, dataset: Any) -> None:
    """A note of what was taken for text and label where the configuration does not name both."""
    named = getattr(dataset, "text_column", None) and getattr(dataset, "label_column", None)
    if source.reads is not None and not named:
        notice(
            f"{source.name}: {source.reads}; other columns: dataset.text_column, text_pair_column, label_column; plain "
            "text instead of classes: dataset.format text"
        )


def _few(part: Part, limit: int | None, split: str, seed: int) -> Part:
    """At most `limit` rows, the same share of every class."""
    if limit is None or limit >= len(part[0]):
        return part
    notice(f"{limit:,} of the {len(part[0]):,} {split} rows are read, as dataset.max_documents says")
    return _pick(part, some_rows(part[1], limit, seed))


def _pick(part: Part, rows: list[int]) -> Part:
    examples, classes = part
    return [examples[i] for i in rows], [classes[i] for i in rows]


def _fingerprint(parts: dict[str, Part], *settings: object) -> str:
    """Sixteen hex digits that tell rows and settings apart; row by row, for as one text they would fill the memory."""
    total = hashlib.sha256(repr(settings).encode())
    for split, (examples, classes) in parts.items():
        total.update(repr((split, len(examples))).encode())
        for example, label in zip(examples, classes, strict=True):
            total.update(repr((example.text, example.pair, label)).encode())
    return total.hexdigest()[:16]
