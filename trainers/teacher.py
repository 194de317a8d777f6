"""The teacher of a run: loaded, its tokenizer held against the student's, never trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ..configs.schema import RunConfig
from ..data.classification.load import ClassificationData
from ..errors import UserError
from ..evaluation.labelled import label_names
from ..models.config import Task
from ..models.hf.loader import heads_in, load_pretrained
from ..models.lora import load_adapter
from ..models.model import Model
from ..models.saved import load_saved, read_state
from ..models.start import Start, find_start
from ..tokenizers.base import Tokenizer
from ..tokenizers.load import load_tokenizer
from ..tokenizers.same import difference
from .class_distillation import ClassDistillation, ClassTeacher
from .class_weights import weights_of_classes
from .distillation import DistillationLoss, Weights
from .load import files_of, has_tokenizer, tokenizer_of
from .objectives import ClassLoss
from .precision import Precision
from .settings import Settings

_HEADS: dict[Task, str] = {"causal_lm": "LM head", "masked_lm": "masked-LM head", "classification": "classifier"}
_HEADS |= {"replaced_token": "head that guesses tokens", "encoder": "head"}


def learn_from_teacher(
    run: RunConfig,
    model: Model,
    tokenizer: Tokenizer,
    precision: Precision,
    settings: Settings,
    bytes_per_token: float | None,
) -> DistillationLoss | None:
    """The objective of a run that has a teacher, None of one that has none.

    Raises:
        UserError: the teacher cannot be loaded, or its tokenizer is another than the student's.
    """
    d = run.distillation
    if d is None or d.teacher is None:
        return None
    start = find_start(d.teacher)
    _check_tokenizer(run, start, tokenizer)
    teacher = load_teacher(start, model.embedder.tokens.weight.device)
    _check_rows(tokenizer, {start.name: teacher, "the student": model})
    return DistillationLoss(
        model,
        teacher,
        precision,
        chunk=max(1, settings.chunk // 2),  # two vocabularies' logits at once
        rows=tokenizer.vocab_size,
        weights=Weights(d.alpha_soft, d.alpha_hard, d.alpha_cosine, d.temperature),
        smoothing=settings.label_smoothing,
        bytes_per_token=bytes_per_token,
    )


def learn_classes(
    run: RunConfig, model: Model, tokenizer: Tokenizer, precision: Precision, data: ClassificationData
) -> ClassLoss:
    """The objective of a run that tells the classes of its data apart, from a teacher where it has one.

    Raises:
        UserError: the teacher cannot be loaded, or has other classes, another tokenizer, or a width that the cosine is
            not to be had of.
    """
    d, smoothing = run.distillation, run.trainer.label_smoothing
    if d is None or d.teacher is None:
        weights = weights_of_classes(run.trainer.class_weights, data.train_classes, data.label_names)
        there = model.embedder.tokens.weight.device
        return ClassLoss(model, precision, smoothing, None if weights is None else torch.tensor(weights, device=there))
    start = find_start(d.teacher)
    _check_tokenizer(run, start, tokenizer)
    teacher = load_teacher(start, model.embedder.tokens.weight.device, "classification")
    _check_rows(tokenizer, {start.name: teacher, "the student": model})
    state = read_state(Path(start.place)) if start.own else {}
    theirs = [name.casefold().removeprefix("label_") for name in label_names(state, teacher)]
    ours = [name.casefold().removeprefix("label_") for name in data.label_names]
    if sorted(theirs) != sorted(ours):
        raise UserError(
            f"distillation.teacher: the classes of {start.name} are {_listed(label_names(state, teacher))}, and those "
            f"of the data {_listed(data.label_names)}: take a teacher of the same classes"
        )
    if d.alpha_cosine and teacher.config.d_model != model.config.d_model:
        raise UserError(
            f"distillation.alpha_cosine: the states of {start.name} are {teacher.config.d_model} wide and the "
            f"student's {model.config.d_model}, so there is no angle between them: set it to 0"
        )
    return ClassDistillation(
        model,
        precision,
        smoothing,
        teacher=ClassTeacher(teacher, precision, order=[theirs.index(name) for name in ours]),
        weights=Weights(d.alpha_soft, d.alpha_hard, d.alpha_cosine, d.temperature),
    )


def load_teacher(start: Start, device: torch.device, task: Task | None = None) -> Model:
    """The model of a checkpoint, with its adapter if it has one, in fp32 and evaluation mode, none of it to be trained.

    `task` None: language modelling, as the checkpoint has it.

    Raises:
        UserError: a file is missing or damaged, or there is no head to learn from.
    """
    task = task or start.task
    lacks = UserError(f"distillation.teacher: {start.name} has no {_HEADS[task]}, so it has nothing to teach")
    if task == "classification" and start.adapter is not None:
        raise UserError(f"distillation.teacher: {start.name} is an adapter, and says no classes: name its run's folder")
    if start.own:
        if start.task != task:
            raise lacks
        model = load_saved(Path(start.place), dtype=torch.float32, device=device)
    else:
        folder = files_of(start)
        if task != "causal_lm" and task not in heads_in(folder):
            raise lacks
        model = load_pretrained(folder, task, dtype="fp32", device=device)
    if start.adapter is not None:
        load_adapter(model, start.adapter)
    return model.requires_grad_(False).eval()


def _check_rows(tokenizer: Tokenizer, models: dict[str, Model]) -> None:
    """Raises UserError where a model has fewer rows than the tokenizer has ids."""
    for name, one in models.items():
        if one.config.vocab_size < tokenizer.vocab_size:
            raise UserError(
                f"distillation: the tokenizer has {tokenizer.vocab_size:,} ids, and {name} has rows for "
                f"{one.config.vocab_size:,}: name the tokenizer it was trained with in model.tokenizer"
            )


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:6]) or 'not named'}{', ...' if len(names) > 6 else ''}"


def _check_tokenizer(run: RunConfig, start: Start, tokenizer: Tokenizer) -> None:
    """Raises UserError where the ids of the two models do not stand for the same."""
    d = run.distillation
    assert d is not None
    if d.tokenizer is not None:
        theirs = load_tokenizer(d.tokenizer)
    elif start.adapter is not None and has_tokenizer(start.adapter):
        theirs = load_tokenizer(start.adapter)
    elif start.own or has_tokenizer(folder := files_of(start)):
        theirs = tokenizer_of(start)
    elif run.model.tokenizer is not None and run.model.base_model == d.teacher:
        return  # none lies there, and the run names the tokenizer of the one checkpoint that both are made of
    else:
        raise UserError(f"{folder}: no tokenizer in it: name the one of {start.name} in distillation.tokenizer")
    if apart := difference(theirs, tokenizer):
        raise UserError(
            f"distillation.teacher: {start.name} reads text by another tokenizer than the student, and would be asked "
            f"for other tokens than it knows: {apart}; take a teacher and a student of one tokenizer"
        )
