"""Which layers are local."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from groundup.errors import UserError
from groundup.models import ModelConfig
from groundup.models.hf.settings import Settings
from groundup.models.hf.windows import read_windows, shortest, write_windows

FULL, SLIDING = "full_attention", "sliding_attention"


def test_layer_types_rule_and_the_familys_own_way_stands_in() -> None:
    hf: dict[str, Any] = {"sliding_window": 5, "layer_types": [SLIDING, FULL, SLIDING]}
    assert read_windows(Settings(hf), ["global"] * 3) == {"window": 5, "layer_pattern": ("local", "global")}
    hf["layer_types"] = None
    assert read_windows(Settings(hf), ["global", "local", "local"])["layer_pattern"] == ("global", "local", "local")
    assert read_windows(Settings(hf), ["global"] * 3) == {}  # a window that nobody looks through


def test_refused() -> None:
    with pytest.raises(UserError, match=r"layer_types holds 'sliding_attn', .*Did you mean 'sliding_attention'"):
        read_windows(Settings({"sliding_window": 5, "layer_types": ["sliding_attn"]}), ["local"])
    with pytest.raises(UserError, match="layer_types names 1 layers, the model has 2"):
        read_windows(Settings({"sliding_window": 5, "layer_types": [FULL]}), ["local", "local"])
    with pytest.raises(UserError, match="'sliding_window' is missing"):
        read_windows(Settings({}), ["local"])
    with pytest.raises(UserError, match="sliding_window is null"):
        read_windows(Settings({"sliding_window": None}), ["local"])


def test_the_shortest_pattern_that_tiles() -> None:
    for length in range(1, 7):
        for kinds in itertools.product(("global", "local"), repeat=length):
            pattern = shortest(kinds)
            assert [pattern[i % len(pattern)] for i in range(length)] == list(kinds)
            shorter = [kinds[:n] for n in range(1, len(pattern))]
            assert all([short[i % len(short)] for i in range(length)] != list(kinds) for short in shorter)


def test_written() -> None:
    sizes = {"vocab_size": 9, "d_model": 8, "n_heads": 2, "d_ff": 8, "max_seq_len": 16, "n_layers": 3}
    config = ModelConfig(**sizes, window=4, layer_pattern=("local", "global"))
    assert write_windows(config) == {"sliding_window": 4, "layer_types": [SLIDING, FULL, SLIDING]}
    assert write_windows(ModelConfig(**sizes)) == {"sliding_window": None, "layer_types": [FULL] * 3}
