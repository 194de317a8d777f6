"""What trains once adapters are on a model, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.models import Model, load_pretrained
from groundup.models.lora import adapters, add_lora, count_parameters, load_adapter, remove_lora, save_adapter
from groundup.models.saved import load_weights
from safetensors.torch import save_file
from torch import Tensor, nn


def trained(model: Model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def beside(model: Model) -> set[str]:
    return {name for name in trained(model) if ".lora." not in name}


def test_only_adapters_train(make: Callable[..., Model]) -> None:
    model = make("gpt2")
    add_lora(model, rank=2, target_modules=["c_attn"])
    one = {"q.lora.A.weight", "q.lora.B", "k.lora.B", "v.lora.B"}
    assert trained(model) == {f"core.layers.{layer}.attn.f.{name}" for layer in range(2) for name in one}
    assert count_parameters(model).trainable == 2 * (2 * 24 + 72 * 2)
    assert count_parameters(model).all == model.num_parameters()
    assert str(count_parameters(model)) == f"384 of {model.num_parameters():,} parameters train (3.48%)"


def test_the_default_is_q_and_v(make: Callable[..., Model]) -> None:
    model = make("llama")
    add_lora(model)
    assert [name[-1] for name in adapters(model)] == ["q", "v", "q", "v"]
    found = adapters(model).values()
    assert {(adapter.rank, adapter.scale, adapter.A.dropout.p) for adapter in found} == {(8, 2.0, 0.0)}


@pytest.mark.parametrize(
    ("bias", "expected"),
    [
        ("none", set[str]()),
        ("lora_only", {f"core.layers.{i}.attn.f.{p}.bias" for i in range(2) for p in "qkv"}),
    ],
)
def test_biases(bias: Any, expected: set[str], make: Callable[..., Model]) -> None:
    model = make("gpt2")
    add_lora(model, rank=2, target_modules=["c_attn"], bias=bias)
    assert beside(model) == expected


def test_all_biases_are_those_of_norms_too(make: Callable[..., Model]) -> None:
    model = make("gpt2")
    add_lora(model, rank=2, target_modules=["c_attn"], bias="all")
    assert beside(model) == {name for name, _ in model.named_parameters() if name.endswith(".bias")}
    assert "core.layers.1.ffn.norm_in.bias" in beside(model)


def test_a_classifier_trains_its_head(make: Callable[..., Model]) -> None:
    model = make("llama", "classification", 3)
    add_lora(model, rank=2, target_modules="all-linear")
    assert beside(model) == {"head.out.weight"}
    assert "head.out" not in adapters(model)
    for given, more in ((["model.norm", "embed_tokens"], {"core.norm.weight", "embedder.tokens.weight"}), ([], set())):
        model = make("llama", "classification", 3)
        add_lora(model, rank=2, modules_to_save=given)
        assert beside(model) == {"head.out.weight", *more}


def test_a_head_beside_other_modules_is_in_the_file(
    make: Callable[..., Model], stir: Callable[..., None], ids: Tensor, tmp_path: Path
) -> None:
    model = make("gpt2", "classification", 3)
    add_lora(model, rank=2, target_modules=["c_attn"], modules_to_save=["wte"])
    assert beside(model) == {"embedder.tokens.weight", "head.out.weight"}
    stir(model)
    save_adapter(model, tmp_path)
    said = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert (said["task_type"], said["modules_to_save"]) == ("SEQ_CLS", ["wte", "score"])
    again = make("gpt2", "classification", 3)
    load_adapter(again, tmp_path, trainable=True)
    assert trained(again) == trained(model)
    assert torch.equal(again(ids), model(ids))


def test_what_a_checkpoint_had_not_trains_beside_the_head(checkpoint: Callable[[str], Path]) -> None:
    """BERT's pooler, which a file of masked language modelling leaves out."""
    model = load_pretrained(checkpoint("bert"), "classification", num_labels=3)
    assert model.origin is not None
    add_lora(model, rank=2, target_modules=["query"], modules_to_save=["word_embeddings"])
    assert {*model.origin.new} <= beside(model)
    assert "embedder.tokens.weight" in beside(model)


