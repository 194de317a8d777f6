"""Greedy decoding with a cache against transformers' own: the same 64 tokens, batched with padding on the left."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.models import load_pretrained
from parity import build_theirs
from parity_cases import CASES, Case, V
from torch import Tensor

NEW = 64
PROMPTS = (13, 6, 9)  # real tokens of each row
NAMES = ["gpt2", "gpt_neox", "gpt_neox-sequential", "opt", "llama", "llama-scaled", "llama-biased", "mistral", "qwen2"]
NAMES += ["qwen3", "phi3", "phi3-partial", "phi3-longrope", "gemma2", "gemma3", "starcoder2"]


def longer(case: Case) -> Case:
    """The same with room for what is generated; longrope's switch comes within the new tokens."""
    field = "n_positions" if "n_positions" in case.settings else "max_position_embeddings"
    settings = case.settings | {field: 128}
    if settings.get("original_max_position_embeddings") == 16:
        settings["original_max_position_embeddings"] = 40
        settings["rope_parameters"] = settings["rope_parameters"] | {"original_max_position_embeddings": 40}
    return dataclasses.replace(case, settings=settings)


def talkative(case: Case) -> Any:
    """Their model with weights by which it says many things: one that is tied, or biased, tends to repeat itself."""
    model = build_theirs(case, noise=0.4, seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.mul_(0.2)
        if case.family.startswith("gemma"):  # which multiplies them again
            model.get_input_embeddings().weight.mul_(0.1)
    return model


def prompts(pad: int) -> tuple[Tensor, Tensor]:
    """ids (B, T) and their mask, padded on the left."""
    mask = torch.zeros(len(PROMPTS), max(PROMPTS), dtype=torch.long)
    for row, real in enumerate(PROMPTS):
        mask[row, -real:] = 1
    ids = torch.randint(3, V, mask.shape, generator=torch.Generator().manual_seed(3))
    return ids.masked_fill(mask == 0, pad), mask


@pytest.mark.parametrize("name", NAMES)
def test_the_same_64_tokens(name: str, tmp_path: Path) -> None:
    case = longer(CASES[name])
    theirs = talkative(case)
    theirs.generation_config.eos_token_id = None
    theirs.save_pretrained(tmp_path)
    ours = load_pretrained(tmp_path)
    ids, mask = prompts(case.settings["pad_token_id"])
    output = theirs.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=NEW,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    expected = output.sequences
    assert expected.shape == (3, ids.shape[1] + NEW)

    # The comparison means something: many different tokens, none of them chosen by a hair.
    first, second = torch.stack(output.logits).topk(2).values.unbind(-1)
    assert (first - second).min() > 1e-4
    assert all(len(row.unique()) > 8 for row in expected[:, ids.shape[1] :])

    for use_cache in (True, False):
        found = ours.generate(ids, NEW, attention_mask=mask, use_cache=use_cache)
        differs = (found != expected).nonzero()
        assert not len(differs), f"use_cache={use_cache}: first at row and place {differs[0].tolist()}"
