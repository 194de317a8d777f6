"""A run's labelled texts: read, numbered, split, tokenised."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import UserError, notice
from ...tokenizers.base import Tokenizer
from ..cache import short_hash
from ..lengths import Lengths, LengthTable
from ..rows import Row, RowSampler
from .docstrings import NAME as DOCSTRINGS
from .docstrings import stdlib_docstrings
from .examples import SPLITS, TEST, TRAIN, VALIDATION, Example, Labelled
from .hub import known, read_hub
from .labels import number_labels
from .local import read_local
from .split import some_rows, stratified
from .tokens import CroppedRows, Stretches, encode, encode_bodies


@dataclass(frozen=True)
class ClassificationData:
    """Everything a classification run reads.

    `heldout` is the validation split, else the test split, else a share of the training rows; empty where
    `dataset.val_fraction` is 0. `test` is the test split where there is one beside it. The `*_texts` are the same rows
    as text, for the bag-of-words baseline: a pair's two texts are joined.
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
            train_path, eval_path, test_path, val_fraction, max_documents, random_crop, num_proc.
        tokenizer: its template gives the special tokens, its sides what is cut and where padding goes.
        max_length: tokens of a row at most, special ones included.
        seed: of what is held out and, with max_documents, of which rows are read.

    Raises:
        UserError: no such data, or a row that is wrong; one sentence with file and row.
    """
    parts, names, heldout_is = labelled_texts(dataset, seed)
    rows: dict[str, list[Row]] = {}
    lines: list[Lengths] = []
    for split, (examples, labels) in parts.items():
        rows[split], lengths = encode(examples, labels, tokenizer, max_length)
        if lengths:
            lines.append(Lengths.of("held out" if split == "heldout" else split, lengths, max_length))
    texts = {split: [text_of(example) for example in examples] for split, (examples, _) in parts.items()}
    crop = getattr(dataset, "random_crop", None)
    pad_id = next((i for i in (tokenizer.pad_id, tokenizer.eos_id) if i is not None), 0)
    return ClassificationData(
        train=rows[TRAIN],
        heldout=rows["heldout"],
        test=rows.get(TEST),
        label_names=names,
        train_texts=texts[TRAIN],
        heldout_texts=texts["heldout"],
        test_texts=texts.get(TEST),
        table=LengthTable(tuple(lines), max_length),
        heldout_is=heldout_is,
        fingerprint=short_hash(tokenizer.fingerprint, names, parts, max_length, crop),
        pad_id=pad_id,
        stretches=encode_bodies(parts[TRAIN][0], tokenizer) if crop else None,
        random_crop=crop,
    )


def look_at(dataset: Any) -> None:
    """Read and check what is on this machine, without a tokenizer; a data set of the hub is not asked for."""
    path = Path(dataset.train_path or dataset.name).expanduser()
    if dataset.train_path is not None or path.exists() or dataset.name == DOCSTRINGS:
        number_labels(_open(dataset, 0))


Part = tuple[list[Example], list[int]]  # texts and the class of each


def labelled_texts(dataset: Any, seed: int = 0) -> tuple[dict[str, Part], tuple[str, ...], str]:
    """The texts to train on, `heldout` and, where there are any besides, `test`; the classes; what heldout is."""
    source = _few(_open(dataset, seed), dataset.max_documents, seed)
    classes, names = number_labels(source)
    parts: dict[str, Part] = {split: (source.splits[split], classes[split]) for split in source.splits}
    heldout_is = VALIDATION if VALIDATION in parts else TEST if TEST in parts else f"{dataset.val_fraction:g} of train"
    if VALIDATION in parts:
        heldout = parts[VALIDATION]
    elif TEST in parts:
        heldout = parts.pop(TEST)
    elif dataset.val_fraction:
        train, rest = stratified(classes[TRAIN], dataset.val_fraction, seed, source.name)
        heldout, parts[TRAIN] = _pick(parts[TRAIN], rest), _pick(parts[TRAIN], train)
    else:
        heldout = ([], [])
    kept = {TRAIN: parts[TRAIN], "heldout": heldout} | ({TEST: parts[TEST]} if TEST in parts else {})
    return kept, names, heldout_is


def text_of(example: Example) -> str:
    """A text, or the two of a pair as one."""
    return example.text if example.pair is None else f"{example.text} {example.pair}"


def _open(dataset: Any, seed: int) -> Labelled:
    path = Path(dataset.name).expanduser()
    if dataset.train_path is not None or (path.exists() and dataset.name != DOCSTRINGS):
        if dataset.config is not None or dataset.streaming:
            key = "config" if dataset.config is not None else "streaming"
            raise UserError(f"dataset.{key}: it is for Hugging Face datasets, and {path} is local: leave it out")
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


def _few(source: Labelled, limit: int | None, seed: int) -> Labelled:
    """At most `limit` rows of each split, drawn at random: files are often sorted by class."""
    if limit is None:
        return source
    splits: dict[str, list[Example]] = {}
    for split in SPLITS:
        if examples := source.splits.get(split):
            splits[split] = [examples[i] for i in some_rows(len(examples), limit, seed)]
            if len(splits[split]) < len(examples):
                notice(f"{source.name}: {limit:,} of {len(examples):,} {split} rows, as dataset.max_documents says")
    return replace(source, splits=splits)


def _pick(part: Part, rows: list[int]) -> Part:
    examples, classes = part
    return [examples[i] for i in rows], [classes[i] for i in rows]
