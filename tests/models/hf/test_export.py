"""save_pretrained: files that are whole or not there, and models of ours that transformers loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from groundup.errors import UserError
from groundup.models import RopeConfig, RopeScaling, build_model, load_pretrained, save_pretrained
from groundup.models.hf import export
from groundup.models.hf.export import split_up
from safetensors import safe_open
from small import GPT2, LLAMA, NEOX, assert_equal, build, change_config, checkpoint

WEIGHTS = "model.safetensors"


def config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


LONGROPE = RopeScaling("longrope", 4.0, 8, short_factor=(1.0, 1.5), long_factor=(2.0, 3.0))
NATIVE = {
    "GPT2LMHeadModel": GPT2,
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": LLAMA | {"window": 5, "layer_pattern": ("local",)},
    "Qwen2ForCausalLM": LLAMA | {"qkv_bias": True, "tie_embeddings": True},
    "Qwen3ForCausalLM": LLAMA | {"qk_norm": True, "head_dim": 10},
    "GPTNeoXForCausalLM": NEOX,
    "Phi3ForCausalLM": LLAMA | {"window": 30, "layer_pattern": ("local",), "rope": RopeConfig(50.0, 0.7, LONGROPE)},
    "OPTForCausalLM": GPT2 | {"position_offset": 2, "activation": "relu"},
    "Gemma2ForCausalLM": LLAMA
    | {"norm_unit_offset": True, "norm_slots": ("in", "out"), "embed_scale": 24**0.5, "head_dim": 10}
    | {"attn_softcap": 2.0, "logit_softcap": 3.0, "window": 4, "layer_pattern": ("local", "global")}
    | {"activation": "gelu_tanh", "tie_embeddings": True},
}


@pytest.mark.parametrize("name", NATIVE)
def test_a_model_built_here_is_one_of_theirs(name: str, tmp_path: Path) -> None:
    """transformers finds every key in it and nothing else, and answers alike."""
    model = checkpoint(tmp_path, **NATIVE[name])
    assert config(tmp_path)["architectures"] == [name]
    arguments: dict[str, Any] = {"output_loading_info": True, "attn_implementation": "eager"}
    theirs, info = getattr(transformers, name).from_pretrained(tmp_path, **arguments)
    assert not any(info.values()), info
    ids = torch.randint(0, 37, (2, 11))
    expected = theirs.eval()(ids).logits
    assert (model(ids) - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())
    assert_equal(load_pretrained(tmp_path), model)


@pytest.mark.parametrize("task", ["causal_lm", "classification", "encoder"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bit_for_bit(task: str, dtype: torch.dtype, tmp_path: Path) -> None:
    for i, fields in enumerate((GPT2, LLAMA, NEOX)):
        model = build(task, 3 if task == "classification" else None, **fields).to(dtype)
        save_pretrained(model, tmp_path / f"{i}")
        assert_equal(load_pretrained(tmp_path / f"{i}"), model)
        assert config(tmp_path / f"{i}")["dtype"] == str(dtype).removeprefix("torch.")


def test_what_transformers_looks_for_in_a_file(tmp_path: Path) -> None:
    checkpoint(tmp_path, "encoder", **GPT2)
    with safe_open(tmp_path / WEIGHTS, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert "wte.weight" in file.keys()  # noqa: SIM118


def test_several_files(tmp_path: Path) -> None:
    model = build(**LLAMA)
    save_pretrained(model, tmp_path, max_shard_bytes=9_000)
    index = json.loads((tmp_path / f"{WEIGHTS}.index.json").read_text(encoding="utf-8"))
    total = sum(parameter.nbytes for parameter in model.parameters())
    assert index["metadata"] == {"total_size": total}
    files = sorted(tmp_path.glob("*.safetensors"))
    assert [path.name for path in files] == sorted(set(index["weight_map"].values()))
    assert files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    assert max(path.stat().st_size for path in files) < 9_000 + 2_000  # and a header
    assert_equal(load_pretrained(tmp_path), model)
    theirs, info = transformers.LlamaForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert torch.equal(theirs.lm_head.weight, model.head.out.weight)


def test_weights_of_before_are_not_left_to_be_read(tmp_path: Path) -> None:
    """One file is preferred to several, and several leave no part behind."""
    model = checkpoint(tmp_path, **LLAMA)
    with torch.no_grad():
        model.core.norm.weight.add_(1)
    save_pretrained(model, tmp_path, max_shard_bytes=9_000)
    assert not (tmp_path / WEIGHTS).exists()
    assert_equal(load_pretrained(tmp_path), model)
    with torch.no_grad():
        model.core.norm.weight.add_(1)
    save_pretrained(model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", WEIGHTS]
    assert_equal(load_pretrained(tmp_path), model)


@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk(existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there stays, and nothing half-written is left."""
    folder = tmp_path / "model"
    if existing:
        model = checkpoint(folder, **GPT2)
    before = sorted(path.name for path in tmp_path.rglob("*"))

    def full(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "_write_json", full)
    with pytest.raises(UserError, match=r"could not write .*model: .*No space left on device"):
        save_pretrained(build(**LLAMA), folder)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    if existing:
        assert_equal(load_pretrained(folder), model)


