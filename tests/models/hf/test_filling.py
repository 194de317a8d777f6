"""Every parameter filled once, every key used or known: what is missing, left over, misshapen or contradictory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.models import load_pretrained
from groundup.models.hf import filling
from small import GPT2, LLAMA, NEOX, PHI3, Tensors, assert_equal, change_config, change_weights, checkpoint

TIED = LLAMA | {"tie_embeddings": True}
UP = "model.layers.1.mlp.up_proj.weight"


def refused(folder: Path, message: str, change: Callable[[Tensors], Tensors], **arguments: Any) -> None:
    change_weights(folder, change)
    with pytest.raises(UserError, match=message) as caught:
        load_pretrained(folder, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "model.layers.1.mlp.up_proj.scales",
        "lm_head.qweight",
        "model.layers.2.mlp.up_proj.weight",
        "model.layers.1.mlp.top_proj.weight",
        "lm_hat.weight",
    ],
)
def test_a_key_that_belongs_nowhere(key: str, tmp_path: Path) -> None:
    checkpoint(tmp_path, **LLAMA)
    message = rf"model\.safetensors: '{key}' is no part of a llama model of 2 layers"
    refused(tmp_path, message, lambda t: t | {key: torch.ones(3)})


def without(start: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if not key.startswith(start)}


def test_a_bias_that_config_json_denies(tmp_path: Path) -> None:
    checkpoint(tmp_path, **LLAMA)
    key = "model.layers.0.self_attn.q_proj.bias"
    refused(tmp_path, rf"'{key}' is there, and by config\.json should not be", lambda t: t | {key: torch.ones(24)})


def test_a_missing_key(tmp_path: Path) -> None:
    checkpoint(tmp_path, **LLAMA)
    refused(tmp_path, rf"{tmp_path.name}: '{UP}' is missing$", without(UP))
    layer = "model.layers.0."
    refused(tmp_path, rf"'{layer}input_layernorm\.weight' is missing, and 9 more", without(layer))


def test_an_untied_head_that_is_missing(tmp_path: Path) -> None:
    checkpoint(tmp_path, **TIED)
    change_config(tmp_path, tie_word_embeddings=False)
    refused(tmp_path, r"'lm_head\.weight' is missing \(config\.json says tie_word_embeddings=false", dict)


def test_another_shape(tmp_path: Path) -> None:
    checkpoint(tmp_path, **LLAMA)
    refused(
        tmp_path, rf"'{UP}' is \(24, 40\), and \(40, 24\) by config\.json", lambda t: t | {UP: t[UP].T.contiguous()}
    )


@pytest.mark.parametrize(
    ("fields", "key", "shapes"),
    [
        (GPT2, "transformer.h.0.attn.c_attn.weight", r"\(72, 24\), and \(24, 72\)"),
        (NEOX, "gpt_neox.layers.0.attention.query_key_value.weight", r"\(24, 72\), and \(72, 24\)"),
    ],
)
def test_another_shape_of_a_fused_matrix(fields: dict[str, Any], key: str, shapes: str, tmp_path: Path) -> None:
    checkpoint(tmp_path, **fields)
    refused(tmp_path, rf"'{key}' is {shapes} by config\.json", lambda t: t | {key: t[key].T.contiguous()})


def test_more_rows_than_the_vocabulary(tmp_path: Path) -> None:
    """Padded vocabularies are config.json's own; nothing is resized on the way."""
    checkpoint(tmp_path, **LLAMA)
    change_config(tmp_path, vocab_size=40)
    message = r"'(lm_head|model\.embed_tokens)\.weight' is \(37, 24\), and \(40, 24\) by config\.json"
    refused(tmp_path, message, dict)
    refused(tmp_path, message.replace("(lm_head|", "(") + ", which counts vocab_size rows", without("lm_head.weight"))


