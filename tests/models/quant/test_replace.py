"""Models whose Linears are packed: which ones, with what result, in how much memory, in and out of files."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.models import Model
from groundup.models.quant import Linear4bit, Linear8bit, linear, quantize_model
from groundup.models.quant.devices import Workspace
from groundup.models.quant.packed import PackedLinear
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Build = Callable[..., Model]
IDS = torch.randint(37, (2, 9), generator=torch.Generator().manual_seed(0))
LLAMA: dict[str, Any] = {
    "positions": "rope",
    "norm": "rmsnorm",
    "n_kv_heads": 2,
    "activation": "silu",
    "gated": True,
    "tie_embeddings": False,
}


def expected_names(model: Model) -> list[str]:
    return [name for name, m in model.named_modules() if type(m) is nn.Linear and name.startswith("core.layers")]


@torch.no_grad()
def round_weights(model: Model, names: list[str], make: Callable[[nn.Linear], PackedLinear]) -> Model:
    """The same model with dense weights that are what packed ones stand for."""
    for name in names:
        layer = model.get_submodule(name)
        layer.weight.copy_(make(layer).dequantize())
    return model


@pytest.mark.parametrize("kind", ["nf4", "fp4", "int8"])
def test_logits_and_gradients_are_those_of_the_rounded_weights(build: Build, kind: str) -> None:
    model, dense = build(**LLAMA), build(**LLAMA)
    names = quantize_model(model, kind)
    assert names == expected_names(dense)
    assert len(names) == 2 * 7
    round_weights(dense, names, Linear8bit.from_linear if kind == "int8" else lambda m: Linear4bit.from_linear(m, kind))
    logits, exact = model(IDS), dense(IDS)
    torch.testing.assert_close(logits, exact, rtol=1e-5, atol=1e-5)
    logits.square().mean().backward()
    exact.square().mean().backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    assert "embedder.tokens.weight" in grads
    for name, parameter in dense.named_parameters():
        if name.removesuffix(".weight") not in names:
            torch.testing.assert_close(grads[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_every_kind_of_model_is_packed_block_by_block(any_model: Model) -> None:
    expected = expected_names(any_model)
    kept = {name: p.clone() for name, p in any_model.named_parameters()}
    assert quantize_model(any_model) == expected
    for name, parameter in any_model.named_parameters():  # biases, norms, embeddings, the head
        assert torch.equal(parameter, kept[name])
    left = {name for name, module in any_model.named_modules() if isinstance(module, nn.Linear)}
    assert not any(name.startswith("core.layers") for name in left)
    assert "head.out" in left
    assert any_model(IDS).isfinite().all()


def test_layers_that_are_shared_stay_shared(build: Build) -> None:
    model = build(share_ffn=True, share_attn_out=True, positions="sincos")
    quantize_model(model)
    first, second = model.core.layers
    assert isinstance(first.ffn.f.up, Linear4bit)
    assert first.ffn.f is second.ffn.f
    assert isinstance(first.attn.f.out, Linear4bit)
    assert first.attn.f.out is second.attn.f.out
    shared = nn.Linear(8, 8)
    within = nn.Sequential(shared, nn.GELU(), shared)
    assert quantize_model(within) == ["0"]
    assert within[0] is within[2]
    assert isinstance(within[2], Linear4bit)


def test_skip_is_a_list_of_names(build: Build) -> None:
    def packed(*skip: str, **fields: Any) -> set[str]:
        model = build(**LLAMA | fields)
        return set(quantize_model(model, skip=skip))

    everything = packed("head.*")
    assert packed() == everything | {"head.out"}
    assert packed("head", "core.layers.0") == {name for name in everything if name.startswith("core.layers.1")}
    assert packed("head", "ffn") == {name for name in everything if ".attn." in name}
    assert packed("out", "f.down") == {name for name in everything if not name.endswith((".out", ".down"))}
    assert packed("head", "layers.*.attn") == {name for name in everything if ".ffn." in name}
    with pytest.raises(UserError, match=r"skip: the model has no module 'heads'\. Did you mean 'head'\?"):
        packed("heads")
    with pytest.raises(UserError, match="skip='head': must be a list"):
        quantize_model(build(), skip="head")


def test_a_tied_head_stays_tied(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    model = build(**LLAMA | {"tie_embeddings": True})
    names = quantize_model(model, skip=["embedder"])
    assert "head.out" not in names
    assert model.head.out.weight is model.embedder.tokens.weight
    assert "note: not quantised, their weights being other modules' too: head.out" in capsys.readouterr().err


def test_one_dense_weight_at_a_time(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(**LLAMA)
    weights = [weakref.ref(model.get_submodule(name).weight) for name in expected_names(model)]
    alive: list[int] = []
    quantize = linear.quantize_4bit

    def counting(weight: Tensor, *settings: Any) -> Any:
        alive.append(sum(ref() is not None for ref in weights))
        return quantize(weight, *settings)

    monkeypatch.setattr(linear, "quantize_4bit", counting)
    quantize_model(model)
    assert alive == list(range(14, 0, -1))
    assert all(ref() is None for ref in weights)


def test_layers_of_a_model_share_a_workspace_and_its_mode(build: Build) -> None:
    model = build(**LLAMA)
    model.core.layers[0].train()
    quantize_model(model)
    layers = [module for module in model.modules() if isinstance(module, PackedLinear)]
    assert isinstance(layers[0].workspace, Workspace)
    assert len({id(layer.workspace) for layer in layers}) == 1
    assert [layer.training for layer in layers] == [True] * 7 + [False] * 7


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_files(build: Build, tmp_path: Any, kind: str) -> None:
    model = build(**LLAMA)
    quantize_model(model, kind)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other = build(**LLAMA, seed=3)
    quantize_model(other, kind)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(other(IDS), model(IDS))


def test_a_model_on_meta_is_filled_shard_by_shard(build: Build) -> None:
    dense, packed = build(**LLAMA), build(**LLAMA)
    quantize_model(packed)
    empty = build(**LLAMA).to("meta")
    names = quantize_model(empty)
    state = dense.state_dict()
    for name in names:
        empty.get_submodule(name).pack(state.pop(f"{name}.weight"))
    missing, unexpected = empty.load_state_dict(state, strict=False, assign=True)
    assert not unexpected
    assert {name.rpartition(".")[0] for name in missing} <= set(names)
    assert torch.equal(empty(IDS), packed(IDS))


def test_what_cannot_be_done_is_refused(build: Build) -> None:
    model = build(**LLAMA)
    with pytest.raises(UserError, match=r"unknown quantisation 'nf5'\. Did you mean 'nf4'\?"):
        quantize_model(model, "nf5")
    with pytest.raises(UserError, match="block size 48"):
        quantize_model(model, block_size=48)
    with pytest.raises(UserError, match="settings of 4-bit weights"):
        quantize_model(model, "int8", block_size=128)
    with pytest.raises(UserError, match="no Linear layer left"):
        quantize_model(nn.Sequential(nn.Embedding(3, 4), nn.LayerNorm(4)))
    assert not any(isinstance(module, PackedLinear) for module in model.modules())
    quantize_model(model, skip=["head", "core.layers.0"])
    with pytest.raises(UserError, match=r"already quantised \('core\.layers\.1\.attn\.f\.q' is\)"):
        quantize_model(model)
