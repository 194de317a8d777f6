"""A run small enough to train in a second, on text that has something to learn."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

TINY: dict[str, Any] = {
    "model": {
        "core_model_type": "generic",
        "num_layers": 2,
        "hidden_dim": 24,
        "context_window": 16,
        "ffn": {"ffn_type": "generic", "ffn_dim": 40, "ffn_dropout": 0.1},
        "attn": {"attn_type": "causal", "num_kv_heads": 3, "attn_probs_dropout": 0.1},
        "positional_encoding_type": "learned",
        "initialization_fn": "gpt2",
        "tokenizer_type": "byte",
    },
    "trainer": {
        "batch_size": 3,
        "gradient_accumulation_steps": 2,
        "max_iters": 12,
        "warmup_iters": 2,
        "loss_fn": "cross_entropy",
        "log_interval": 1,
        "eval_interval": 5,
        "checkpoint_interval": 4,
        "optimizer": {"lr": 1e-2, "min_lr": 1e-3},
    },
    "evaluation": {"max_batches": 4, "dataset_loss_eval_iters": 5, "sample_tokens": 5, "text_modeling_eval": False},
    "general": {"device": "cpu", "seed": 3},
}


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, section by section."""
    out = dict(base)
    for key, value in changes.items():
        out[key] = merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return out


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """tiny(name, **sections) writes a configuration file, changed as asked, and returns its path; a folder a name."""
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "corpus.txt"
    text.write_text("\n\n".join(f"{i} and {i + 1} make {2 * i + 1}." for i in range(300)), encoding="utf-8")

    def write(name: str = "tiny", **changes: Any) -> Path:
        config = merged(TINY, {"dataset": {"name": str(text), "documents": "blank_line"}})
        config = merged(config, {"output": {"output_dir": str(tmp_path / name), "plots": False}})
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(merged(config, changes)), encoding="utf-8")
        return path

    return write


FEW = "dataset.documents=line trainer.max_iters=4 trainer.warmup_iters=1 trainer.batch_size=3 trainer.log_interval=1"
FEW += " trainer.max_seq_length=16 trainer.checkpoint_interval=2 evaluation.interval=2 evaluation.max_batches=2"
FEW += " evaluation.sample_tokens=4 output.plots=false device=cpu trainer.effective_batch_size=6"


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """start("out", "model=...", ...) trains a few steps on a small text and returns the run's folder."""
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"{i} and {i + 1} make {2 * i + 1}." for i in range(200)), encoding="utf-8")
    from groundup.trainers.command import main
    from groundup.trainers.folder import find_run

    def run(out: str, *words: str) -> Path:
        given = {word.partition("=")[0] for word in words}
        data = [] if any("dataset.train_path" in word for word in words) else [f"dataset.name={text}"]
        few = [*data, *FEW.split()]
        defaults = [word for word in few if word.partition("=")[0] not in given]
        command = [f"output.output_dir={tmp_path / out}", *defaults, *words]
        assert main(command) == 0
        return find_run("latest", tmp_path / out)

    return run


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums are then added in one order whatever the machine."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
