"""A run's model as a directory of Hugging Face's, whole: what trained on a frozen base is put into its weights."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from ..errors import UserError
from ..models.base import Base, train_only
from ..models.hf.export import SPECIAL_IDS, save_pretrained
from ..models.hf.families import Origin
from ..models.hf.loader import DTYPES
from ..models.lora import adapters, merge_lora, remove_lora
from ..models.lora.merge import answers, probe_of
from ..models.model import Model
from ..models.saved import base_of, load_saved, load_weights, read_state
from ..tokenizers.base import Tokenizer
from .load import find_checkpoint, run_tokenizer


def export_run(source: str | Path, output: str | Path, dtype: str | None = None) -> Path:
    """Write the best checkpoint of a run, or the one that is named, for transformers and load_pretrained to read.

    Adapters are merged in fp32 into the weights they were trained on, the full-precision ones where these were packed,
    and rounded once; how far that moved the logits is said.

    A discriminator's generator goes to `output`/generator.

    Args:
        dtype: fp32, bf16 or fp16; None: that of the base, fp32 for a run that trained everything.

    Raises:
        UserError: there is no checkpoint, its base is gone, no family of Hugging Face has such a model, or the disk
            refuses.
    """
    if dtype is not None and dtype not in DTYPES:
        raise UserError(f"--dtype {dtype}: must be one of {', '.join(DTYPES)}")
    target = Path(output)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"--output {output}: there is something already: name a new folder")
    checkpoint = find_checkpoint(source)
    state = read_state(checkpoint)
    if "base" in state:
        state["base"] = base_of(checkpoint, state)
    model = load_saved(checkpoint)
    origin = model.origin
    if adapters(model):
        model, change = _merged(model, state.get("base"))
        print(f"adapters merged: no logit of the probe moved by more than {change:.3g}", file=sys.stderr)
    elif "base" in state and state["base"]["packing"] is not None:
        model, change = _unpacked(model, checkpoint, Base.from_dict(state["base"]))
        print(f"weights unpacked: no logit of the probe moved by more than {change:.3g}", file=sys.stderr)
    if origin is not None and model.origin is not None:
        model.origin = replace(model.origin, config=origin.config | _untied(model))  # the classes' names
    if dtype is not None:
        model = model.to(DTYPES[dtype])
    tokenizer = run_tokenizer(checkpoint)
    save_pretrained(model, target, tokenizer)
    if model.generator is not None:
        _export_generator(model.generator, target / "generator", tokenizer)
    return target


def _untied(model: Model) -> dict[str, bool]:
    """What merging into a tied head changes of a config.json."""
    return {} if model.config.tie_embeddings else {"tie_word_embeddings": False}


def _export_generator(generator: Model, folder: Path, tokenizer: Tokenizer) -> None:
    """As ELECTRA's, also where BERT would be the same: embeddings as wide as it is."""
    ids = {name: getattr(tokenizer, name.removesuffix("_token_id") + "_id", None) for name in SPECIAL_IDS}
    generator.origin = Origin("electra", {"model_type": "electra", **ids}, None, folder)
    save_pretrained(generator, folder, tokenizer)


def _merged(model: Model, base: dict | None) -> tuple[Model, float]:
    packed = base is not None and base["packing"] is not None
    full = replace(Base.from_dict(base), packing=None).load() if packed and base is not None else None
    merged = merge_lora(model, full)
    if not packed:
        remove_lora(merged.model)
    return merged


@torch.no_grad()
def _unpacked(packed: Model, checkpoint: Path, base: Base) -> tuple[Model, float]:
    """What trained on the full-precision weights below it."""
    model = replace(base, packing=None).load()
    train_only(model, [name for name, parameter in packed.named_parameters() if parameter.requires_grad])
    load_weights(checkpoint, model, trained_only=True)
    model = model.to(DTYPES[base.dtype])
    ids = probe_of(model)
    return model, (answers(model, ids) - answers(packed, ids)).abs().max().item()
