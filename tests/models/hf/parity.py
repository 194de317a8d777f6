"""A tiny random model of transformers, saved, loaded by us, and both compared: what every parity test is made of.

Nothing here knows how a checkpoint's names map to ours. Gradients are compared by saving them in the weights' place:
what save_pretrained writes under transformers' names is held against transformers' own gradients.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from groundup.models import Model, load_pretrained, save_pretrained
from parity_cases import Case, V
from safetensors.torch import load_file
from torch import Tensor, nn

logging.getLogger("transformers").setLevel(logging.ERROR)
transformers.utils.logging.disable_progress_bar()

T = 19  # longer than every window, and than what the longrope models were first trained on
PADDINGS = ("none", "right", "left")


class Pair(NamedTuple):
    """One model twice."""

    case: Case
    folder: Path  # what transformers saved and we loaded
    theirs: nn.Module
    ours: Model


class Difference(NamedTuple):
    """The largest one between two tensors, and the largest number in theirs."""

    error: float
    scale: float

    @classmethod
    def of(cls, ours: Tensor, theirs: Tensor) -> Difference:
        assert ours.shape == theirs.shape, f"{tuple(ours.shape)} where transformers has {tuple(theirs.shape)}"
        return cls((ours.float() - theirs.float()).abs().max().item(), theirs.float().abs().max().item())


def build_theirs(case: Case, noise: float = 0.2, seed: int = 0) -> Any:
    """Their model with noise on every weight: no norm and no bias is left at its default."""
    architecture: Any = getattr(transformers, case.architecture)
    torch.manual_seed(seed)
    model = architecture(architecture.config_class(**case.settings, attn_implementation="eager")).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * noise)
        if (
            case.architecture == "BertForMaskedLM"
        ):  # two names for one bias, which transformers 5 ties with the weight only
            model.cls.predictions.bias.copy_(model.cls.predictions.decoder.bias)
    return model


def make_pair(case: Case, folder: Path, dtype: torch.dtype = torch.float32) -> Pair:
    """A model, saved by transformers to `folder` in `dtype` and loaded by us from there."""
    theirs = build_theirs(case).to(dtype)
    theirs.save_pretrained(folder)
    return Pair(case, folder, theirs, load_pretrained(folder))


def make_batch(case: Case, padding: str, length: int = T) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Their arguments, ours, and which tokens are real (B, T): four texts of different lengths, or of the same."""
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(3, V, (4, length), generator=generator)
    mask = torch.ones_like(ids)
    for row, real in enumerate((length, length - 7, length - 3, 1)):
        if padding == "left":
            mask[row, : length - real] = 0
        elif padding == "right":
            mask[row, real:] = 0
    ids = ids.masked_fill(mask == 0, case.settings.get("pad_token_id", 0))
    theirs, ours = {"input_ids": ids, "attention_mask": mask}, {"input_ids": ids}
    if padding != "none":
        ours["attention_mask"] = mask
    if case.settings.get("type_vocab_size", 0) > 1:
        types = torch.randint(0, 2, ids.shape, generator=generator)
        theirs["token_type_ids"] = ours["token_type_ids"] = types
    if padding == "left" and case.family not in ("opt", "roberta", "deberta_v2"):  # these count for themselves
        theirs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    return theirs, ours, mask.bool()


def paddings(case: Case) -> tuple[str, ...]:
    """An encoder's classifier reads the first place of a row, which must not be padding."""
    reads_first = case.task == "classification" and "num_key_value_heads" not in case.settings
    is_decoder = case.family in ("gpt2", "gpt_neox", "opt")
    return PADDINGS[:2] if reads_first and not is_decoder else PADDINGS


def their_output(model: Any, arguments: dict[str, Tensor]) -> Tensor:
    """What answers to our model's one output."""
    output = model(**arguments)
    for field in ("logits", "prediction_logits", "last_hidden_state"):
        if field in output:
            return output[field]
    raise AssertionError(f"nothing to compare in {list(output)}")


def outputs(pair: Pair, padding: str, length: int = T) -> tuple[Tensor, Tensor]:
    """(ours, theirs) for real tokens, (N, V), (N, C) or (N,); for a classifier (B, num_labels)."""
    their_arguments, our_arguments, real = make_batch(pair.case, padding, length)
    theirs, ours = their_output(pair.theirs, their_arguments), pair.ours(**our_arguments)
    assert ours.shape == theirs.shape
    return (ours, theirs) if pair.case.task == "classification" else (ours[real], theirs[real])


def gradients_of(model: Any, save: Callable[[Any, Path], None], folder: Path) -> dict[str, Tensor]:
    """By the names of a file: what `save` writes of a copy with gradients for weights, of parameters that have one."""
    twin = copy.deepcopy(model)
    for parameter, original in zip(twin.parameters(), model.parameters(), strict=True):
        parameter.data = torch.full_like(original, torch.nan) if original.grad is None else original.grad
    save(twin, folder)
    return {name: grad for name, grad in load_file(folder / "model.safetensors").items() if not grad.isnan().any()}


def compare(pair: Pair, padding: str, scratch: Path, length: int = T) -> tuple[Difference, dict[str, Difference]]:
    """How far logits are apart, and each parameter's gradient of a random sum of them, taken a token (or row)."""
    for model in (pair.theirs, pair.ours):
        model.zero_grad()
    ours, theirs = outputs(pair, padding, length)
    assert theirs.std() > 0.1, "nothing to compare"
    weight = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(1)) / len(theirs)
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    assert all(parameter.grad is not None for parameter in pair.ours.parameters())
    expected = gradients_of(pair.theirs, lambda model, folder: model.save_pretrained(folder), scratch / "theirs")
    found = gradients_of(pair.ours, save_pretrained, scratch / "ours")
    return Difference.of(ours, theirs), {name: Difference.of(found[name], grad) for name, grad in expected.items()}
