"""Adapters against PEFT, on every family: written here and read there, and the other way; logits, gradients, training.

Every weight is random, also those of adapters that would start at zero.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from groundup.models import Model
from groundup.models.lora import adapters, add_lora, count_parameters, load_adapter, save_adapter
from parity import Difference, Pair, make_batch, make_pair, their_output
from parity_cases import CASES
from safetensors.torch import load_file
from torch import Tensor, nn

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*(fan_in_fan_out|tied layer|save_embedding_layers).*:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*did not match any targeted module.*:RuntimeWarning"),
]

FAMILIES = ["gpt2", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3", "starcoder2"]
FAMILIES += ["bert", "roberta", "distilbert", "electra-generator", "electra-discriminator", "deberta"]
CLASSIFIERS = [f"{name}-classifier" for name in ("gpt2", "phi3", "bert", "roberta", "distilbert", "electra", "deberta")]
BARE = ["gpt_neox-bare", "bert-bare", "deberta-bare"]

# What people write in the words of each family, and one native name for each.
WORDS: dict[str, list[str]] = {
    "gpt2": ["c_attn", "c_proj", "lm_head"],
    "gpt_neox": ["query_key_value", "dense", "lm_head"],
    "opt": ["q_proj", "out_proj", "fc1"],
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "phi3": ["qkv_proj", "gate_up_proj"],
    "starcoder2": ["c_fc", "o_proj"],
    "bert": ["query", "value", "output.dense"],
    "distilbert": ["q_lin", "v_lin"],
    "deberta-classifier": ["query_proj", "value_proj"],
    "electra-classifier": ["query", "embeddings_project"],
}
VARIANTS = {"lora": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True}}


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """pair(name) -> the model of that name, theirs and ours; tests change copies."""

    @functools.cache
    def make(name: str) -> Pair:
        return make_pair(CASES[name], tmp_path_factory.mktemp(name))

    return make


def stir(model: nn.Module) -> None:
    """Noise on all that trains."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


def outputs(pair: Pair, theirs: Any, ours: Model) -> tuple[Tensor, Tensor]:
    their_arguments, our_arguments, real = make_batch(pair.case, "right")
    found, expected = ours(**our_arguments), their_output(theirs, their_arguments)
    return (found, expected) if pair.case.task == "classification" else (found[real], expected[real])


def assert_equal_answers(pair: Pair, theirs: Any, ours: Model) -> None:
    """The same logits, and others than without the adapter."""
    with torch.no_grad():
        found, expected = outputs(pair, theirs.eval(), ours.eval())
        without, _ = outputs(pair, pair.theirs, pair.ours)
    error, scale = Difference.of(found, expected)
    assert error <= 1e-5 * max(1.0, scale), f"{error:.1e} apart, where numbers go up to {scale:.1f}"
    assert (found - without).abs().max() > 0.05


