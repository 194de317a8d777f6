"""The teacher of a run: loaded, its tokenizer held against the student's, never trained."""

from __future__ import annotations

from pathlib import Path

import torch

from ..configs.schema import RunConfig
from ..errors import UserError
from ..models.hf.loader import heads_in, load_pretrained
from ..models.model import Model
from ..models.saved import load_saved
from ..models.start import Start, find_start
from ..tokenizers.base import Tokenizer
from ..tokenizers.load import load_tokenizer
from ..tokenizers.same import difference
from .distillation import DistillationLoss, Weights
from .load import files_of, tokenizer_of
from .precision import Precision
from .settings import Settings


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
    device = model.embedder.tokens.weight.device
    teacher = load_teacher(start, device)
    for name, other in ((start.name, teacher), ("the student", model)):
        if other.config.vocab_size < tokenizer.vocab_size:
            raise UserError(
                f"distillation: the tokenizer has {tokenizer.vocab_size:,} ids, and {name} has rows for "
                f"{other.config.vocab_size:,}: name the tokenizer it was trained with in model.tokenizer"
            )
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


def load_teacher(start: Start, device: torch.device) -> Model:
    """The model of a checkpoint, in fp32 and in evaluation mode, none of it to be trained."""
    if start.own:
        model = load_saved(Path(start.place), dtype=torch.float32, device=device)
    else:
        folder = files_of(start)
        if start.task == "masked_lm" and start.task not in heads_in(folder):
            raise UserError(f"distillation.teacher: {start.name} has no masked-LM head, so it has nothing to teach")
        model = load_pretrained(folder, start.task, dtype="fp32", device=device)
    return model.requires_grad_(False).eval()


def _check_tokenizer(run: RunConfig, start: Start, tokenizer: Tokenizer) -> None:
    """Raises UserError where the ids of the two models do not stand for the same."""
    d = run.distillation
    assert d is not None
    if d.tokenizer is not None:
        theirs = load_tokenizer(d.tokenizer)
    elif run.model.tokenizer is not None and run.model.base_model == d.teacher:
        return  # the run names the tokenizer of the one checkpoint that both are made of
    else:
        try:
            theirs = tokenizer_of(start)
        except UserError as error:
            raise UserError(
                f"{error}".partition(": name the one")[0] + f": name the one of {start.name} in distillation.tokenizer"
            ) from None
    if apart := difference(theirs, tokenizer):
        raise UserError(
            f"distillation.teacher: {start.name} reads text by another tokenizer than the student, and would be asked "
            f"for other tokens than it knows: {apart}; take a teacher and a student of one tokenizer"
        )
