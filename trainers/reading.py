"""What a run reads: text, conversations or labelled texts, as batches, with what goes with each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from ..configs.schema import RunConfig
from ..data.classification.load import ClassificationData, load_classification
from ..data.instruct.load import load_instructions
from ..data.masking import mask_for_generator, mask_inputs, mask_tokens
from ..data.rows import Batches, OneEpoch, Row, RowSampler, spread
from ..data.sampling import IGNORE, Batch, Sampler
from ..data.text import TextData, load_text_data
from ..data.tokenised import document_frame
from ..evaluation.text_modeling import stream_texts
from ..models.model import Model
from ..models.start import Start
from ..tokenizers.base import Tokenizer
from .initial import special_ids

Heldout = Callable[[], Iterator[Batch]]


@dataclass(frozen=True)
class Reading:
    """The batches of a run, and what there is to say and to measure of them."""

    train: Batches
    heldout: Heldout  # the same batches each time
    name: str
    summary: str  # how much it is, for the run's first lines
    train_tokens: int
    table: str = ""  # of lengths, where rows have some
    bytes_per_token: float | None = None  # of what is held out, where each token is predicted
    mask: Callable[..., Batch] | None = None  # makes of a batch one whose targets are masked tokens
    prompt: tuple[int, ...] = ()  # what a sample begins with; none: no sample is written
    stop_ids: tuple[int, ...] = ()  # where it ends
    texts: Callable[[], Iterable[str]] | None = None  # the held-out documents
    classes: ClassificationData | None = None  # texts with a class

    def writer(self, run: RunConfig, model: Model, tokenizer: Tokenizer) -> Callable[[], str | None]:
        """A function that lets the model write."""
        length = run.evaluation.sample_tokens
        if not length or not self.prompt or not model.config.causal or model.task != "causal_lm":
            return lambda: None

        def sample() -> str:
            was_training = model.training
            model.eval()
            ids = torch.tensor([self.prompt], device=next(model.parameters()).device)
            try:
                written = model.generate(
                    ids, length, temperature=0.8, top_k=200, seed=run.general.seed, eos_id=self.stop_ids or None
                )
            finally:
                model.train(was_training)
            return tokenizer.decode(written[0].tolist())

        return sample


def read_data(run: RunConfig, tokenizer: Tokenizer, start: Start | None) -> Reading:
    """What the run's `dataset` section names. Raises UserError for every kind of bad input."""
    if run.dataset.format == "classification":
        return _labelled(run, tokenizer)
    if run.dataset.format is not None:
        return _instructions(run, tokenizer, start)
    return _text(run, tokenizer)


def context_of(run: RunConfig) -> int:
    """Tokens in a row."""
    return run.trainer.max_seq_length or run.model.context_window


# --- text --------------------------------------------------------------------------------------------------------


def _text(run: RunConfig, tokenizer: Tokenizer) -> Reading:
    data, trainer = load_text_data(run, tokenizer), run.trainer
    held_out = f", {data.val.n_tokens:,} held out" if data.val else ""
    mask = _mask(run, tokenizer)
    return Reading(
        train=Sampler(
            data.train,
            trainer.batch_size,
            context_of(run),
            run.general.seed,
            trainer.datasampling,
            stride=run.dataset.stride,
        ),
        heldout=_heldout_text(run, data),
        name=run.dataset.train_path or run.dataset.name,
        summary=f"{data.train.n_tokens:,} tokens to train on{held_out}",
        train_tokens=data.train.n_tokens,
        bytes_per_token=data.val.bytes_per_token if data.val and mask is None else None,
        mask=mask,
        prompt=_beginning(run, tokenizer, data),
        texts=None if data.val is None else partial(stream_texts, data.val, tokenizer),
    )


def _heldout_text(run: RunConfig, data: TextData) -> Heldout:
    """A fixed draw over the whole of the held-out text."""
    if data.val is None:
        return lambda: iter(())
    size = run.evaluation.batch_size or run.trainer.batch_size
    sampler = Sampler(data.val, size, context_of(run), seed=0, mode="packed", stride=run.dataset.stride)
    keeps_documents_apart = run.trainer.datasampling != "standard"
    count = min(run.evaluation.max_batches or sampler.batches_per_epoch, sampler.batches_per_epoch)

    def batches() -> Iterator[Batch]:
        for batch in map(sampler.batch, range(count)):
            yield batch if keeps_documents_apart else replace(batch, segment_ids=None)

    return batches


