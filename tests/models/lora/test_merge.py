"""Adapters in the weights and out of them again."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.models import Model, load_pretrained, save_pretrained
from groundup.models.lora import adapters, add_lora, load_adapter, merge_lora, remove_lora, save_adapter, unmerge_lora
from groundup.models.quant import quantize_model
from torch import Tensor, nn

Pack = Callable[[nn.Linear], nn.Module]


def pack_blocks(model: Model, pack: Pack) -> Model:
    """The model with the Linears of its blocks packed."""
    for block in model.core.layers:
        for holder in (block.attn.f, block.ffn.f):
            for name, linear in list(holder.named_children()):
                if isinstance(linear, nn.Linear):
                    setattr(holder, name, pack(linear))
    return model


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if ".lora." not in name}


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "neox", "own"])
def test_merged_and_back(name: str, variant: Any, adapted: Callable[..., Model], ids: Tensor) -> None:
    model = adapted(name, variant=variant)
    expected, before = model(ids), weights(model)
    merged = merge_lora(model)
    assert merged.model is model
    assert merged.largest_change <= 1e-5 * expected.abs().max()
    torch.testing.assert_close(model(ids), expected, rtol=1e-5, atol=1e-5)
    changed = {name for name, weight in weights(model).items() if not torch.equal(weight, before[name])}
    assert changed == {f"{name}.weight" for name in adapters(model)}
    unmerge_lora(model)
    assert all(torch.equal(weight, before[name]) for name, weight in weights(model).items())
    assert torch.equal(model(ids), expected)


@torch.no_grad()
@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_rounded_once(variant: Any, adapted: Callable[..., Model], make: Callable[..., Model], ids: Tensor) -> None:
    """In bf16 the sum is taken in fp32, and the change that the probe shows is that of rounding."""
    model = make("llama").bfloat16()
    add_lora(model, rank=3, alpha=5, target_modules="all-linear", variant=variant, seed=0)
    for mine, theirs in zip(adapters(model).values(), adapters(adapted("llama")).values(), strict=True):
        mine.B.data.copy_(theirs.B)
    before = weights(model)
    expected = {
        name: adapter.merge_into(before[f"{name}.weight"].float()).bfloat16()
        for name, adapter in adapters(model).items()
    }
    logits = model(ids).float()
    merged = merge_lora(model, probe=ids)
    for name, weight in expected.items():
        assert torch.equal(model.get_parameter(f"{name}.weight"), weight)
    assert merged.largest_change == (model(ids).float() - logits).abs().max().item()
    assert 0 < merged.largest_change < 0.1
    unmerge_lora(model)
    assert all(torch.equal(weight, before[name]) for name, weight in weights(model).items())


def test_saved_once_merged(adapted: Callable[..., Model], ids: Tensor, tmp_path: Path) -> None:
    model = adapted("gpt2")
    expected = model(ids)
    with pytest.raises(UserError, match=r"the model has adapters \(on 'core.layers.0.attn.f.q'\) that are not in its"):
        save_pretrained(model, tmp_path)
    merge_lora(model)
    save_pretrained(model, tmp_path / "merged")
    torch.testing.assert_close(load_pretrained(tmp_path / "merged")(ids), expected, rtol=1e-5, atol=1e-5)
    remove_lora(model)
    save_pretrained(model, tmp_path / "removed")
    first, second = (tmp_path / name / "model.safetensors" for name in ("merged", "removed"))
    assert first.read_bytes() == second.read_bytes()
    with pytest.raises(UserError, match="the model has no adapters"):
        unmerge_lora(model)


def test_merged_adapters_are_saved_as_they_are(adapted: Callable[..., Model], tmp_path: Path) -> None:
    """Also DoRA's on a part of a fused matrix, whose other rows keep the norms of the weights of before."""
    model = adapted("gpt2", variant="dora", target_modules=["q_proj", "down_proj"])
    for folder in ("before", "after"):
        save_adapter(model, tmp_path / folder)
        if folder == "before":
            merge_lora(model)
    first, second = (tmp_path / name / "adapter_model.safetensors" for name in ("before", "after"))
    assert first.read_bytes() == second.read_bytes()