def test_the_same_seed_gives_the_same_adapter(make: Callable[..., Model]) -> None:
    weights: list[Tensor] = []
    for seed in (5, 5, 6):
        model = make("llama")
        state = torch.random.get_rng_state()
        add_lora(model, seed=seed)
        assert torch.equal(torch.random.get_rng_state(), state)
        weights.append(next(iter(adapters(model).values())).A.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_packed_weights(make: Callable[..., Model], pack: Callable[[nn.Linear], nn.Module], ids: Tensor) -> None:
    """Counted as what they stand for, left alone, and with gradients for adapters."""
    plain, packed = make("llama"), make("llama")
    for block in packed.core.layers:
        for part in "qkv":
            setattr(block.attn.f, part, pack(getattr(block.attn.f, part)))
    for model in (plain, packed):
        add_lora(model, rank=3, variant="dora", target_modules=["q_proj", "k_proj", "gate_proj"])
    assert count_parameters(packed) == count_parameters(plain)
    assert sum(p.numel() for p in packed.parameters()) < sum(p.numel() for p in plain.parameters())
    packed(ids).square().mean().backward()
    assert all(adapter.B.grad is not None for adapter in adapters(packed).values())


def test_a_checkpoint_by_names(adapted: Callable[..., Model], ids: Tensor, tmp_path: Path) -> None:
    """What a run saves is read into a model with the same adapters; an A that several Linears share is there once."""
    model, other = adapted("gpt2"), adapted("gpt2", seed=7)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    assert len({weight.data_ptr() for weight in weights.values()}) == len(weights)
    save_file(weights, tmp_path / "model.safetensors")
    assert not torch.equal(other(ids), model(ids))
    load_weights(tmp_path, other)
    assert torch.equal(other(ids), model(ids))


def test_removed(make: Callable[..., Model], adapted: Callable[..., Model], ids: Tensor) -> None:
    """What was frozen before stays frozen, the rest trains again, and the answers are those of before."""
    plain = make("gpt2")
    model = make("gpt2")
    model.embedder.requires_grad_(False)
    before = trained(model)
    add_lora(model, rank=2, target_modules=["c_attn", "c_proj"], seed=0)
    with torch.no_grad():
        for adapter in adapters(model).values():
            adapter.B.normal_()
    assert not torch.equal(model(ids), plain(ids))
    remove_lora(model)
    assert torch.equal(model(ids), plain(ids))
    assert trained(model) == before
    assert dict(model.named_parameters()).keys() == dict(plain.named_parameters()).keys()
    add_lora(model, rank=2)  # and again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": 40}, "rank 40 is larger than the matrix 'core.layers.0.attn.f.q', which is (24, 24): at most 24"),
        (
            {"rank": 13, "target_modules": ["k_proj"]},
            "rank 13 is larger than the matrix 'core.layers.0.attn.f.k', which",
        ),
        ({"rank": 0}, "rank 0: must be a whole number of at least 1"),
        ({"rank": 2.5}, "rank 2.5: must be a whole number of at least 1"),
        ({"rank": True}, "rank True: must be"),
        ({"alpha": 0}, "alpha 0: must be above 0"),
        ({"dropout": 1.0}, "dropout 1.0: must be at least 0 and below 1"),
        ({"bias": "lora"}, "bias 'lora' is not known. Did you mean 'lora_only'?"),
        ({"bias": "some"}, "bias 'some' is not known. Known: none, all, lora_only."),
        ({"variant": "rs-lora"}, "variant 'rs-lora' is not known. Did you mean 'rslora'?"),
        ({"variant": "pissa"}, "variant 'pissa' is not known. Known: lora, rslora, dora."),
        ({"bias": "all"}, "bias='all': there is no bias to train: use bias='none'"),
        ({"target_modules": ["qproj"]}, "Target modules not found in model: 'qproj'; did you mean 'q_proj'?"),
        ({"modules_to_save": ["heads"]}, "modules_to_save: 'heads' is no module of the model."),
    ],
)
def test_refused(arguments: dict[str, Any], message: str, make: Callable[..., Model], ids: Tensor) -> None:
    """And the model is as it was."""
    model = make("llama")
    with pytest.raises(UserError) as raised:
        add_lora(model, **arguments)
    assert str(raised.value).startswith(message)
    assert not adapters(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_tied_embedding_does_not_train_by_the_way(make: Callable[..., Model]) -> None:
    for name in ("lm_head", "wte"):
        with pytest.raises(UserError, match=f"modules_to_save: '(transformer.)?{name}' shares its weight"):
            add_lora(make("gpt2"), rank=2, modules_to_save=[name])
    model = make("gpt2", tie_embeddings=False)
    add_lora(model, rank=2, modules_to_save=["lm_head"])
    assert beside(model) == {"head.out.weight"}


def test_adding_twice(adapted: Callable[..., Model], tmp_path: Path) -> None:
    model = adapted("gpt2")
    save_adapter(model, tmp_path)
    twice = re.escape("the model has adapters already (on 'core.layers.0.attn.f.q'): remove_lora takes them off")
    with pytest.raises(UserError, match=twice):
        add_lora(model)
    with pytest.raises(UserError, match=twice):
        load_adapter(model, tmp_path)


def test_without_adapters(make: Callable[..., Model], tmp_path: Path) -> None:
    message = "the model has no adapters: add_lora or load_adapter puts some on it"
    with pytest.raises(UserError, match=message):
        save_adapter(make("gpt2"), tmp_path)
    with pytest.raises(UserError, match=message):
        remove_lora(make("gpt2"))
    assert not list(tmp_path.iterdir())
