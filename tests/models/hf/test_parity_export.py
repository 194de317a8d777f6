"""What is saved again is what was loaded, bit for bit, and transformers finds in it all that it looks for."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from groundup.models import load_pretrained, save_pretrained
from parity import Difference, Pair, make_batch, make_pair, their_output
from parity_cases import CASES
from safetensors.torch import load_file

MISSES = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
TIED_BF16 = [
    "gpt2",
    "gpt2-untied",
    "gpt_neox",
    "opt",
    "llama-scaled",
    "qwen2",
    "qwen2-untied",
    "phi3",
    "gemma2",
    "gemma3",
]
TIED_BF16 += ["bert", "bert-untied", "bert-pretraining", "roberta", "distilbert", "electra-generator", "deberta"]


def load_theirs(architecture: str, folder: Path) -> Any:
    """Their model from `folder`, with nothing amiss."""
    cls: Any = getattr(transformers, architecture)
    model, info = cls.from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
    assert not any(info[misses] for misses in MISSES), info
    return model.eval()


def assert_same_tensors(first: Path, second: Path) -> None:
    """The same names, dtypes and bits."""
    ours, theirs = load_file(second / "model.safetensors"), load_file(first / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert torch.equal(ours[name], tensor), name


@pytest.mark.parametrize("name", CASES)
def test_loaded_saved_and_loaded_by_transformers(name: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    case, folder, theirs, ours = pair(name)
    save_pretrained(ours, tmp_path)
    assert_same_tensors(folder, tmp_path)
    again = load_theirs(case.architecture, tmp_path)
    arguments, _, _ = make_batch(case, "right")
    with torch.no_grad():
        assert torch.equal(their_output(again, arguments), their_output(theirs, arguments))
    before, after = (json.loads((path / "config.json").read_text(encoding="utf-8")) for path in (folder, tmp_path))
    for key in ("architectures", "model_type", "vocab_size", "tie_word_embeddings"):
        assert after.get(key) == before.get(key), key


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("bert-bare", "roberta-bare")])  # their poolers
def test_built_here_and_loaded_by_transformers(name: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """A model that came from nowhere: its family is found, and config.json written from what it is alone."""
    ours = copy.deepcopy(pair(name).ours)
    ours.origin = None
    save_pretrained(ours, tmp_path)
    hf = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    theirs = load_theirs(hf["architectures"][0], tmp_path)
    case = dataclasses.replace(pair(name).case, architecture=hf["architectures"][0])
    for padding in ("none", "right"):
        their_arguments, our_arguments, real = make_batch(case, padding)
        if case.task == "classification":  # their classifiers look for the last token by the id of padding
            theirs.config.pad_token_id = case.settings.get("pad_token_id", 0)
        with torch.no_grad():
            found, expected = ours(**our_arguments), their_output(theirs, their_arguments)
        error, scale = Difference.of(
            *((found, expected) if case.task == "classification" else (found[real], expected[real]))
        )
        assert error <= 1e-5 * max(1.0, scale)


@pytest.mark.parametrize("name", TIED_BF16)
def test_bf16_is_kept_bit_for_bit(name: str, tmp_path: Path) -> None:
    pair = make_pair(CASES[name], tmp_path / "theirs", torch.bfloat16)
    save_pretrained(pair.ours, tmp_path / "ours")
    assert_same_tensors(tmp_path / "theirs", tmp_path / "ours")
    assert json.loads((tmp_path / "ours/config.json").read_text(encoding="utf-8"))["dtype"] == "bfloat16"
    assert next(load_theirs(pair.case.architecture, tmp_path / "ours").parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
def test_cast_to_another_dtype(name: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    ours = load_pretrained(pair(name).folder, dtype="bf16")
    for mine, original in zip(ours.parameters(), pair(name).ours.parameters(), strict=True):
        assert torch.equal(mine, original.to(torch.bfloat16))
    save_pretrained(ours, tmp_path)
    assert load_pretrained(tmp_path).embedder.tokens.weight.dtype == torch.bfloat16
    assert load_pretrained(tmp_path, dtype=torch.float32).embedder.tokens.weight.dtype == torch.float32


@pytest.mark.parametrize("name", ["gpt2", "llama", "phi3", "bert", "deberta"])
def test_many_files(name: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """Their shards are read, and ours by them."""
    case, folder, theirs, _ = pair(name)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    save_pretrained(load_pretrained(tmp_path / "theirs"), tmp_path / "ours", max_shard_bytes=20_000)
    for source in ("theirs", "ours"):
        assert len(list((tmp_path / source).glob("model-*-of-*.safetensors"))) > 2
        assert (tmp_path / source / "model.safetensors.index.json").is_file()
    save_pretrained(load_pretrained(tmp_path / "ours"), tmp_path / "one")
    assert_same_tensors(folder, tmp_path / "one")
    load_theirs(case.architecture, tmp_path / "ours")


def test_a_new_task_leaves_the_old_head_behind(pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """bert's masked-LM file as an encoder, as a classifier; what is saved says what it is."""
    for task, architecture in (("encoder", "BertModel"), ("classification", "BertForSequenceClassification")):
        labels = 5 if task == "classification" else None
        ours = load_pretrained(pair("bert").folder, task=task, num_labels=labels)
        folder = tmp_path / task
        save_pretrained(ours, folder)
        assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"] == [architecture]
        again = load_pretrained(folder)
        assert again.task == task
        for mine, original in zip(again.parameters(), ours.parameters(), strict=True):
            assert torch.equal(mine, original)
