# ruff: noqa: C408 (fields read better as keywords)
"""Small models of ours with no weight left at its default, and their checkpoints, whose files are changed at will."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from groundup.models import Model, ModelConfig, RopeConfig, build_model, load_pretrained, save_pretrained
from safetensors.torch import load_file, save_file
from torch import Tensor

SIZES: dict[str, Any] = dict(vocab_size=37, d_model=24, n_layers=2, n_heads=4, d_ff=40, max_seq_len=32)
BIASES: dict[str, Any] = dict(qkv_bias=True, out_bias=True, ffn_bias=True)
GPT2 = SIZES | BIASES | dict(activation="gelu_tanh")
LLAMA = SIZES | dict(positions="rope", norm="rmsnorm", n_kv_heads=2, activation="silu", gated=True)
LLAMA |= dict(tie_embeddings=False)
NEOX = SIZES | BIASES | dict(positions="rope", rope=RopeConfig(fraction=0.7), parallel=True, tie_embeddings=False)
PHI3 = LLAMA | dict(rope=RopeConfig(fraction=0.7))  # no other family turns part of a head and gates

Tensors = dict[str, Tensor]


def build(task: str = "causal_lm", num_labels: int | None = None, **fields: Any) -> Model:
    model = build_model(ModelConfig(**fields), task, num_labels, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


def checkpoint(folder: Path, task: str = "causal_lm", num_labels: int | None = None, **fields: Any) -> Model:
    """A small model, saved in `folder`."""
    model = build(task, num_labels, **fields)
    save_pretrained(model, folder)
    return model


def change_config(folder: Path, *removed: str, **changed: Any) -> None:
    path = folder / "config.json"
    hf = json.loads(path.read_text(encoding="utf-8")) | changed
    path.write_text(json.dumps({key: value for key, value in hf.items() if key not in removed}), encoding="utf-8")


def change_weights(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    tensors = {key: tensor.clone() for key, tensor in load_file(folder / "model.safetensors").items()}
    (folder / "model.safetensors").unlink()
    save_file(change(tensors), folder / "model.safetensors", {"format": "pt"})


def assert_equal(found: Model, expected: Model) -> None:
    """The same parameters, bit for bit."""
    theirs = dict(expected.named_parameters())
    assert {name for name, _ in found.named_parameters()} == theirs.keys()
    for name, parameter in found.named_parameters():
        assert parameter.dtype == theirs[name].dtype, name
        assert torch.equal(parameter, theirs[name]), name


def reload(model: Model, folder: Path, **arguments: Any) -> Model:
    save_pretrained(model, folder)
    return load_pretrained(folder, **arguments)
