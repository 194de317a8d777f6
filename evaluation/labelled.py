"""The task `classification`: a classifier on labelled texts, a file's or those that its run held out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data.classification.known import read_known
from ..data.classification.load import load_classification
from ..data.classification.tokens import encode
from ..data.rows import Row, RowSampler
from ..errors import UserError, notice
from ..models.model import Model
from ..tokenizers.base import Tokenizer
from ..trainers.precision import build_precision
from .classification import classify

if TYPE_CHECKING:
    from .registry import EvalContext, Numbers

BATCH = 16
VERSION = 1


def measure_classification(model: Model, tokenizer: Tokenizer, context: EvalContext) -> Numbers:
    """loss, accuracy, macro_f1, `classes`, `confusion`: see Confusion.numbers. See registry.py."""
    check_classifies(model)
    names, split, rows = _rows(model, tokenizer, context)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids), reverse=True)
    pad_id = next((i for i in (tokenizer.pad_id, tokenizer.eos_id) if i is not None), 0)
    longest = model.config.max_seq_len
    ordered, size = [rows[i] for i in order], context.batch_size or BATCH
    sampler = RowSampler(ordered, size, longest, pad_id=pad_id, mode="sequential", multiple_of=1)
    device = next(model.parameters()).device
    found: list[Tensor] = []
    result = classify(
        model,
        (sampler.batch(i).to(device) for i in range(sampler.batches_per_epoch)),
        build_precision("no", device),
        total=sampler.batches_per_epoch,
        title="classification" if context.progress else None,
        each=lambda logits: found.append(logits.float().softmax(-1).cpu()),
    )
    assert result is not None
    numbers, confusion = result
    if context.sample is not None:
        shares = torch.cat(found)  # (N, K)
        for i, share in sorted(zip(order, shares.tolist(), strict=True)):
            gold, taken = int(rows[i].labels), max(range(len(share)), key=share.__getitem__)  # pyright: ignore
            said: dict[str, Any] = {"gold": names[gold], "predicted": names[taken], "right": gold == taken}
            context.sample({"where": rows[i].where, **said, "probabilities": share})
    return {**numbers, **confusion.numbers(names), "version": VERSION, "source": {"split": split}, "names": list(names)}


def check_classifies(model: Model) -> None:
    """Raises UserError for a model without a classifier."""
    if model.task != "classification":
        raise UserError(f"classification needs a model with a classifier, and this one's head is for '{model.task}'")


def label_names(state: Mapping[str, Any], model: Model) -> tuple[str, ...]:
    """The names of a classifier's classes, as the state.json of its run or its config.json says them; () for none."""
    if state.get("label_names"):
        return tuple(state["label_names"])
    names: dict[str, str] = model.origin.config.get("id2label") or {} if model.origin is not None else {}
    return tuple(names[number] for number in sorted(names, key=int))


def _rows(model: Model, tokenizer: Tokenizer, context: EvalContext) -> tuple[tuple[str, ...], str, list[Row]]:
    """The names of the classes, the split, and the rows that are measured: at most `limit`, evenly spread."""
    run = context.run
    longest = model.config.max_seq_len if run is None else run.trainer.max_seq_length or model.config.max_seq_len
    if context.data is None:
        if run is None or run.dataset.format != "classification":
            raise UserError(f"{context.name} held out no labelled texts: name some with --data FILE_OR_DIR")
        data = load_classification(run.dataset, tokenizer, max_length=longest, seed=run.general.seed)
        if not data.heldout:
            raise UserError("the run held out no rows (dataset.val_fraction 0): name some with --data FILE_OR_DIR")
        return data.label_names, data.heldout_is, _few(data.heldout, context.limit)
    K = model.head.get_submodule("out").get_parameter("weight").shape[0]
    names = context.labels or tuple(str(i) for i in range(K))
    split, examples, classes = read_known(context.data, names, None if run is None else run.dataset)
    rows, lengths = encode(_few(examples, context.limit), _few(classes, context.limit), tokenizer, longest)
    if cut := sum(length > longest for length in lengths):
        notice(f"{cut:,} of {len(rows):,} rows have more than {longest:,} tokens, and lose what does not fit")
    return names, split, rows


def _few(rows: list[Any], limit: int | None) -> list[Any]:
    """No more than `limit` of the rows, evenly spread: files are often sorted by class."""
    if limit is None or limit >= len(rows):
        return rows
    return [rows[i * len(rows) // limit] for i in range(limit)]
