"""Adapter files: damaged, for another model, in older formats, with settings that are not available."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.models import Model, load_pretrained, save_pretrained
from groundup.models.lora import adapters, add_lora, load_adapter, save_adapter
from safetensors.torch import load_file, save_file
from torch import Tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
Q = "base_model.model.model.layers.0.self_attn.q_proj"

Tensors = dict[str, Tensor]


@pytest.fixture
def saved(adapted: Callable[..., Model], tmp_path: Path) -> Path:
    """The folder of an adapter for the small Llama."""
    save_adapter(adapted("llama", target_modules=["q_proj", "down_proj"]), tmp_path / "adapter")
    return tmp_path / "adapter"


def change_config(folder: Path, **changes: Any) -> None:
    values = json.loads((folder / CONFIG).read_text(encoding="utf-8")) | changes
    (folder / CONFIG).write_text(json.dumps(values), encoding="utf-8")


def change_weights(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)


def assert_same(found: Model, expected: Model) -> None:
    theirs = dict(expected.named_parameters())
    assert dict(found.named_parameters()).keys() == theirs.keys()
    for name, parameter in found.named_parameters():
        assert torch.equal(parameter, theirs[name]), name


def assert_refused(model: Model, folder: Path, message: str) -> None:
    """With that sentence, and the model as it was."""
    before = copy.deepcopy(model)
    with pytest.raises(UserError) as raised:
        load_adapter(model, folder)
    assert message in str(raised.value)
    assert str(folder) in str(raised.value)
    assert_same(model, before)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "neox", "own"])
def test_there_and_back(
    name: str, variant: Any, adapted: Callable[..., Model], make: Callable[..., Model], tmp_path: Path
) -> None:
    model = adapted(name, variant=variant, dropout=0.25)
    save_adapter(model, tmp_path)
    again = make(name)
    load_adapter(again, tmp_path, trainable=True)
    assert_same(again, model)
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]
    for mine, theirs in zip(adapters(again).values(), adapters(model).values(), strict=True):
        assert (mine.scale, mine.A.dropout.p) == (theirs.scale, 0.25)
    assert {path.name for path in tmp_path.iterdir()} == {CONFIG, WEIGHTS}


def test_a_classifier_keeps_its_head_and_biases(
    make: Callable[..., Model], stir: Callable[..., None], tmp_path: Path
) -> None:
    model = make("neox", "classification", 3)
    add_lora(model, rank=2, target_modules=["dense"], bias="all")
    stir(model)
    save_adapter(model, tmp_path, base="someone/pythia")
    again = make("neox", "classification", 3)
    load_adapter(again, tmp_path, trainable=True)
    trained = {name for name, p in again.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(torch.equal(again.get_parameter(name), model.get_parameter(name)) for name in trained)
    said = json.loads((tmp_path / CONFIG).read_text(encoding="utf-8"))
    assert (said["task_type"], said["modules_to_save"], said["bias"]) == ("SEQ_CLS", ["score"], "all")
    assert said["base_model_name_or_path"] == "someone/pythia"
    other = make("neox", "classification", 4)
    other.requires_grad_(True)
    assert_refused(other, tmp_path, "'score.weight' is (3, 24), and (4, 24) in the model: load it with num_labels=3")


def test_a_classifier_without_its_head(make: Callable[..., Model], tmp_path: Path) -> None:
    """One made for a language model: PEFT would look for the head of what is called SEQ_CLS."""
    model = make("llama")
    add_lora(model, rank=2)
    save_adapter(model, tmp_path)
    model = make("llama", "classification", 3)
    load_adapter(model, tmp_path)
    save_adapter(model, tmp_path)
    assert json.loads((tmp_path / CONFIG).read_text(encoding="utf-8"))["task_type"] is None
    load_adapter(make("llama", "classification", 3), tmp_path)


def test_what_the_base_is_called(make: Callable[..., Model], tmp_path: Path) -> None:
    """By its name on the hub where it lies in the hub's cache."""
    cached = tmp_path / "hub/models--some-one--tiny--llama/snapshots/0123abc"
    for folder, expected in ((cached, "some-one/tiny--llama"), (tmp_path / "own", str(tmp_path / "own"))):
        save_pretrained(make("llama"), folder)
        model = load_pretrained(folder)
        add_lora(model)
        save_adapter(model, tmp_path / "adapter")
        said = json.loads((tmp_path / "adapter" / CONFIG).read_text(encoding="utf-8"))
        assert said["base_model_name_or_path"] == expected


