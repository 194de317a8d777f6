"""Instruction data as a run gives it, and real tokenizers with templates in the manner of well-known models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from groundup.configs.schema_data import Dataset
from groundup.data.instruct.load import InstructionData, load_instructions
from groundup.tokenizers.base import Tokenizer
from groundup.tokenizers.byte import ByteTokenizer
from groundup.tokenizers.load import load_tokenizer
from tokenizers import AddedToken
from tokenizers import Tokenizer as HFTokenizer

# Only what the assistant says is marked.
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m['content'] + '<|im_end|>' }}"
    "{% endif %}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
    "{{ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}\n{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token }}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('No system role') }}"
    "{% endif %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' }}"
    "{{ m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (  # a system message stands before the last question, wherever that is
    "{% set chat = messages[1:] if messages[0]['role'] == 'system' else messages %}{{ bos_token }}"
    "{% for m in chat %}{% if m['role'] == 'user' %}{{ '[INST] ' }}{% if loop.index0 >= chat | length - 2 and "
    "messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\n\n' }}{% endif %}{{ m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
PHI3 = (  # the end of text stands after all
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "llama3": LLAMA3,
    "zephyr": ZEPHYR,
    "gemma": GEMMA,
    "mistral": MISTRAL,
    "phi3": PHI3,
}
SPECIAL = [
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<s>",
    "</s>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
]


@pytest.fixture(scope="session")
def chat_folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """chat_folder("gemma"): GPT-2's tokenizer with the special tokens of chats and that template."""

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        inner = HFTokenizer.from_file(str(shared / "tokenizers/gpt2/tokenizer.json"))
        inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
        inner.add_special_tokens([AddedToken("<|end|>", special=True, normalized=False, rstrip=True)])
        inner.save(str(folder / "tokenizer.json"))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
        config["chat_template"] = TEMPLATES[name]
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return folder

    return make


@pytest.fixture
def tokenizer(shared: Path) -> Callable[[str], Tokenizer]:
    """tokenizer("gpt2"): a fresh one of the shared tokenizers."""
    return lambda name: load_tokenizer(shared / "tokenizers" / name)


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., InstructionData]:
    """load(rows, tokenizer, **settings): rows written to a json file and loaded, nothing held out; byte by default."""

    def make(rows: Any, tokenizer: Tokenizer | None = None, max_length: int = 4096, **settings: Any) -> InstructionData:
        path = tmp_path / "rows.json"
        if rows is not None:
            path.write_text(json.dumps(rows), encoding="utf-8")
        settings = {"format": "sharegpt", "train_path": str(path), "val_fraction": 0.0} | settings
        dataset = Dataset(**settings)
        return load_instructions(dataset, tokenizer or ByteTokenizer(), max_length=max_length, progress=False)

    return make