def _mask(run: RunConfig, tokenizer: Tokenizer) -> Callable[..., Batch] | None:
    """What turns a batch into one whose targets are masked tokens; None where the next token is the target."""
    t = run.trainer
    if t.loss_fn == "next_token_mlm":
        return partial(mask_inputs, ratio=t.mask_ratio, mask_id=tokenizer.mask_id)
    if t.loss_fn in ("masked_lm", "replaced_token"):
        return partial(
            mask_tokens if t.loss_fn == "masked_lm" else mask_for_generator,
            ratio=t.mask_ratio,
            mask_id=tokenizer.mask_id,
            vocab_size=tokenizer.vocab_size,
            special=special_ids(tokenizer),
        )
    return None


def _beginning(run: RunConfig, tokenizer: Tokenizer, data: TextData) -> tuple[int, ...]:
    """What a sample begins with: the prompt of the configuration, or the start of held-out text."""
    prompt = run.evaluation.sample_prompt
    if prompt is not None:
        begin = document_frame(tokenizer)[0] if run.model.base_model else ()
        return (*begin, *tokenizer.encode(prompt)) or (tokenizer.eos_id or 0,)
    source = data.val or data.train
    return tuple(source.read(0, min(16, source.n_tokens)).tolist())


# --- labelled texts ----------------------------------------------------------------------------------------------


def _labelled(run: RunConfig, tokenizer: Tokenizer) -> Reading:
    from .classifier import reading_of

    data = load_classification(run.dataset, tokenizer, max_length=context_of(run), seed=run.general.seed)
    return Reading(**reading_of(run, data), classes=data)


# --- conversations -----------------------------------------------------------------------------------------------


def _instructions(run: RunConfig, tokenizer: Tokenizer, start: Start | None) -> Reading:
    dataset, trainer, context = run.dataset, run.trainer, context_of(run)
    data = load_instructions(dataset, tokenizer, max_length=context, seed=run.general.seed)
    mode = {"standard": "shuffled"}.get(trainer.datasampling, trainer.datasampling)
    sampler = RowSampler(
        data.train,
        trainer.batch_size,
        context,
        run.general.seed,
        pad_id=data.pad_id,
        mode=mode,
        by_length=mode == "shuffled" and trainer.batch_size > 1,
        causal=True,
    )
    if run.evaluation.sample_prompt is not None:
        prompt = tuple(data.prompt([{"role": "user", "content": run.evaluation.sample_prompt}]))
    else:
        prompt = _asked((data.heldout or data.train)[0])
    tokens = sum(len(row.ids) for row in data.train)
    return Reading(
        train=sampler,
        heldout=_heldout_rows(run, data.heldout, context, data.pad_id),
        name=dataset.train_path or dataset.name,
        summary=f"{len(data.train):,} rows, {tokens:,} tokens to train on; {len(data.heldout):,} held out",
        table=str(data.table),
        train_tokens=tokens,
        prompt=prompt,
        stop_ids=data.stop_ids,
    )


def _heldout_rows(run: RunConfig, rows: list[Row], context: int, pad_id: int) -> Heldout:
    """All that is held out, or as many batches as the configuration says, spread evenly over it."""
    if not rows:
        return lambda: iter(())
    size = run.evaluation.batch_size or run.trainer.batch_size
    chosen = spread(rows, (run.evaluation.max_batches or len(rows)) * size)
    sampler = RowSampler(chosen, size, context, pad_id=pad_id, mode="sequential", causal=True)
    return OneEpoch(sampler)


def _asked(row: Row) -> tuple[int, ...]:
    """The ids of a row up to its first target: what the model is asked."""
    labels: Any = row.labels
    first = int((labels != IGNORE).argmax())
    return tuple(row.ids[: first + 1].tolist())