def put_on_theirs(pair: Pair, folder: Path, trainable: bool = False) -> Any:
    """Their model with the adapter of a folder, in which nothing is missing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        return peft.PeftModel.from_pretrained(copy.deepcopy(pair.theirs), folder, is_trainable=trainable)


def assert_same_files(ours: Path, theirs: Path, base_too: bool = False) -> None:
    """The same names and the same bits; PEFT writes base weights too where the head has an adapter."""
    found, expected = (load_file(folder / "adapter_model.safetensors") for folder in (ours, theirs))
    if base_too:
        expected = {name: tensor for name, tensor in expected.items() if ".lora_" in name}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("name", [*FAMILIES, *CLASSIFIERS, *BARE])
def test_ours_read_by_peft(name: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    ours = copy.deepcopy(pair(name).ours)
    add_lora(ours, rank=2, alpha=3, target_modules="all-linear", seed=0)
    stir(ours)
    save_adapter(ours, tmp_path)
    assert_equal_answers(pair(name), put_on_theirs(pair(name), tmp_path), ours)
    again = copy.deepcopy(pair(name).ours)
    load_adapter(again, tmp_path)
    assert not any(parameter.requires_grad for parameter in again.parameters())
    for mine, original in zip(again.parameters(), ours.parameters(), strict=True):
        assert torch.equal(mine, original)


@pytest.mark.parametrize(
    ("name", "target", "module"),
    [("roberta-classifier", "query", "embeddings.LayerNorm"), ("gpt2-classifier", "c_attn", "wte")],
)
def test_a_head_beside_other_modules(
    name: str, target: str, module: str, pair: Callable[[str], Pair], tmp_path: Path
) -> None:
    ours = copy.deepcopy(pair(name).ours)
    add_lora(ours, rank=2, target_modules=[target], modules_to_save=[module], seed=0)
    head = [key for key, parameter in ours.named_parameters() if parameter.requires_grad and key.startswith("head.")]
    assert head
    stir(ours)
    save_adapter(ours, tmp_path)
    assert_equal_answers(pair(name), put_on_theirs(pair(name), tmp_path), ours)
    again = copy.deepcopy(pair(name).ours)
    load_adapter(again, tmp_path)
    assert all(torch.equal(again.get_parameter(key), ours.get_parameter(key)) for key in head)


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_theirs_read_here(name: str, variant: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """Rank and alpha differ from module to module, as patterns say."""
    first = WORDS[name][0]
    settings: dict[str, Any] = {"r": 2, "lora_alpha": 3, "target_modules": WORDS[name], **VARIANTS[variant]}
    settings |= {"rank_pattern": {f"0.*.{first}": 4}, "alpha_pattern": {rf"1\..*\.{first}": 5.5}}
    task = {"task_type": "SEQ_CLS"} if pair(name).case.task == "classification" else {}
    theirs = peft.get_peft_model(copy.deepcopy(pair(name).theirs), peft.LoraConfig(**settings, **task))
    stir(theirs)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = copy.deepcopy(pair(name).ours)
    load_adapter(ours, tmp_path / "theirs", trainable=True)
    assert_equal_answers(pair(name), theirs, ours)
    trained = sum(parameter.numel() for parameter in theirs.parameters() if parameter.requires_grad)
    assert count_parameters(ours).trainable == ours.num_parameters(trainable_only=True) == trained
    save_adapter(ours, tmp_path / "ours")
    assert_same_files(tmp_path / "ours", tmp_path / "theirs", base_too="lm_head" in WORDS[name])
    assert_equal_answers(pair(name), put_on_theirs(pair(name), tmp_path / "ours"), ours)


@pytest.mark.parametrize("bias", ["all", "lora_only"])
@pytest.mark.parametrize("name", ["gpt2", "bert-untied", "roberta-classifier"])
def test_their_biases_read_here(name: str, bias: Any, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """BERT's head has two names for one bias, of which they read one; beside a head they keep the bias of before."""
    task = {"task_type": "SEQ_CLS"} if pair(name).case.task == "classification" else {}
    config = peft.LoraConfig(r=2, target_modules="all-linear", bias=bias, **task)
    theirs = peft.get_peft_model(copy.deepcopy(pair(name).theirs), config)
    stir(theirs)
    theirs.save_pretrained(tmp_path)
    ours = copy.deepcopy(pair(name).ours)
    load_adapter(ours, tmp_path, trainable=True)
    assert_equal_answers(pair(name), theirs, ours)
    assert any(name.endswith("bias") and parameter.requires_grad for name, parameter in ours.named_parameters())