def test_a_tied_head(make: Callable[..., Model], stir: Callable[..., None], ids: Tensor, tmp_path: Path) -> None:
    """An adapter there leaves the embedding alone; merging unties, if it is told to, and unmerging ties again."""
    model = make("gpt2")
    save_pretrained(model, tmp_path / "base")
    model = load_pretrained(tmp_path / "base")
    add_lora(model, rank=2, target_modules=["lm_head", "c_attn"], seed=0)
    stir(model)
    expected, tokens, config = model(ids), model.embedder.tokens.weight.detach().clone(), model.config
    with pytest.raises(
        UserError, match="the head is adapted and tied to the embedding, which merging would change too"
    ):
        merge_lora(model)
    merge_lora(model, untie=True)
    assert torch.equal(model.embedder.tokens.weight, tokens)
    torch.testing.assert_close(model(ids), expected, rtol=1e-5, atol=1e-5)
    save_pretrained(model, tmp_path / "merged")
    again = load_pretrained(tmp_path / "merged")
    assert not again.config.tie_embeddings
    torch.testing.assert_close(again(ids), expected, rtol=1e-5, atol=1e-5)
    unmerge_lora(model)
    assert model.config is config
    assert model.head.get_submodule("out").weight is model.embedder.tokens.weight
    assert torch.equal(model.embedder.tokens.weight, tokens)
    assert torch.equal(model(ids), expected)


@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_packed_weights_are_merged_from_the_whole_ones(
    variant: Any, make: Callable[..., Model], pack: Pack, stir: Callable[..., None], ids: Tensor, tmp_path: Path
) -> None:
    """From the directory the model came from, or what is given; biases and heads trained beside come along."""
    save_pretrained(make("neox", "classification", 3), tmp_path / "base")
    model = pack_blocks(load_pretrained(tmp_path / "base"), pack)
    add_lora(model, rank=3, target_modules=["query_key_value", "dense"], variant=variant, bias="lora_only", seed=0)
    stir(model)
    with_adapter = model(ids)
    save_adapter(model, tmp_path / "adapter")
    expected = load_pretrained(tmp_path / "base")
    load_adapter(expected, tmp_path / "adapter")

    merged = merge_lora(model, probe=ids)
    assert merged.model is not model
    assert not adapters(merged.model)
    torch.testing.assert_close(merged.model(ids), expected(ids), rtol=1e-5, atol=1e-5)
    assert merged.largest_change == (merged.model(ids) - with_adapter).abs().max().item()
    assert merged.largest_change > 1e-4  # that of packing
    assert torch.equal(model(ids), with_adapter)  # it is as it was
    for full in (load_pretrained(tmp_path / "base"), tmp_path / "base"):
        assert torch.equal(merge_lora(model, full=full).model(ids), merged.model(ids))
    save_pretrained(merged.model, tmp_path / "merged")


@pytest.mark.parametrize("kind", ["nf4", "int8"])
@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_quantised_models(
    variant: Any, kind: Any, make: Callable[..., Model], stir: Callable[..., None], ids: Tensor, tmp_path: Path
) -> None:
    """Adapters train on weights in 4 and 8 bits, checkpointing on, and go into the weights on disk."""
    save_pretrained(make("gpt2"), tmp_path / "base")
    model = load_pretrained(tmp_path / "base")
    quantize_model(model, kind)
    before = model(ids)
    add_lora(model, rank=3, target_modules="all-linear", variant=variant, seed=0)
    torch.testing.assert_close(model(ids), before, rtol=1e-5, atol=1e-5)
    stir(model)
    model.gradient_checkpointing = True
    model.train()(ids).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters() if p.requires_grad)
    save_adapter(model.eval(), tmp_path / "adapter")
    again = load_pretrained(tmp_path / "base")
    quantize_model(again, kind)
    load_adapter(again, tmp_path / "adapter")
    torch.testing.assert_close(again(ids), model(ids), rtol=1e-5, atol=1e-5)
    expected = load_pretrained(tmp_path / "base")
    load_adapter(expected, tmp_path / "adapter")
    torch.testing.assert_close(merge_lora(model).model(ids), expected(ids), rtol=1e-5, atol=1e-5)


