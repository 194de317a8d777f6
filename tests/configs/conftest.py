"""A small run from scratch, and helpers to write, change and read configurations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from groundup.configs.schema import RunConfig, load_config
from groundup.errors import UserError

SCRATCH: dict[str, Any] = {
    "model": {
        "core_model_type": "generic",
        "num_layers": 2,
        "hidden_dim": 32,
        "context_window": 16,
        "ffn": {"ffn_type": "generic", "ffn_dim": 64},
        "attn": {"attn_type": "causal", "num_kv_heads": 4},
        "positional_encoding_type": "rope",
        "tokenizer_type": "byte",
    },
    "trainer": {
        "batch_size": 2,
        "gradient_accumulation_steps": 1,
        "max_iters": 10,
        "warmup_iters": 2,
        "loss_fn": "cross_entropy",
    },
}


def set_in(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path in nested mappings."""
    *sections, last = path.split(".")
    for name in sections:
        tree = tree.setdefault(name, {})
    tree[last] = value


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Write a text as run.yaml and return its path."""

    def writer(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return writer


@pytest.fixture
def load(write: Callable[[str], Path]) -> Callable[..., RunConfig]:
    """load({"trainer.batch_size": 4}, "--trainer.compile", "true", device="mps"): the small run, changed."""

    def loader(
        changes: dict[str, Any] | None = None, *overrides: str, device: str = "cpu", **options: Any
    ) -> RunConfig:
        tree = yaml.safe_load(yaml.safe_dump(SCRATCH))
        for path, value in (changes or {}).items():
            set_in(tree, path, value)
        text = yaml.safe_dump(tree, sort_keys=False)
        return load_config(write(text), list(overrides), find_device=lambda: device, **options)

    return loader


@pytest.fixture
def refused(load: Callable[..., RunConfig]) -> Callable[..., str]:
    """The message with which the small run, changed, is refused."""

    def message(changes: dict[str, Any] | None = None, *overrides: str, **options: Any) -> str:
        with pytest.raises(UserError) as error:
            load(changes, *overrides, **options)
        return str(error.value)

    return message