def test_written_over(adapted: Callable[..., Model], make: Callable[..., Model], saved: Path) -> None:
    model = adapted("llama", target_modules=["v_proj"])
    save_adapter(model, saved)
    again = make("llama")
    load_adapter(again, saved)
    assert_same(again, model)


def test_a_disk_that_refuses(adapted: Callable[..., Model], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not write"):
        save_adapter(adapted("llama"), tmp_path / "file" / "adapter")


def test_older_files(saved: Path, make: Callable[..., Model], adapted: Callable[..., Model], tmp_path: Path) -> None:
    """A pickle; magnitudes that end in .weight; settings that were not yet there."""
    expected = adapted("llama", target_modules=["q_proj"], variant="dora")
    save_adapter(expected, saved)
    tensors = {k.replace("vector", "vector.weight"): v for k, v in load_file(saved / WEIGHTS).items()}
    (saved / WEIGHTS).unlink()
    torch.save(tensors, saved / "adapter_model.bin")
    model = make("llama")
    load_adapter(model, saved)
    assert_same(model, expected)
    torch.save({"weight": print}, saved / "adapter_model.bin")
    assert_refused(make("llama"), saved, "cut short or damaged")


def test_one_for_another_family(saved: Path, make: Callable[..., Model], adapted: Callable[..., Model]) -> None:
    assert_refused(
        make("gpt2"),
        saved,
        "'model.layers.0.mlp.down_proj' is no Linear of this gpt2 model: the adapter is for another",
    )
    assert_refused(make("own"), saved, "is no Linear of this natively built model")


def test_one_for_another_size(saved: Path, make: Callable[..., Model]) -> None:
    wide = make("llama", d_model=32)
    message = "lora_B of 'model.layers.0.mlp.down_proj' is (24, 3), and (32, 3) for this llama model at rank 3: an adap"
    assert_refused(wide, saved, message)
    deep = make("llama", n_layers=3)
    assert_refused(deep, saved, "holds nothing for 'model.layers.2.mlp.down_proj', which ")
    assert_refused(make("llama", n_layers=1), saved, "'model.layers.1.mlp.down_proj' is no Linear of this llama model")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != f"{Q}.lora_B.weight"}, "lacks lora_B of 'model.layers.0.self_"),
        (
            lambda t: {k: v for k, v in t.items() if "q_proj" not in k},
            "holds nothing for 'model.layers.0.self_attn.q_p",
        ),
        (
            lambda t: t | {f"{Q}.lora_B.weight": torch.zeros(23, 3)},
            "lora_B of 'model.layers.0.self_attn.q_proj' is (23,",
        ),
        (lambda t: t | {f"{Q}.lora_magnitude_vector": torch.zeros(24)}, "holds lora_magnitude_vector of"),
        (lambda t: t | {f"{Q}.lora_B.bias": torch.zeros(24)}, "lora_bias is not available here"),
        (lambda t: t | {"base_model.model.x.lora_embedding_A": torch.zeros(1)}, "adapters on embeddings is not"),
        (lambda t: t | {"base_model.model.model.norm.weight": torch.zeros(24)}, "is another than the model's"),
        (lambda t: t | {"base_model.model.model.nrm.weight": torch.zeros(24)}, "'model.nrm' is no part of this llama"),
        (
            lambda t: t | {f"{Q}.lora_B.weight": torch.full((24, 3), torch.nan)},
            "q_proj.lora_B.weight' is not finite (NaN",
        ),
        (lambda t: {}, "no adapter of this llama model in it"),
    ],
)
def test_damaged_weights(
    change: Callable[[Tensors], Tensors], message: str, saved: Path, make: Callable[..., Model]
) -> None:
    change_weights(saved, change)
    assert_refused(make("llama"), saved, message)


def test_weights_of_before_are_no_obstacle(saved: Path, make: Callable[..., Model]) -> None:
    """PEFT writes the base's embedding and head where it sees one adapted."""
    model = make("llama")
    key = "base_model.model.model.embed_tokens.weight"
    change_weights(saved, lambda tensors: tensors | {key: model.embedder.tokens.weight.detach().clone()})
    load_adapter(model, saved, trainable=True)
    assert not model.embedder.tokens.weight.requires_grad


