"""A checkpoint as a classifier: a new head on its blocks, the names of the classes kept with it, the bag of words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..configs.schema import RunConfig
from ..data.classification.load import ClassificationData
from ..data.rows import OneEpoch, Row, classes_of, spread
from ..data.sampling import Batch
from ..evaluation.baseline import NAME, fit_baseline
from ..models.config import ModelConfig
from ..models.distil import student_config, student_of
from ..models.hf.families import model_config
from ..models.hf.loader import load_pretrained
from ..models.model import Model, build_model
from ..models.saved import load_saved, origin_of, read_state
from ..models.start import Start
from .folder import RunFolder
from .load import files_of

_OF_CLASSIFIERS = ("classifier_activation", "classifier_dropout", "classifier_pooling", "head_dropout")


def classifier(
    start: Start,
    label_names: Sequence[str],
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
    random: bool = False,
    pad_id: int | None = None,
) -> Model:
    """The model of a checkpoint with a head of as many classes as there are names, in fp32, to be trained.

    A head in the checkpoint of that many classes is taken; any other gives way to a new one, drawn from a truncated
    normal, the same for the same seed. Of a student's start only some layers are taken; with `random` only the shape.
    `pad_id` is what rows are padded with: a decoder's config.json has to name it for transformers to find where a row
    ends.

    Raises:
        UserError: the family has no classifier here, or a file is missing or damaged.
    """
    n, device = len(label_names), torch.device(device)
    if random:
        config = classifier_config(start)
        config = config if start.layers is None else student_config(config, start.layers)
        model = build_model(config, "classification", n, device=device, seed=seed)
    elif start.own:
        model = classifier_of_run(start, n, device, seed)
    else:
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            model = load_pretrained(files_of(start), "classification", dtype="fp32", device=device, num_labels=n)
    if start.layers is not None and not random:
        model = student_of(model, start.layers)
    name_labels(model, label_names, pad_id)
    return model.train()


def name_labels(model: Model, names: Sequence[str], pad_id: int | None = None) -> None:
    """Put the names of the classes where save_pretrained and a run's checkpoint write them: id2label, label2id."""
    if model.origin is None:
        return
    words: dict[str, Any] = {"id2label": {str(i): name for i, name in enumerate(names)}}
    words["label2id"] = {name: i for i, name in enumerate(names)}
    config = {key: value for key, value in model.origin.config.items() if key != "num_labels"}
    if model.config.causal and pad_id is not None and config.get("pad_token_id") is None:
        words["pad_token_id"] = pad_id
    model.origin = replace(model.origin, config={**config, **words})


def classifier_config(start: Start) -> ModelConfig:
    """The shape of a checkpoint, all layers of it, as a classifier: the head is its family's, where it has one.

    Raises:
        UserError: the family has no classifier here.
    """
    if start.hf is not None:
        return model_config(start.hf, "classification", start.name)
    place = Path(start.place)
    state = read_state(place)
    own, origin = ModelConfig.from_dict(state["model_config"]), origin_of(place, state)
    if start.task == "classification" or origin is None:
        return own
    theirs = model_config(origin.config, "classification", start.name)
    return replace(own, **{field: getattr(theirs, field) for field in _OF_CLASSIFIERS})


def is_classifier(start: Start, n: int) -> bool:
    """Whether a run of ours has a head of so many classes."""
    return start.own and start.task == "classification" and read_state(Path(start.place)).get("num_labels") == n


def classifier_of_run(start: Start, n: int, device: torch.device, seed: int) -> Model:
    """The blocks of a run of ours, in fp32; its head too where it tells as many classes apart."""
    own = load_saved(Path(start.place), dtype=torch.float32, device=device)
    if is_classifier(start, n):
        return own
    model = build_model(classifier_config(start), "classification", n, device=device, seed=seed)
    model.embedder.load_state_dict(own.embedder.state_dict())
    model.core.load_state_dict(own.core.state_dict())
    model.origin = replace(own.origin, architecture=None, extras={}) if own.origin else None
    return model


def reading_of(run: RunConfig, data: ClassificationData) -> dict[str, Any]:
    """What a run reads of labelled texts, in the fields of Reading: batches, lengths, how much there is."""
    trainer, dataset = run.trainer, run.dataset
    context = trainer.max_seq_length or run.model.context_window
    size = run.evaluation.batch_size or trainer.batch_size
    tokens = sum(len(row.ids) for row in data.train)
    held = f"{len(data.heldout):,} held out ({data.heldout_is})" if data.heldout else "none held out"
    return {
        "train": data.batches(trainer.batch_size, context, run.general.seed),
        "heldout": heldout_rows(data, data.heldout, size, context, run.evaluation.max_batches),
        "name": dataset.train_path or dataset.name,
        "summary": f"{len(data.train):,} rows of {data.num_labels} classes ({', '.join(data.label_names[:6])}"
        f"{', ...' if data.num_labels > 6 else ''}), {tokens:,} tokens to train on; {held}",
        "train_tokens": tokens,
        "table": str(data.table),
    }


def heldout_rows(
    data: ClassificationData, rows: list[Row], batch_size: int, max_length: int, max_batches: int | None = None
) -> Callable[[], Iterator[Batch]]:
    """A function that gives batches of the rows, the same each time: all, or as many, spread evenly over the rows."""
    if not rows:
        return lambda: iter(())
    batches = data.evaluation(spread(rows, (max_batches or len(rows)) * batch_size), batch_size, max_length)
    return OneEpoch(batches)


def measure_baseline(
    data: ClassificationData,
    folder: RunFolder,
    seed: int = 0,
    most: int | None = None,
    class_weights: Sequence[float] | None = None,
) -> dict[str, float]:
    """Fit the bag of words on the training texts, measure it on the rows that the model is measured on, keep it.

    Args:
        most: held-out rows at most, and rows of the test split, spread evenly; None: all.
        class_weights: of the rows of each class, as the model's loss has them; None: all count alike.

    Returns:
        Its numbers, which are in baseline/metrics/bag-of-words-tfidf.json too, the model itself in
        baseline/bag-of-words-tfidf.
    """
    baseline = fit_baseline(
        data.train_texts,
        data.train_classes,
        *_some(data.heldout_texts, data.heldout, most),
        data.label_names,
        seed=seed,
        class_weights=class_weights,
    )
    numbers = dict(baseline.numbers)
    if data.test and data.test_texts:
        tested = baseline.evaluate(*_some(data.test_texts, data.test, most))
        numbers |= {f"test_{name}": tested[name] for name in ("accuracy", "macro_f1", "loss", "rows")}
    folder.write_json(folder.baseline / "metrics" / f"{NAME}.json", numbers)
    baseline.save(folder.baseline / NAME)
    return numbers


def _some(texts: list[str], rows: list[Row], most: int | None) -> tuple[list[str], list[int]]:
    """Texts and classes of the rows that `spread` takes."""
    most = most or len(rows)
    return spread(texts, most), classes_of(spread(rows, most))
