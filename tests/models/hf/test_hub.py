from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from groundup.errors import UserError
from groundup.models import build_model, load_pretrained, save_pretrained
from groundup.models.hf.families import model_config
from groundup.models.hf.hub import checkpoint_files
from groundup.tokenizers.load import load_tokenizer
from local_hub import Hub, Repo


def nothing(name: str) -> Path:
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("there", "fetched"),
    [
        ("config.json model.safetensors pytorch_model.bin", "config.json model.safetensors"),
        ("config.json pytorch_model.bin tf_model.h5", "config.json pytorch_model.bin"),
        (
            "config.json model.safetensors tokenizer.json vocab.json merges.txt tokenizer.model tokenizer_config.json",
            "config.json model.safetensors tokenizer.json tokenizer_config.json",
        ),
        ("config.json model.safetensors vocab.json merges.txt", "config.json model.safetensors vocab.json merges.txt"),
        ("config.json model.safetensors vocab.json", "config.json model.safetensors"),
        ("config.json model.safetensors spm.model spm.vocab", "config.json model.safetensors spm.model"),
        (
            "config.json generation_config.json model.safetensors",
            "config.json generation_config.json model.safetensors",
        ),
        (
            "config.json model.safetensors chat_template.jinja additional_chat_templates/a.jinja",
            "config.json model.safetensors chat_template.jinja additional_chat_templates/a.jinja",
        ),
        ("config.json model.safetensors onnx/config.json onnx/tokenizer.json", "config.json model.safetensors"),
    ],
)
def test_which_files(there: str, fetched: str) -> None:
    assert sorted(checkpoint_files(there.split(), nothing)) == sorted(fetched.split())


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_shards_are_those_of_the_index(tmp_path: Path, name: str) -> None:
    index = f"{name}.index.json"
    (tmp_path / index).write_text(json.dumps({"weight_map": {"a": "two", "b": "one", "c": "two"}}))
    names = ["config.json", index, "one", "two", "three"]
    assert checkpoint_files(names, tmp_path.__truediv__) == ["config.json", index, "one", "two"]
    names.remove("two")
    with pytest.raises(UserError, match=rf"has no two, which its {index} names: name another revision"):
        checkpoint_files(names, tmp_path.__truediv__)
    (tmp_path / index).write_text('{"weight_map": ["one"]}')
    with pytest.raises(UserError, match=rf"has a {index} that cannot be read"):
        checkpoint_files(names, tmp_path.__truediv__)


PROGRAM = """
import sys, torch
from groundup.models import load_pretrained
from groundup.tokenizers.load import load_tokenizer
model = load_pretrained("org/tiny", revision="main")
ids = torch.from_numpy(load_tokenizer("org/tiny").batch(["to be", "or not"]).input_ids)
torch.save(model(ids), sys.argv[1])
"""


@pytest.mark.slow
def test_a_checkpoint_from_the_hub_end_to_end(hub: Hub, tmp_path: Path) -> None:
    """Fetched, loaded, run; then once more without the hub."""
    torch.manual_seed(0)
    shape = {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 16, "vocab_size": 257}
    others = {"model_type": "gpt2", "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new"}
    model = build_model(model_config({**shape, **others})).eval()
    save_pretrained(model, tmp_path / "tiny", load_tokenizer("byte"))
    files = {path.name: path.read_bytes() for path in (tmp_path / "tiny").iterdir()}
    hub.repos["org/tiny"] = Repo({**files, "pytorch_model.bin": b"never", "README.md": b"never"})
    hub.run(PROGRAM, str(tmp_path / "online"))
    assert hub.files_asked() == sorted(files)
    hub.run(PROGRAM, str(tmp_path / "offline"), HF_HUB_OFFLINE="1")
    assert not hub.asked
    ids = torch.tensor([list(b"to be\0"), list(b"or not")])
    mine = load_pretrained(tmp_path / "tiny")
    for name in ("online", "offline"):
        theirs = torch.load(tmp_path / name, weights_only=True)
        torch.testing.assert_close(theirs[1], mine(ids)[1], rtol=0, atol=0)
        torch.testing.assert_close(theirs[1], model(ids)[1], rtol=0, atol=0)
