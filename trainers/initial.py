"""The model and the tokenizer that a run begins with: described, a checkpoint's, a checkpoint's shape, or its core."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..configs.architecture import architecture, task_of
from ..configs.schema import RunConfig
from ..errors import UserError, notice
from ..models.distil import student_of
from ..models.hf.loader import heads_in, load_pretrained
from ..models.init import initialise_head
from ..models.model import Model, build_model
from ..models.saved import load_saved
from ..models.start import Start
from ..tokenizers.base import Tokenizer
from ..tokenizers.load import build_tokenizer, cached_bpe, load_tokenizer
from .load import files_of, has_tokenizer, tokenizer_of


def initial_tokenizer(run: RunConfig, start: Start | None) -> Tokenizer:
    """The tokenizer that the run names, else its checkpoint's own.

    Where only the shape of the checkpoint is taken and its tokenizer is not on this machine, a BPE trained on the run's
    text. Raises UserError where there is none, or where it has ids that the model has no row for.
    """
    if start is None or run.model.core_model_type == "hf_core":
        return build_tokenizer(run)
    if run.model.tokenizer is not None:
        from ..models.registry import lookup

        entry = lookup(run.model.tokenizer)
        named = Path(run.model.tokenizer).expanduser()
        tokenizer = load_tokenizer(entry.name if entry and entry.name and not named.exists() else run.model.tokenizer)
    elif run.model.init == "random":
        tokenizer = _at_hand(start) or _stand_in(run, start)
    else:
        tokenizer = tokenizer_of(start)
    stands_in = tokenizer.mask_id is not None and tokenizer.decode([tokenizer.mask_id]) == "_"
    if (
        run.trainer.loss_fn in ("masked_lm", "replaced_token")
        and not start.own
        and (tokenizer.mask_id is None or stands_in)
    ):
        raise UserError(
            f"{run.trainer.loss_fn} puts a mask token in place of tokens, and the tokenizer {tokenizer.name} has none "
            f"of its own: name the one of {start.name} in model.tokenizer"
        )
    if tokenizer.vocab_size > start.config.vocab_size:
        raise UserError(
            f"the tokenizer {tokenizer.name} has {tokenizer.vocab_size:,} ids, and {start.name} has rows for "
            f"{start.config.vocab_size:,}: name the tokenizer it was trained with in model.tokenizer"
        )
    return tokenizer


def initial_model(run: RunConfig, start: Start | None, tokenizer: Tokenizer, device: torch.device) -> Model:
    """The model before the first step, in fp32 on the device, all of it to be trained but for a frozen core."""
    config = architecture(run, tokenizer.vocab_size, start)
    task, seed = task_of(run, start), run.general.seed
    if start is None:
        model = build_model(config, task, device=device, seed=seed)
    elif run.model.init == "random":
        if run.model.core_model_type != "hf_core" and config.pad_token_id not in (None, tokenizer.pad_id):
            config = replace(config, pad_token_id=None)  # another tokenizer's id of that number is no padding
        if task == "replaced_token":
            config = replace(config, head_activation=config.activation)
        model = build_model(config, task, device=device, seed=seed)
    elif run.model.core_model_type == "hf_core":
        model = build_model(config, task, device=device, seed=seed)
        _take_core(model, start)
    else:
        model = _pretrained(start, device, seed) if task != "replaced_token" else _discriminator(start, device, seed)
        model = model if start.layers is None else student_of(model, start.layers)
    if run.model.freeze_core:
        model.core.requires_grad_(False)
    return model


def special_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The ids that stand for no text."""
    t = tokenizer
    ids = (t.bos_id, t.eos_id, t.pad_id, t.unk_id, t.cls_id, t.sep_id, t.mask_id)
    return frozenset(i for i in ids if i is not None)


# --- tokenizers --------------------------------------------------------------------------------------------------


def _at_hand(start: Start) -> Tokenizer | None:
    """The tokenizer in a checkpoint's folder, or one fetched before; None where it is not on this machine."""
    if start.own:
        return tokenizer_of(start)
    from ..tokenizers.hub import cached_tokenizer

    folder = start.place if isinstance(start.place, Path) else cached_tokenizer(start.place)
    return load_tokenizer(folder) if folder is not None and has_tokenizer(folder) else None


def _stand_in(run: RunConfig, start: Start) -> Tokenizer:
    """A BPE of at most the shape's size, trained on the run's text, with a mask token where the model needs one."""
    from ..data.cache import cache_folder
    from ..data.corpus import corpus_of

    tokenizer = cached_bpe(
        corpus_of(run),
        start.config.vocab_size,
        simplify=False,
        min_frequency=2,
        at_most=True,
        has_mask=start.task == "masked_lm",
        cache_dir=cache_folder(run),
    )
    notice(
        f"the tokenizer of {start.name} is not on this machine: a BPE of {tokenizer.vocab_size:,} entries, trained on "
        f"{run.dataset.train_path or run.dataset.name}, stands in for it; model.tokenizer names another"
    )
    return tokenizer


# --- weights -----------------------------------------------------------------------------------------------------


def _pretrained(start: Start, device: torch.device, seed: int) -> Model:
    """The checkpoint's model for language modelling; an encoder without a masked-LM head gets a new one."""
    if start.own:
        return load_saved(Path(start.place), dtype=torch.float32, device=device)
    folder = files_of(start)
    if start.task == "causal_lm" or start.task in heads_in(folder):
        return load_pretrained(folder, start.task, dtype="fp32", device=device)
    notice(f"{start.name} has no masked-LM head: a new one is drawn, and learns with the rest")
    trunk = load_pretrained(folder, "encoder", dtype="fp32", device=device)
    model = build_model(start.config, start.task, device=device, seed=seed)
    model.embedder.load_state_dict(trunk.embedder.state_dict())
    model.core.load_state_dict(trunk.core.state_dict())
    initialise_head(model.head, start.config, model.embedder.tokens.weight, seed)
    model.origin = replace(trunk.origin, architecture=None, extras={}) if trunk.origin else None
    return model


def _discriminator(start: Start, device: torch.device, seed: int) -> Model:
    from .replaced_tokens import pretrained_discriminator

    return pretrained_discriminator(start, device, seed)


def _take_core(model: Model, start: Start) -> None:
    """Fill the blocks of `model` with those of the checkpoint; a norm that the checkpoint has not stays new."""
    donor = _bare(start)
    missing, unexpected = model.core.load_state_dict(donor.core.state_dict(), strict=False)
    allowed = [] if donor.core.norm is not None else [name for name in missing if name.startswith("norm.")]
    assert (list(missing), list(unexpected)) == (allowed, []), (missing, unexpected)


def _bare(start: Start) -> Model:
    if start.own:
        return load_saved(Path(start.place), dtype=torch.float32)
    return load_pretrained(files_of(start), "encoder", dtype="fp32")
