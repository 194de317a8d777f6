"""load_pretrained: what it reads and makes of it, and a sentence for each way in which a checkpoint can be wrong."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.models import load_pretrained, save_pretrained
from small import GPT2, LLAMA, NEOX, PHI3, Tensors, assert_equal, change_config, change_weights, checkpoint


def refused(folder: Path, message: str, **arguments: Any) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_pretrained(folder, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fields", [GPT2, LLAMA, NEOX, PHI3])
def test_the_same_model_again(fields: dict[str, Any], tmp_path: Path) -> None:
    model = checkpoint(tmp_path, **fields)
    loaded = load_pretrained(str(tmp_path))
    assert_equal(loaded, model)
    assert not loaded.training
    assert loaded.task == "causal_lm"
    assert (loaded.head.out.weight is loaded.embedder.tokens.weight) == model.config.tie_embeddings
    origin = loaded.origin
    assert origin is not None
    assert origin.directory == tmp_path
    assert origin.config == json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert [origin.architecture] == origin.config["architectures"]


def test_arguments_that_cannot_be_honoured(tmp_path: Path) -> None:
    checkpoint(tmp_path, **LLAMA)
    refused(tmp_path, "quantization 'nf5' is not known. Did you mean 'nf4'", quantization="nf5")
    refused(tmp_path, "task 'causal' is not known. Did you mean 'causal_lm'", task="causal")
    refused(tmp_path, r"llama has no task 'masked_lm'. Known: causal_lm, classification, encoder", task="masked_lm")
    refused(tmp_path, "dtype 'float32' is not known. Known: fp32, bf16, fp16", dtype="float32")
    refused(tmp_path, "dtype 'torch.int8' is not known", dtype=torch.int8)
    refused(tmp_path, "device 'gpu' is not available here", device="gpu")
    refused(tmp_path, "num_labels=2 is for task 'classification'", num_labels=2)


def test_the_weights_to_be_replaced_are_not_initialised(tmp_path: Path) -> None:
    """On the meta device torch's initialisers do nothing, but load sympy and hundreds of modules more to do it."""
    checkpoint(tmp_path, **LLAMA)
    code = f"import sys; from groundup.models import load_pretrained; load_pretrained({str(tmp_path)!r})"
    code += "; print('sympy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_directories_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        refused(tmp_path / name, f"{name}: no such directory")
    for name in ("./nowhere", "~/nowhere", "a/b/c"):
        with pytest.raises(UserError, match=f"{name}: no such directory"):
            load_pretrained(name)


def test_config_json_that_is_none(tmp_path: Path) -> None:
    checkpoint(tmp_path, **LLAMA)
    path = tmp_path / "config.json"
    path.write_text("{", encoding="utf-8")
    refused(tmp_path, r"config\.json: not JSON .*fetch it again")
    path.write_text("[]", encoding="utf-8")
    refused(tmp_path, r"config\.json: must be a mapping")
    path.unlink()
    refused(tmp_path, r"no config\.json in it, so it is no checkpoint of a Hugging Face model")


def test_families_that_are_not_here(tmp_path: Path) -> None:
    checkpoint(tmp_path, **LLAMA)
    change_config(tmp_path, model_type="lama")
    refused(tmp_path, r"config\.json: model_type 'lama' is not known here. Did you mean 'llama'")
    change_config(tmp_path, model_type="t5")
    refused(tmp_path, r"model_type 't5' is not known here. Known: gpt2, gpt_neox, opt, llama, mistral, qwen2")


def test_without_a_model_type_the_names_tell_it_or_nothing_does(tmp_path: Path, capfd: Any) -> None:
    model = checkpoint(tmp_path / "gpt2", **GPT2)
    change_config(tmp_path / "gpt2", "model_type")
    assert_equal(load_pretrained(tmp_path / "gpt2"), model)
    assert "its tensors are named as those of 'gpt2'" in capfd.readouterr().err
    checkpoint(tmp_path / "llama", **LLAMA)  # or Mistral, or Qwen
    change_config(tmp_path / "llama", "model_type")
    refused(tmp_path / "llama", r"config\.json: 'model_type' is missing, and the names of the tensors do not tell it")


def test_without_architectures_the_head_tells_the_task(tmp_path: Path) -> None:
    for task, labels in (("causal_lm", None), ("classification", 3)):
        checkpoint(tmp_path / task, task, labels, **LLAMA)
        change_config(tmp_path / task, "architectures")
        assert load_pretrained(tmp_path / task).task == task
    checkpoint(tmp_path / "encoder", "encoder", **LLAMA)
    change_config(tmp_path / "encoder", "architectures")
    refused(tmp_path / "encoder", "names no 'architectures': say what the model is for with task=\"causal_lm\" or")
    assert load_pretrained(tmp_path / "encoder", task="encoder").task == "encoder"


def test_a_class_whose_head_is_not_here(tmp_path: Path) -> None:
    model = checkpoint(tmp_path, **LLAMA)
    change_config(tmp_path, architectures=["LlamaForTokenClassification"])
    refused(tmp_path, r"config\.json: 'LlamaForTokenClassification' has a head that is not available here")
    assert_equal(load_pretrained(tmp_path, task="causal_lm"), model)


def test_quantised_checkpoints(tmp_path: Path) -> None:
    checkpoint(tmp_path, **LLAMA)
    change_config(tmp_path, quantization_config={"quant_method": "gptq", "bits": 4})
    refused(tmp_path, r"config\.json: the weights are quantised \(quantization_config\)")