def test_split_up() -> None:
    sizes = {"a": 3, "b": 4, "c": 9, "d": 1, "e": 1}
    assert split_up(sizes, 7) == [["a", "b"], ["c"], ["d", "e"]]
    assert split_up(sizes, 100) == [["a", "b", "c", "d", "e"]]
    assert split_up(sizes, 1) == [["a"], ["b"], ["c"], ["d"], ["e"]]


def test_config_json_keeps_what_it_had_and_stays_true(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    checkpoint(first, **LLAMA)
    change_config(first, "dtype", torch_dtype="float16", bos_token_id=1, eos_token_id=[2, 3], task_specific_params={})
    save_pretrained(load_pretrained(first, dtype="bf16"), second)
    assert config(second) == config(first) | {"torch_dtype": "bfloat16"}
    change_config(first, num_labels=2)  # which said enough for two
    classifier = load_pretrained(first, task="classification", num_labels=3)
    save_pretrained(classifier, second)
    labels = {"id2label": {str(i): f"LABEL_{i}" for i in range(3)}, "label2id": {f"LABEL_{i}": i for i in range(3)}}
    change_config(first, "num_labels")
    expected = config(first) | labels | {"architectures": ["LlamaForSequenceClassification"], "torch_dtype": "float32"}
    assert config(second) == expected
    assert_equal(load_pretrained(second), classifier)


def test_names_of_labels_are_kept(tmp_path: Path) -> None:
    checkpoint(tmp_path / "a", "classification", 2, **LLAMA)
    names = {"id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 0, "good": 1}}
    change_config(tmp_path / "a", **names)
    save_pretrained(load_pretrained(tmp_path / "a"), tmp_path / "b")
    assert {key: config(tmp_path / "b")[key] for key in names} == names


def test_generation_config_and_tokenizer(tmp_path: Path) -> None:
    class Words:
        bos_id, eos_id, pad_id = None, 2, 3

        def save_hf(self, directory: Path) -> None:
            (directory / "tokenizer.json").write_text("{}", encoding="utf-8")

    checkpoint(tmp_path / "a", **LLAMA)
    (tmp_path / "a" / "generation_config.json").write_text('{"eos_token_id": 2}', encoding="utf-8")
    save_pretrained(load_pretrained(tmp_path / "a"), tmp_path / "b", tokenizer=Words())  # type: ignore[arg-type]
    assert (tmp_path / "b" / "generation_config.json").read_text(encoding="utf-8") == '{"eos_token_id": 2}'
    assert (tmp_path / "b" / "tokenizer.json").read_text(encoding="utf-8") == "{}"
    save_pretrained(build(**LLAMA), tmp_path / "c", tokenizer=Words())  # type: ignore[arg-type]
    ids = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 3}
    assert {key: config(tmp_path / "c")[key] for key in ids} == ids


def test_no_family(tmp_path: Path) -> None:
    model = build(**GPT2, norm_bias=False)
    with pytest.raises(
        UserError, match=r"has this model: the nearest is gpt2, which would have norm_bias=True, here False"
    ):
        save_pretrained(model, tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_dropout_that_no_config_json_can_say(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoint(tmp_path / "a", **GPT2, residual_dropout=0.2)
    assert capfd.readouterr().err == ""
    checkpoint(tmp_path / "b", **LLAMA, residual_dropout=0.2, attn_probs_dropout=0.1)
    assert "a config.json of llama has no word for residual_dropout=0.2: " in capfd.readouterr().err


def test_gpt2_small_as_configured_here(root: Path) -> None:
    """configs/gpt2_small.yaml is a GPT-2 to everybody."""
    from groundup.configs.architecture import architecture
    from groundup.configs.resolve import load_config
    from groundup.models.hf.describe import describe

    run = load_config(root / "configs" / "gpt2_small.yaml", [])
    kind, hf = describe(build_model(architecture(run, 50_257), device="meta"))
    assert kind.MODEL_TYPES == ("gpt2",)
    theirs = transformers.GPT2Config(**hf)
    assert (theirs.n_embd, theirs.n_layer, theirs.activation_function) == (768, 12, "gelu")