def test_a_tied_head_over_packed_weights(
    make: Callable[..., Model], pack: Pack, stir: Callable[..., None], ids: Tensor, tmp_path: Path
) -> None:
    save_pretrained(make("gpt2"), tmp_path)
    model = pack_blocks(load_pretrained(tmp_path), pack)
    add_lora(model, rank=2, target_modules=["lm_head", "c_fc"], seed=0)
    stir(model)
    save_adapter(model, tmp_path / "adapter")
    with pytest.raises(UserError, match="the head is adapted and tied to the embedding"):
        merge_lora(model)
    merged = merge_lora(model, untie=True).model
    expected = load_pretrained(tmp_path)
    load_adapter(expected, tmp_path / "adapter")
    torch.testing.assert_close(merged(ids), expected(ids), rtol=1e-5, atol=1e-5)
    assert not merged.config.tie_embeddings
    assert model.config.tie_embeddings
    assert model.head.get_submodule("out").weight is model.embedder.tokens.weight


def test_refused(
    make: Callable[..., Model], adapted: Callable[..., Model], pack: Pack, tmp_path: Path, ids: Tensor
) -> None:
    model = adapted("llama")
    with pytest.raises(UserError, match="the adapters are not merged: there is nothing to take out"):
        unmerge_lora(model)
    with pytest.raises(UserError, match="full: the model's own weights are not packed"):
        merge_lora(model, full=tmp_path)
    merge_lora(model)
    with pytest.raises(UserError, match="the adapters are merged already: unmerge_lora takes them out again"):
        merge_lora(model)
    with pytest.raises(UserError, match="the model has no adapters"):
        merge_lora(make("llama"))

    packed = pack_blocks(make("llama"), pack)
    add_lora(packed, rank=2)
    with pytest.raises(UserError, match="the weights are packed, and nothing says what they were made of"):
        merge_lora(packed)
    save_pretrained(make("gpt2"), tmp_path / "gpt2")
    with pytest.raises(UserError, match="gpt2 is not what the packed weights were made of: another architecture"):
        merge_lora(packed, full=tmp_path / "gpt2")
    with pytest.raises(UserError, match="`full` holds packed weights too"):
        merge_lora(packed, full=pack_blocks(make("llama"), pack))
    with pytest.raises(UserError, match="nothing: no such directory"):
        merge_lora(packed, full=tmp_path / "nothing")


def test_a_copy_of_a_merged_model(adapted: Callable[..., Model], ids: Tensor) -> None:
    model = adapted("llama")
    expected = model(ids)
    merge_lora(model)
    twin = copy.deepcopy(model)
    unmerge_lora(twin)
    assert torch.equal(twin(ids), expected)
    assert all(adapter.merged for adapter in adapters(model).values())
    remove_lora(twin)
    torch.testing.assert_close(model(ids), expected, rtol=1e-5, atol=1e-5)


def test_what_training_spoilt(adapted: Callable[..., Model], tmp_path: Path) -> None:
    model = adapted("llama", target_modules=["q_proj"])
    adapters(model)["core.layers.1.attn.f.q"].B.data[3, 1] = torch.nan
    before = weights(model)
    with pytest.raises(UserError, match=r"the adapter of 'core.layers.1.attn.f.q': 'B' is not finite"):
        merge_lora(model)
    assert all(torch.equal(weight, before[name]) for name, weight in weights(model).items())
    with pytest.raises(UserError, match=r"layers.1.self_attn.q_proj.lora_B.weight' is not finite"):
        save_adapter(model, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