class TestTwice:
    """One parameter under two keys."""

    def test_a_tied_head_that_is_stored_too(self, tmp_path: Path) -> None:
        model = checkpoint(tmp_path, **TIED)
        embedding = "model.embed_tokens.weight"
        change_weights(tmp_path, lambda t: t | {"lm_head.weight": t[embedding].clone()})
        loaded = load_pretrained(tmp_path)
        assert_equal(loaded, model)
        assert loaded.head.out.weight is loaded.embedder.tokens.weight
        assert_equal(load_pretrained(tmp_path, dtype="bf16"), load_pretrained(tmp_path, dtype="bf16"))
        message = (
            rf"'{embedding}' and 'lm_head\.weight' are one parameter by config\.json, and differ in the file \(if they "
            "are not tied, set tie_word_embeddings to false"
        )
        refused(tmp_path, message, lambda t: t | {"lm_head.weight": t[embedding].roll(1)})
        refused(tmp_path, message, dict, dtype="bf16")

    def test_only_under_the_heads_name(self, tmp_path: Path) -> None:
        model = checkpoint(tmp_path, **TIED)
        change_weights(tmp_path, lambda t: {k.replace("model.embed_tokens", "lm_head"): v for k, v in t.items()})
        assert_equal(load_pretrained(tmp_path), model)

    def test_with_and_without_the_prefix(self, tmp_path: Path) -> None:
        model = checkpoint(tmp_path, **LLAMA)
        change_weights(tmp_path, lambda t: t | {"norm.weight": t["model.norm.weight"].clone()})
        assert_equal(load_pretrained(tmp_path), model)
        message = r"norm\.weight' are one parameter by config\.json, and differ in the file$"
        refused(tmp_path, message, lambda t: t | {"norm.weight": t["norm.weight"] + 1})


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_quantised_tensors(dtype: torch.dtype, tmp_path: Path) -> None:
    checkpoint(tmp_path, **LLAMA)
    refused(tmp_path, rf"'{UP}' is {dtype}, quantised", lambda t: t | {UP: t[UP].to(dtype)})


@pytest.mark.parametrize("fields", [GPT2, LLAMA, TIED, NEOX, PHI3])
def test_converted_piece_by_piece(fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 7 rows, and so of what is left of each matrix."""
    model = checkpoint(tmp_path, **fields)
    monkeypatch.setattr(filling, "_STEP", 7 * 24 * 4)
    assert_equal(load_pretrained(tmp_path, dtype="bf16"), model.to(torch.bfloat16))


def test_buffers_are_known_by_name(tmp_path: Path) -> None:
    model = checkpoint(tmp_path, **GPT2)
    buffers = {"transformer.h.0.attn.bias": torch.ones(1, 1, 4, 4), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    change_weights(tmp_path, lambda t: t | buffers)
    assert_equal(load_pretrained(tmp_path), model)
    refused(
        tmp_path,
        r"'transformer\.h\.0\.attn\.mask' is no part",
        lambda t: t | {"transformer.h.0.attn.mask": torch.ones(4)},
    )


def test_another_tasks_head_is_left_behind(tmp_path: Path) -> None:
    model = checkpoint(tmp_path, "classification", 3, **LLAMA)
    encoder = load_pretrained(tmp_path, task="encoder")
    assert torch.equal(encoder.core.norm.weight, model.core.norm.weight)
    assert encoder.origin is not None
    assert encoder.origin.extras == {}


def test_gemma_that_sees_is_its_language_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fields = TIED | {"norm_unit_offset": True, "norm_slots": ("in", "out"), "embed_scale": 24**0.5, "qk_norm": True}
    model = checkpoint(tmp_path, **fields, window=4, layer_pattern=("local",))
    tower = {f"vision_tower.layers.{i}.weight": torch.ones(2) for i in range(3)}
    change_weights(tmp_path, lambda t: {f"language_model.{k}": v for k, v in t.items()} | tower)
    change_config(tmp_path, model_type="gemma3")
    assert_equal(load_pretrained(tmp_path), model)
    assert "note: what sees images is left out: 3 tensors" in capfd.readouterr().err