@pytest.mark.parametrize(
    ("name", "variant", "bias", "targets"),
    [
        ("gpt2", "lora", "lora_only", ["c_attn", "mlp.c_proj"]),
        ("gpt_neox", "dora", "none", ["query_key_value"]),
        ("phi3-classifier", "rslora", "none", ["qkv_proj", "gate_up_proj"]),
        ("roberta-classifier", "lora", "all", ["query", "value"]),
        ("deberta-classifier", "dora", "none", ["query_proj", "dense"]),
        ("bert", "dora", "all", "all-linear"),
    ],
)
def test_training_gives_the_same_adapter(
    name: str, variant: Any, bias: Any, targets: Any, pair: Callable[[str], Pair], tmp_path: Path
) -> None:
    """Three steps on both sides: gradients of A, B, magnitudes, biases and heads, and which parameters there are."""
    ours = copy.deepcopy(pair(name).ours)
    add_lora(ours, rank=3, alpha=6, target_modules=targets, bias=bias, variant=variant, seed=0)
    stir(ours)
    save_adapter(ours, tmp_path / "start")
    theirs = put_on_theirs(pair(name), tmp_path / "start", trainable=True)
    trained = sum(parameter.numel() for parameter in theirs.parameters() if parameter.requires_grad)
    assert count_parameters(ours).trainable == trained
    for model in (ours, theirs):
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=0.02, eps=1e-2)  # an eps that no noise of rounding gets over
        for step in range(3):
            found, expected = outputs(pair(name), theirs.eval(), ours.eval())
            answers = found if model is ours else expected
            noise = torch.randn(answers.shape, generator=torch.Generator().manual_seed(step))
            (answers * noise).mean().backward()
            assert all(parameter.grad is not None for parameter in parameters)
            optimizer.step()
            optimizer.zero_grad()
    save_adapter(ours, tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    written = load_file(tmp_path / "theirs/adapter_model.safetensors")
    before = load_file(tmp_path / "start/adapter_model.safetensors")
    assert before.keys() <= written.keys()  # PEFT keeps the biases of before beside heads
    assert all(".original_module." in key or ".modules_to_save." in key for key in written.keys() - before.keys())
    found = load_file(tmp_path / "ours/adapter_model.safetensors")
    for key, tensor in found.items():
        torch.testing.assert_close(tensor, written[key], rtol=1e-5, atol=1e-5)
        assert not torch.equal(tensor, before[key]), key


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("targets", [["q_proj"], ["v_proj", "q_proj"], ["q_proj", "k_proj", "v_proj", "down_proj"]])
@pytest.mark.parametrize("name", ["phi3", "gpt2", "gpt_neox"])
def test_parts_of_a_fused_matrix(
    name: str, targets: list[str], variant: Any, pair: Callable[[str], Pair], tmp_path: Path
) -> None:
    """Native names on families that fuse them: written as one adapter of a higher rank, with the same answers."""
    ours = copy.deepcopy(pair(name).ours)
    add_lora(ours, rank=2, alpha=5, target_modules=targets, variant=variant, seed=0)
    assert len(adapters(ours)) == len(targets) * len(ours.core.layers)
    stir(ours)
    save_adapter(ours, tmp_path)
    assert_equal_answers(pair(name), put_on_theirs(pair(name), tmp_path), ours)
    again = copy.deepcopy(pair(name).ours)
    load_adapter(again, tmp_path)
    with torch.no_grad():
        found, expected = (outputs(pair(name), pair(name).theirs, model)[0] for model in (again, ours))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_adapter_of_one_class_on_another(pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """One of a bare model on one with a head: the names differ by their prefix."""
    ours = copy.deepcopy(pair("gpt_neox-bare").ours)
    add_lora(ours, rank=2, target_modules="all-linear", seed=0)
    stir(ours)
    save_adapter(ours, tmp_path)
    other = copy.deepcopy(pair("gpt_neox").ours)
    load_adapter(other, tmp_path)
    expected = dict(ours.named_parameters())
    found = {name: p for name, p in other.named_parameters() if ".lora." in name}
    assert len(found) == 2 * 4 * 3 + 2 * 3  # A and B of four matrices in three layers, of which one has two more Bs
    for name, parameter in found.items():
        assert torch.equal(parameter, expected[name])


def test_what_the_model_does_without_is_written_back(
    pair: Callable[[str], Pair], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """BERT's pooler, which a bare model of ours has not."""
    config = peft.LoraConfig(r=2, target_modules="all-linear", bias="all", rank_pattern={"pooler.dense": 3})
    theirs = peft.get_peft_model(copy.deepcopy(pair("bert-bare").theirs), config)
    stir(theirs)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = copy.deepcopy(pair("bert-bare").ours)
    load_adapter(ours, tmp_path / "theirs")
    assert "without pooler.dense" in capsys.readouterr().err
    assert_equal_answers(pair("bert-bare"), theirs, ours)
    save_adapter(ours, tmp_path / "ours")
    assert_same_files(tmp_path / "ours", tmp_path / "theirs")
    again = put_on_theirs(pair("bert-bare"), tmp_path / "ours").eval()
    arguments, _, _ = make_batch(pair("bert-bare").case, "right")
    with torch.no_grad():
        assert torch.equal(again(**arguments).pooler_output, theirs.eval()(**arguments).pooler_output)
