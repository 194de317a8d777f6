"""A `dataset` section and a tokenizer of single characters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

KEYS = ("config", "text_column", "label_column", "text_pair_column", "max_documents", "num_proc", "format")
PATHS = ("train_path", "eval_path", "test_path", "random_crop", "on_overflow", "on_bad_row")


def section(name: str | Path, **values: Any) -> Any:
    """`dataset:` as the schema gives it."""
    empty = dict.fromkeys((*KEYS, *PATHS))
    return SimpleNamespace(
        **{**empty, "name": str(name), "split": "train", "streaming": False, "val_fraction": 0.25} | values
    )


@pytest.fixture
def dataset() -> Callable[..., Any]:
    return section


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """write("a/b.csv", text): the file's path."""

    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return put


@pytest.fixture(scope="session")
def bert() -> Any:
    """A word-piece tokenizer with [CLS] and [SEP] and token types; every lower-case word of one letter is a token."""
    from groundup.tokenizers.huggingface import HuggingFaceTokenizer, Manner
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz"]
    vocab = {word: i for i, word in enumerate(words)}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))  # pyright: ignore
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]"}
    return HuggingFaceTokenizer(inner, special, "letters", Manner(token_types=True))