@pytest.mark.parametrize("kept", [0, 7, 500])
def test_cut_short(kept: int, saved: Path, make: Callable[..., Model]) -> None:
    (saved / WEIGHTS).write_bytes((saved / WEIGHTS).read_bytes()[:kept])
    assert_refused(make("llama"), saved, "cut short or damaged")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type='IA3' is not available here, only 'LORA'"),
        ({"lora_bias": True}, "lora_bias=True is not available here"),
        ({"use_qalora": True}, "use_qalora=True is not available here"),
        ({"layer_replication": [[0, 2]]}, "layer_replication=[[0, 2]] is not available here"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices=[3] is not available here"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens=[1, 2] is not available here"),
        ({"a_setting_of_tomorrow": 0.5}, "a_setting_of_tomorrow=0.5 is not available here"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa' changes the base weights too"),
        ({"bias": "lora"}, "bias 'lora' is not known. Did you mean 'lora_only'?"),
        ({"r": "eight"}, "cannot be read (invalid literal"),
        ({"r": 4}, "lora_A of 'model.layers.0.mlp.down_proj' is (3, 40), and (4, 40) for this llama model at rank 4"),
        ({"rank_pattern": {"q_proj": 2}}, "lora_A of 'model.layers.0.self_attn.q_proj' is (3, 24), and (2, 24) for"),
        ({"use_dora": True}, "lacks lora_magnitude_vector of 'model.layers."),
        ({"modules_to_save": ["lm_head"]}, "holds nothing for 'lm_head.weight', which "),
        ({"target_modules": "all-linear"}, "holds nothing for 'model.layers.0.mlp.gate_proj', which "),
        ({"target_modules": r".*\.(q|k)_proj"}, "holds nothing for 'model.layers.0.self_attn.k_proj', which "),
    ],
)
def test_settings_that_are_refused(
    changes: dict[str, Any], message: str, saved: Path, make: Callable[..., Model]
) -> None:
    change_config(saved, **changes)
    assert_refused(make("llama"), saved, message)


def test_settings_that_say_nothing(saved: Path, make: Callable[..., Model]) -> None:
    """Those of PEFT today, off; and selections that the file itself shows."""
    off: dict[str, Any] = dict.fromkeys(("arrow_config", "kasa_config", "target_parameters", "velora_config"))
    off |= {"loftq_config": {}, "qalora_group_size": 16, "megatron_core": "megatron.core", "use_qalora": False}
    change_config(saved, **off, init_lora_weights="gaussian", fan_in_fan_out=True, peft_version="0.21.2")
    load_adapter(make("llama"), saved)
    change_config(saved, layers_to_transform=[0])
    change_weights(saved, lambda tensors: {k: v for k, v in tensors.items() if ".layers.0." in k})
    model = make("llama")
    load_adapter(model, saved)
    assert len(adapters(model)) == 2


def test_alphas_by_pattern(saved: Path, make: Callable[..., Model]) -> None:
    """The end of a path, or a regular expression for it; the first that matches."""
    change_config(saved, alpha_pattern={r"layers\.1\..*": 30, "q_proj": 9.0}, use_rslora=False)
    model = make("llama")
    load_adapter(model, saved)
    scales = {name.removeprefix("core.layers."): adapter.scale for name, adapter in adapters(model).items()}
    assert scales == {"0.attn.f.q": 3.0, "0.ffn.f.down": 5 / 3, "1.attn.f.q": 10.0, "1.ffn.f.down": 10.0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no adapter_config.json in it, so it is no adapter"),
        ("{", "cannot be read ("),
        ("[]", "must be a mapping of settings"),
        ('{"peft_type": "LORA", "r": 3}', "'lora_alpha' is missing"),
    ],
)
def test_a_damaged_config(content: str | None, message: str, saved: Path, make: Callable[..., Model]) -> None:
    (saved / CONFIG).unlink()
    if content is not None:
        (saved / CONFIG).write_text(content, encoding="utf-8")
    assert_refused(make("llama"), saved, message)


def test_missing(saved: Path, make: Callable[..., Model]) -> None:
    (saved / WEIGHTS).unlink()
    assert_refused(make("llama"), saved, "no adapter_model.safetensors in it")
    assert_refused(
        make("llama"), saved / "nothing", "no such directory: an adapter is a folder with adapter_config.json"
    )


def test_a_path_that_is_the_end_of_another(
    make: Callable[..., Model], stir: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a list of ends cannot say is written as a regular expression."""
    import groundup.models.lora.save as save

    monkeypatch.setattr(save, "shortest", lambda chosen, among: ["^" + path for path in chosen])
    model = make("llama")
    add_lora(model, rank=2, target_modules=["q_proj"])
    stir(model)
    save_adapter(model, tmp_path)
    said = json.loads((tmp_path / CONFIG).read_text(encoding="utf-8"))["target_modules"]
    assert said == r"model\.layers\.0\.self_attn\.q_proj|model\.layers\.1\.self_attn\.q_proj"
    again = make("llama")
    load_adapter(again, tmp_path)
    assert_same(again, model)
