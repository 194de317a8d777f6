"""Checkpoints as they lie about: old names, with and without prefixes, tied heads there or not, buffers, pickles."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from groundup.errors import UserError
from groundup.models import Model, load_pretrained, save_pretrained
from parity import Difference, Pair, make_batch, make_pair, outputs, their_output
from parity_cases import CASES
from safetensors.torch import load_file, save_file
from torch import Tensor

Tensors = dict[str, Tensor]
Rewrite = Callable[[Tensors], Tensors]

PREFIXES = {"gpt2": "transformer.", "gpt_neox": "gpt_neox.", "opt": "model.", "llama": "model.", "bert": "bert."}
PREFIXES |= {"roberta": "roberta.", "distilbert": "distilbert.", "electra-discriminator": "electra."}
PREFIXES |= {"deberta": "deberta.", "phi3": "model.", "gemma2": "model.", "qwen3": "model."}


def rewritten(pair: Pair, folder: Path, rewrite: Rewrite) -> Path:
    """A copy of the pair's folder whose tensors went through `rewrite`."""
    shutil.copy(pair.folder / "config.json", folder)
    save_file(rewrite(load_file(pair.folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
    return folder


def assert_same_model(ours: Model, expected: Model) -> None:
    assert (ours.config, ours.task) == (expected.config, expected.task)
    for (name, mine), theirs in zip(ours.named_parameters(), expected.parameters(), strict=True):
        assert torch.equal(mine, theirs), name


def gamma_and_beta(tensors: Tensors) -> Tensors:
    """As the first BERTs name what a norm multiplies by and adds."""
    for new, old in {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}.items():
        tensors = {key.replace(new, old): tensor for key, tensor in tensors.items()}
    return tensors


@pytest.mark.parametrize("name", PREFIXES)
def test_without_the_prefix(name: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """gpt2 and the first BERTs are published like this."""
    prefix = PREFIXES[name]
    folder = rewritten(pair(name), tmp_path, lambda t: {k.removeprefix(prefix): v for k, v in t.items()})
    assert not any(key.startswith(prefix) for key in load_file(folder / "model.safetensors"))
    assert_same_model(load_pretrained(folder), pair(name).ours)


@pytest.mark.parametrize(("name", "head"), [("gpt2-bare", "gpt2"), ("bert-bare", "bert"), ("llama-bare", "llama")])
def test_a_bare_model_under_the_prefix(name: str, head: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """A bare model's file has no prefix; one that has it is the same model."""
    prefix = PREFIXES[head]
    folder = rewritten(pair(name), tmp_path, lambda t: {prefix + k: v for k, v in t.items()})
    assert_same_model(load_pretrained(folder), pair(name).ours)


@pytest.mark.parametrize("name", ["bert", "bert-classifier", "electra-discriminator", "deberta"])
def test_gamma_and_beta(name: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    folder = rewritten(pair(name), tmp_path, gamma_and_beta)
    assert any(key.endswith("gamma") for key in load_file(folder / "model.safetensors"))
    assert_same_model(load_pretrained(folder), pair(name).ours)


BUFFERS = {
    "gpt2": {"transformer.h.0.attn.bias": (1, 1, 64, 64), "transformer.h.2.attn.masked_bias": ()},
    "gpt_neox": {"gpt_neox.layers.0.attention.bias": (1, 1, 64, 64), "gpt_neox.layers.1.attention.masked_bias": ()}
    | {"gpt_neox.layers.2.attention.rotary_emb.inv_freq": (1,)},
    "llama": {"model.layers.0.self_attn.rotary_emb.inv_freq": (4,)},
    "bert": {"bert.embeddings.position_ids": (1, 64), "bert.embeddings.token_type_ids": (1, 64)},
    "roberta": {"roberta.embeddings.position_ids": (1, 66)},
    "deberta": {"deberta.embeddings.position_ids": (1, 64)},
}


@pytest.mark.parametrize("name", BUFFERS)
def test_buffers_of_older_files(name: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    def add(tensors: Tensors) -> Tensors:
        return tensors | {key: torch.ones(shape) for key, shape in BUFFERS[name].items()}

    assert_same_model(load_pretrained(rewritten(pair(name), tmp_path, add)), pair(name).ours)


HEADS = {  # the head's own name for the embedding
    "gpt2": ("lm_head.weight", "transformer.wte.weight"),
    "opt": ("lm_head.weight", "model.decoder.embed_tokens.weight"),
    "llama-scaled": ("lm_head.weight", "model.embed_tokens.weight"),
    "gemma2": ("lm_head.weight", "model.embed_tokens.weight"),
    "bert": ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
    "roberta": ("lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight"),
    "distilbert": ("vocab_projector.weight", "distilbert.embeddings.word_embeddings.weight"),
    "electra-generator": ("generator_lm_head.weight", "electra.embeddings.word_embeddings.weight"),
    "deberta": ("cls.predictions.decoder.weight", "deberta.embeddings.word_embeddings.weight"),
}
BIASES = {"bert": "cls.predictions.", "roberta": "lm_head.", "deberta": "cls.predictions."}


@pytest.mark.parametrize("name", HEADS)
def test_a_tied_head_that_is_written_out(name: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """The same weight twice is the same model; another weight under a tied head's name is refused."""
    head, embedding = HEADS[name]
    assert head not in load_file(pair(name).folder / "model.safetensors")
    folder = rewritten(pair(name), tmp_path, lambda t: t | {head: t[embedding].clone()})
    ours = load_pretrained(folder)
    assert_same_model(ours, pair(name).ours)
    rewritten(pair(name), tmp_path, lambda t: t | {head: t[embedding] + 1})
    with pytest.raises(UserError, match=head.replace(".", r"\.")):
        load_pretrained(folder)


@pytest.mark.parametrize("name", BIASES)
def test_a_tied_bias_under_either_name(name: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """BERT's output bias has two names, of which files hold one, the other or both."""
    short, long = BIASES[name] + "bias", BIASES[name] + "decoder.bias"
    stored = load_file(pair(name).folder / "model.safetensors")
    bias = stored[short if short in stored else long]
    for names in ([short], [long], [short, long]):

        def only(tensors: Tensors, names: list[str] = names) -> Tensors:
            rest = {key: value for key, value in tensors.items() if key not in (short, long)}
            return rest | {key: bias.clone() for key in names}

        assert_same_model(load_pretrained(rewritten(pair(name), tmp_path, only)), pair(name).ours)


def test_an_untied_head_that_is_not_there(pair: Callable[[str], Pair], tmp_path: Path) -> None:
    folder = rewritten(pair("llama"), tmp_path, lambda t: {k: v for k, v in t.items() if k != "lm_head.weight"})
    with pytest.raises(UserError, match=r"lm_head\.weight"):
        load_pretrained(folder)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "bert", "deberta", "electra-discriminator"])
def test_pickled_weights(name: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """One pytorch_model.bin, and two with an index, as the smaller encoders are published."""
    tensors = load_file(pair(name).folder / "model.safetensors")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
        shutil.copy(pair(name).folder / "config.json", folder)
    torch.save(tensors, whole / "pytorch_model.bin")
    files = {key: f"pytorch_model-0000{1 + i % 2}-of-00002.bin" for i, key in enumerate(tensors)}
    for file in set(files.values()):
        torch.save({key: tensor for key, tensor in tensors.items() if files[key] == file}, parts / file)
    index = {"metadata": {"total_size": 1}, "weight_map": files}
    (parts / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    for folder in (whole, parts):
        assert_same_model(load_pretrained(folder), pair(name).ours)


def test_gpt_neox_head_by_its_published_name(pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """Pythia's files say embed_out; transformers 5 can say lm_head."""
    for name in ("embed_out.weight", "lm_head.weight"):

        def rename(tensors: Tensors, name: str = name) -> Tensors:
            return {name if k in ("embed_out.weight", "lm_head.weight") else k: v for k, v in tensors.items()}

        folder = rewritten(pair("gpt_neox"), tmp_path, rename)
        assert name in load_file(folder / "model.safetensors")
        assert_same_model(load_pretrained(folder), pair("gpt_neox").ours)


@pytest.fixture(scope="module")
def deberta(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """DeBERTa with the head of its pretraining, which transformers has as legacy=false."""
    case = CASES["deberta"]
    case = dataclasses.replace(case, settings=case.settings | {"legacy": False})
    return make_pair(case, tmp_path_factory.mktemp("deberta"))


def test_deberta_s_own_head(deberta: Pair, tmp_path: Path) -> None:
    """The same head under other names; saved under the names that every version of transformers reads."""
    error, scale = Difference.of(*outputs(deberta, "right"))
    assert error <= 1e-5 * scale
    save_pretrained(deberta.ours, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["legacy"] is True
    again, info = transformers.DebertaV2ForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[misses] for misses in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    arguments, _, real = make_batch(deberta.case, "right")
    found, expected = (their_output(model.eval(), arguments)[real] for model in (again, deberta.theirs))
    error, scale = Difference.of(found, expected)
    assert error <= 1e-5 * scale


def test_deberta_as_microsoft_publishes_it(deberta: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both its pretraining heads, neither `architectures` nor `legacy`: the masked-LM head is read, the other named."""

    def publish(tensors: Tensors) -> Tensors:
        mask = {"dense.weight": (32, 32), "dense.bias": (32,), "LayerNorm.weight": (32,), "LayerNorm.bias": (32,)}
        mask |= {"classifier.weight": (1, 32), "classifier.bias": (1,)}
        published = {f"mask_predictions.{key}": torch.rand(shape) for key, shape in mask.items()}
        return tensors | published | {"deberta.embeddings.position_embeddings.weight": torch.rand(64, 32)}

    folder = rewritten(deberta, tmp_path, publish)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["architectures"], config["legacy"]
    (folder / "config.json").write_text(json.dumps(config | {"pos_att_type": "p2c|c2p"}), encoding="utf-8")
    for task in (None, "masked_lm"):
        assert_same_model(load_pretrained(folder, task=task), deberta.ours)
    assert "(mask_predictions, position_embeddings) is left out: 7 tensors" in capsys.readouterr().err
    encoder = load_pretrained(folder, task="encoder")
    assert torch.equal(encoder.core.layers[2].ffn.f.down.weight, deberta.ours.core.layers[2].ffn.f.down.weight)


def test_bert_as_google_publishes_it(pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """The smallest are files of every head, in the oldest names, and nothing says what they are."""

    def publish(tensors: Tensors) -> Tensors:
        tensors = tensors | {
            "cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"].clone()
        }
        return gamma_and_beta(tensors)

    folder = rewritten(pair("bert-pretraining"), tmp_path, publish)
    assert "cls.seq_relationship.weight" in load_file(folder / "model.safetensors")
    kept = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act")
    kept += ("max_position_embeddings", "type_vocab_size", "hidden_dropout_prob", "attention_probs_dropout_prob")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({key: config[key] for key in kept}), encoding="utf-8")
    assert_same_model(load_pretrained(folder), pair("bert-pretraining").ours)


BARE = [name for name, case in CASES.items() if case.task == "encoder"]


@pytest.mark.parametrize("name", [*BARE, "bert-pretraining", "electra-discriminator"])
def test_a_new_classifier(name: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """What is new in it is what transformers finds missing: BERT's pooler was trained, DeBERTa's is not there."""
    classifier = CASES[CASES[name].family.replace("_v2", "") + "-classifier"].architecture
    architecture: Any = getattr(transformers, classifier)
    theirs, info = architecture.from_pretrained(pair(name).folder, num_labels=4, output_loading_info=True)
    theirs.save_pretrained(tmp_path)
    whole = dict(load_pretrained(tmp_path).named_parameters())
    ours = load_pretrained(pair(name).folder, task="classification", num_labels=4)
    new = [key for key, mine in ours.named_parameters() if not torch.equal(mine, whole[key])]
    assert all(key.startswith("head.") for key in new)
    assert len(new) == sum(key.endswith("weight") for key in info["missing_keys"])  # new biases are 0 in both
    for key in new:
        assert 0.5 < ours.get_parameter(key).std() / whole[key].std() < 2
