"""Adapters folded into the weights they stand beside, and taken out again.

The weights of before are kept, not computed: unmerging gives them back bit for bit. So as long as it can be undone, a
merged model holds its adapted matrices twice; remove_lora lets the old ones go.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ...errors import UserError
from ..config import ModelConfig
from ..dropout import without_dropout
from ..hf.families import Origin
from ..model import Model
from .add import need_adapters
from .layer import CHILD, LoRA, adapters, check_finite, is_quantised, n_outputs

_PROBE = (2, 32)  # texts and tokens of the default probe


class Merged(NamedTuple):
    """A model with the adapters in its weights, and how far that moved its answers."""

    model: Model
    largest_change: float  # of any logit on the probe


@torch.no_grad()
def merge_lora(
    model: Model, full: Model | str | Path | None = None, untie: bool = False, probe: Tensor | None = None
) -> Merged:
    """W + s B A for W, computed in fp32 and rounded once to the dtype of W; then the adapters add nothing more.

    An ordinary model is merged in place: unmerge_lora gives its weights back, remove_lora makes it final. On packed
    weights nothing can be added without loss, so there the full-precision model is merged and returned, without
    adapters, and `model` stays as it is.

    Args:
        full: for packed weights, what they were made of: a model, which is changed, or a directory. None: the
            directory that the model was loaded from.
        untie: give an adapted head that is tied to the embedding a weight of its own; without it, that is refused.
        probe: ids (B, T) on which logits are compared, before and after. None: random ones, always the same.

    Raises:
        UserError: no adapters, merged already, NaN in one, a tied head, or `full` is missing, not needed or another
            model's.
    """
    found = need_adapters(model)
    if any(adapter.merged for adapter in found.values()):
        raise UserError("the adapters are merged already: unmerge_lora takes them out again")
    for name, adapter in found.items():
        check_finite(adapter.state_dict(), f"the adapter of '{name}'")
    packed = any(is_quantised(model.get_submodule(name)) for name in found)
    if full is not None and not packed:
        raise UserError("full: the model's own weights are not packed, so the adapters go into them: leave it out")
    target = _full_precision(model, found, full) if packed else model
    if "head.out" in found and target.is_tied and not untie:
        raise UserError(
            "the head is adapted and tied to the embedding, which merging would change too: merge with untie=True, "
            "which gives the head a weight of its own"
        )
    ids = probe if probe is not None else probe_of(model)
    before = answers(model, ids)
    if "head.out" in found and target.is_tied:
        kept = _untie(target)
        found["head.out"].adapted.untied = None if packed else kept
    for name, adapter in found.items():
        linear = cast(nn.Linear, target.get_submodule(name))
        merged = adapter.merge_into(linear.weight.detach().to(adapter.B.device)).to(linear.weight.device)
        if not packed:
            adapter.original = linear.weight.detach()
        linear.weight.data = merged
    change = (answers(target, ids).to(before) - before).abs().max().item()
    return Merged(target, change)


def unmerge_lora(model: Model) -> None:
    """The weights of before merge_lora, bit for bit; the adapters add to them again. A head that was untied is tied.

    Raises:
        UserError: the adapters are not merged.
    """
    found = need_adapters(model)
    if not all(adapter.merged for adapter in found.values()):
        raise UserError("the adapters are not merged: there is nothing to take out of the weights")
    for name, adapter in found.items():
        weight = cast(nn.Linear, model.get_submodule(name)).weight
        assert adapter.original is not None
        weight.data = adapter.original.to(weight)
        adapter.original = None
    untied = next(iter(found.values())).adapted.untied
    if untied is not None:
        cast(Any, model.head).out.weight = model.embedder.tokens.weight
        model.config, model.origin = untied
        next(iter(found.values())).adapted.untied = None


def _full_precision(model: Model, found: dict[str, LoRA], full: Model | str | Path | None) -> Model:
    """The model that the packed weights were made of, with what was trained beside the adapters."""
    where = "`full`"
    if not isinstance(full, Model):
        if full is None and model.origin is None:
            raise UserError("the weights are packed, and nothing says what they were made of: give it as `full`")
        from ..hf.loader import load_pretrained

        where = str(full or cast(Any, model.origin).directory)
        labels = n_outputs(model.head.get_submodule("out")) if model.task == "classification" else None
        full = load_pretrained(where, task=model.task, num_labels=labels)
    ours, theirs = dict(model.named_parameters()), dict(full.named_parameters())
    if not _is_same(full.config, model.config) or full.task != model.task or adapters(full):
        raise UserError(f"{where} is not what the packed weights were made of: another architecture, task or adapters")
    for name in found:
        if is_quantised(full.get_submodule(name)):
            raise UserError(f"{where} holds packed weights too: give what they were made of as `full`")
    beside = set(next(iter(found.values())).adapted.beside)
    if model.task == "classification":
        beside |= {name for name in ours if name.startswith("head.") and f".{CHILD}." not in name}
    for name in beside:
        theirs[name].copy_(ours[name])
    return full


def _untie(model: Model) -> tuple[ModelConfig, Origin | None]:
    """A weight of its own for the head, of which the configuration knows. -> configuration and origin of before"""
    out, config, origin = cast(Any, model.head).out, model.config, model.origin
    out.weight = nn.Parameter(out.weight.detach(), requires_grad=False)  # merging puts another tensor in it
    model.config = dataclasses.replace(config, tie_embeddings=False)
    if origin is not None:
        model.origin = dataclasses.replace(origin, config=origin.config | {"tie_word_embeddings": False})
    return config, origin


def _is_same(config: ModelConfig, other: ModelConfig) -> bool:
    """Whether they describe one architecture, however it is trained."""
    fields = [field.name for field in dataclasses.fields(config)]
    telling = [name for name in fields if "dropout" not in name and not name.startswith("init")]
    return all(getattr(config, name) == getattr(other, name) for name in telling)


def answers(model: Model, ids: Tensor) -> Tensor:
    """Logits without dropout, in fp32 on the CPU."""
    with without_dropout(model):
        return model(ids.to(model.embedder.tokens.weight.device)).float().cpu()


def probe_of(model: Model) -> Tensor:
    """Random ids to compare answers on, (B, T), always the same."""
    B, T = _PROBE
    generator = torch.Generator().manual_seed(0)
    return torch.randint(model.config.vocab_size, (B, min(T, model.config.max_seq_len)), generator=generator)
