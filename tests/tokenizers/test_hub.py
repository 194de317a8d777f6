from __future__ import annotations

from pathlib import Path

import pytest
from local_hub import OLDER, Hub, Repo

PROGRAM = """
import sys
from groundup.errors import UserError
from groundup.tokenizers.load import load_tokenizer
for name in sys.argv[1:]:
    name, _, revision = name.partition("@")
    try:
        tokenizer = load_tokenizer(name, revision or None)
        print(tokenizer.name, tokenizer.encode("hello world", add_special_tokens=True), tokenizer.eos_id)
    except UserError as error:
        print(error)
"""


@pytest.mark.slow
def test_names_and_repositories(hub: Hub, shared: Path) -> None:
    """Fetched once, without what is no tokenizer, and then no network is needed."""
    files = {name: (shared / "tokenizers/opt" / name).read_bytes() for name in ("vocab.json", "merges.txt")}
    config = {"config.json": b'{"model_type": "opt"}', "tokenizer_config.json": b'{"add_bos_token": false}'}
    older = {"vocab.txt": b"[UNK]\n[CLS]\n[SEP]\n[PAD]\n[MASK]\nhello\nworld\n"}
    hub.repos["facebook/opt-1.3b"] = Repo({**files, "pytorch_model.bin": b"w"})
    hub.repos["org/tiny"] = Repo({**files, **config, "model.safetensors": b"w"}, {"main": "a" * 40, "v1": OLDER}, older)
    hub.repos["org/none"] = Repo({"config.json": b"{}", "spiece.model": b"?"})
    expected = ["opt_50k [42891, 232] 2", "org/tiny [42891, 232] 2", "org/tiny [1, 5, 6, 2] 2"]
    done = hub.run(PROGRAM, "opt_50k", "org/tiny", "org/tiny@v1", "org/none")
    *said, none = done.stdout.splitlines()
    assert said == expected
    kinds = "tokenizer.json, vocab.txt, vocab.json + merges.txt, tokenizer.model, spm.model"
    assert none.startswith(f"Failed to load tokenizer from HuggingFace: 'org/none' has none of {kinds}: name a repo")
    assert hub.files_asked() == ["config.json", "merges.txt", "tokenizer_config.json", "vocab.json", "vocab.txt"]
    done = hub.run(PROGRAM, "OPT-50k", "org/tiny", "org/tiny@v1", HF_HUB_OFFLINE="1")
    assert done.stdout.splitlines() == expected
    assert not hub.asked


@pytest.mark.slow
def test_offline_is_one_sentence(hub: Hub) -> None:
    offline = hub.run(PROGRAM, "mistral_32k", "org/tiny@v1", HF_HUB_OFFLINE="1").stdout.splitlines()
    assert offline == [
        "Failed to load tokenizer mistral_32k from HuggingFace: 'mistralai/Mistral-7B-v0.1' is not cached here, and "
        "HF_HUB_OFFLINE is set: unset it, or name a folder that holds the files",
        "Failed to load tokenizer from HuggingFace: 'org/tiny' at revision 'v1' is not cached here, and HF_HUB_OFFLINE "
        "is set: unset it, or name a folder that holds the files",
    ]
    assert "there is no repository 'some/thing', or" in hub.run(PROGRAM, "some/thing").stdout