def test_settings_of_other_architectures(tmp_path: Path) -> None:
    checkpoint(tmp_path, **LLAMA)
    for key in ("is_encoder_decoder", "add_cross_attention", "pruned_heads"):
        change_config(tmp_path, **{key: True})
        refused(tmp_path, rf"config\.json: {key}=True is not available here")
        change_config(tmp_path, key)


def test_what_our_own_configuration_refuses_names_the_file(tmp_path: Path) -> None:
    checkpoint(tmp_path, **LLAMA)
    change_config(tmp_path, num_attention_heads=3)
    refused(tmp_path, r"config\.json: n_heads=3 is not a multiple of n_kv_heads=2")


def test_unknown_settings_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoint(tmp_path, **LLAMA)
    load_pretrained(tmp_path)
    assert capfd.readouterr().err == ""
    change_config(tmp_path, attn_logit_offset=3, use_cache=True)
    load_pretrained(tmp_path)
    assert "config.json: not known here, and left out of account: attn_logit_offset" in capfd.readouterr().err


@pytest.mark.parametrize("fields", [GPT2, LLAMA, NEOX])
@pytest.mark.parametrize("dtype", ["bf16", torch.float16])
def test_cast(fields: dict[str, Any], dtype: str | torch.dtype, tmp_path: Path) -> None:
    model = checkpoint(tmp_path, **fields)
    loaded = load_pretrained(tmp_path, dtype=dtype)
    assert_equal(loaded, model.to(torch.bfloat16 if dtype == "bf16" else dtype))


def test_stored_in_two_dtypes_the_wider_holds_both(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = checkpoint(tmp_path, **LLAMA)

    def narrow(tensors: Tensors) -> Tensors:
        return {key: t if "norm" in key else t.to(torch.bfloat16) for key, t in tensors.items()}

    change_weights(tmp_path, narrow)
    loaded = load_pretrained(tmp_path)
    assert "stored in torch.bfloat16 and torch.float32: all of it becomes torch.float32" in capfd.readouterr().err
    assert torch.equal(loaded.core.norm.weight, model.core.norm.weight)
    assert torch.equal(loaded.embedder.tokens.weight, model.embedder.tokens.weight.to(torch.bfloat16).float())


class TestLabels:
    """How many classes there are, and when the head is new."""

    def test_as_stored(self, tmp_path: Path) -> None:
        model = checkpoint(tmp_path, "classification", 3, **LLAMA)
        assert_equal(load_pretrained(tmp_path), model)
        change_config(tmp_path, "id2label", "label2id")
        assert_equal(load_pretrained(tmp_path), model)
        assert_equal(load_pretrained(tmp_path, num_labels=3), model)

    def test_stored_and_said_otherwise(self, tmp_path: Path) -> None:
        checkpoint(tmp_path, "classification", 3, **LLAMA)
        change_config(tmp_path, id2label={"0": "no", "1": "yes"})
        refused(tmp_path, r"model\.safetensors: 'score\.weight' has 3 labels, config\.json says 2")

    def test_another_number(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        model = checkpoint(tmp_path, "classification", 3, **LLAMA)
        loaded = load_pretrained(tmp_path, num_labels=400)
        assert "the checkpoint has no head.out.weight for this model: new ones, to be trained" in capfd.readouterr().err
        weight = loaded.head.out.weight.detach()
        assert weight.shape == (400, 24)
        assert 0.017 < weight.std() < 0.019  # of 0.02, without what lies beyond two deviations
        assert weight.abs().max() <= 0.04
        assert torch.equal(loaded.core.norm.weight, model.core.norm.weight)

    def test_a_new_head_on_another_models_trunk(self, tmp_path: Path) -> None:
        model = checkpoint(tmp_path, **LLAMA)
        refused(tmp_path, r"config\.json: there is no classification head in it: say num_labels", task="classification")
        loaded = load_pretrained(tmp_path, task="classification", num_labels=2, dtype="bf16")
        assert loaded.head.out.weight.shape == (2, 24)
        assert loaded.head.out.weight.dtype == torch.bfloat16
        assert torch.equal(loaded.embedder.tokens.weight, model.embedder.tokens.weight.to(torch.bfloat16))
        change_config(tmp_path, id2label={str(i): str(i) for i in range(5)})
        assert len(load_pretrained(tmp_path, task="classification").head.out.weight) == 5


maps = Path("/proc/self/maps")
needs_maps = pytest.mark.skipif(not maps.exists(), reason="needs Linux's /proc")


@needs_maps
def test_weights_of_the_stored_dtype_are_the_mapped_file(tmp_path: Path) -> None:
    """And what training does to them is not written to it."""
    path = tmp_path / "model.safetensors"
    checkpoint(tmp_path, **LLAMA)
    before = path.read_bytes()
    model = load_pretrained(tmp_path)
    assert str(path) in maps.read_text()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert path.read_bytes() == before
    del model, parameter
    gc.collect()
    cast = load_pretrained(tmp_path, dtype="bf16")
    assert str(path) not in maps.read_text()
    assert cast.embedder.tokens.weight.dtype == torch.bfloat16


def test_saved_over_the_files_it_is_mapped_from(tmp_path: Path) -> None:
    """The model in use stays what it is, and the files become the new one's."""
    model = checkpoint(tmp_path, **LLAMA)
    first, second = load_pretrained(tmp_path), load_pretrained(tmp_path)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(2)
    save_pretrained(second, tmp_path)
    assert_equal(first, model)
    assert_equal(load_pretrained(tmp_path), second)
    save_pretrained(first, tmp_path)
    assert_equal(load_pretrained(tmp_path), model)


def test_a_mapped_model_trains(tmp_path: Path) -> None:
    checkpoint(tmp_path, **GPT2)
    model = load_pretrained(tmp_path).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ids = torch.arange(20).view(2, 10)
    losses = []
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
