"""Text modelling in bytes, whatever the tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from groundup.errors import UserError
from groundup.evaluation import text_modeling as module
from groundup.evaluation.registry import EvalContext
from groundup.evaluation.text_modeling import (
    CONTINUATION,
    PROMPT,
    compare,
    edit_distance,
    measure_text_modeling,
    passages,
    text_modeling,
)
from groundup.evaluation.writing import Written
from groundup.models import load_pretrained
from groundup.models.config import ModelConfig
from groundup.models.model import build_model
from groundup.tokenizers.byte import ByteTokenizer
from groundup.tokenizers.load import load_tokenizer

TEXT = "".join(f"{i} and {i + 1} make {2 * i + 1}, é? " for i in range(300))


def plain_distance(a: bytes, b: bytes) -> int:
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    table[:, 0], table[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i, j in np.ndindex(len(a), len(b)):
        table[i + 1, j + 1] = min(table[i, j + 1] + 1, table[i + 1, j] + 1, table[i, j] + (a[i] != b[j]))
    return int(table[-1, -1])


def test_edit_distance() -> None:
    assert edit_distance(b"kitten", b"sitting") == 3
    assert edit_distance(b"", b"abc") == edit_distance(b"abc", b"") == 3
    draw = np.random.default_rng(1)
    for _ in range(40):
        a, b = (bytes(draw.integers(97, 100, draw.integers(0, 12)).tolist()) for _ in range(2))
        assert edit_distance(a, b) == plain_distance(a, b)


def test_numbers_by_position() -> None:
    truth = bytes(range(65, 65 + CONTINUATION))
    late = b"_" + truth[:-1]  # one place too far: every byte is wrong, two edits
    half = truth[:10]  # what was not written is wrong
    got = compare([(truth, truth), (late, truth), (half, truth)])
    assert got["byte_accuracy"] == pytest.approx((CONTINUATION + 10) / (3 * CONTINUATION))
    assert got["edit_distance"] == pytest.approx((2 + CONTINUATION - 10) / (3 * CONTINUATION))
    assert got["accuracy_0"] == pytest.approx(2 / 3)
    assert got["accuracy_8-15"] == pytest.approx((8 + 2) / 24)
    assert got["accuracy_16-31"] == pytest.approx(1 / 3)


def test_short_texts_have_fewer_positions() -> None:
    got = compare([(b"ab", b"abc"), (b"abcd", b"abxd")])
    assert got["byte_accuracy"] == pytest.approx(5 / 7)
    assert got["accuracy_2-3"] == pytest.approx(1 / 3)
    assert "accuracy_4-7" not in got
    assert got["edit_distance"] == pytest.approx(2 / 7)


def test_passages_are_stretches_of_the_text() -> None:
    found = passages([TEXT, "x"], 10**9)
    assert len(found) == len(TEXT.encode()) // (PROMPT + CONTINUATION)
    at = -1
    for prompt, truth in found:
        place = TEXT.encode().find(prompt.encode() + truth)
        assert place > at
        assert PROMPT <= len(prompt.encode()) <= PROMPT + 1
        assert len(truth) == CONTINUATION
        at = place
    few = passages([TEXT], 7)
    assert [found.index(passage) for passage in few] == [i * len(found) // 7 for i in range(7)]
    assert passages(["short é text", "x", "", "éé"], 9) == [("short ", "é text".encode()), ("é", "é".encode())]
    with pytest.raises(UserError, match="documents of two characters or more, and there is none"):
        passages(["x", ""], 3)


def test_what_is_written_is_what_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that knows the text by heart, and one that is right up to the tenth byte."""
    after = {prompt: truth.decode("utf-8", "ignore") for prompt, truth in passages([TEXT], 20)}

    def by_heart(model, tokenizer, prompts, **settings):
        return [Written(TEXT[TEXT.find(prompt) + len(prompt) :][:50], 0) for prompt in prompts]

    monkeypatch.setattr(module, "write", by_heart)
    perfect = text_modeling(None, None, [TEXT], num_samples=20)  # pyright: ignore[reportArgumentType]
    assert (perfect["byte_accuracy"], perfect["edit_distance"], perfect["passages"]) == (1.0, 0.0, len(after))


def byte_model(context: int = 256):
    sizes = {"vocab_size": 259, "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 24, "max_seq_len": context}
    return build_model(ModelConfig(**sizes, positions="rope"), seed=3)  # pyright: ignore[reportArgumentType]


def test_byte_and_bpe_models_are_asked_the_same(checkpoint: Callable[[str], Path]) -> None:
    bpe = (load_pretrained(checkpoint("llama"), dtype="fp32"), load_tokenizer(checkpoint("llama")))
    model, tokenizer = byte_model(), ByteTokenizer()
    got = [
        text_modeling(*pair, [TEXT], num_samples=6, batch_size=n) for pair in (bpe, (model, tokenizer)) for n in (1, 4)
    ]
    for numbers in got:
        assert numbers["passages"] == 6
        assert 0 <= numbers["byte_accuracy"] < 0.3
        assert 0.5 < numbers["edit_distance"] <= 1
    for a, b in (got[:2], got[2:]):
        assert a | {"seconds": 0} == b | {"seconds": 0}
    prompt, truth = passages([TEXT], 6)[3]
    new = model.generate(torch.tensor([tokenizer.encode(prompt)]), CONTINUATION)[0, len(tokenizer.encode(prompt)) :]
    bytes_ = tokenizer.decode(new.tolist()).encode()[:CONTINUATION]
    assert compare([(bytes_, truth)])["edit_distance"] == pytest.approx(edit_distance(bytes_, truth) / CONTINUATION)


def test_as_a_task(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    context = EvalContext("text_modeling", data=path, limit=3, progress=False)
    model = byte_model()
    assert measure_text_modeling(model, ByteTokenizer(), context)["passages"] == 3
    with pytest.raises(UserError, match="the model has held out no text"):
        measure_text_modeling(model, ByteTokenizer(), EvalContext("text_modeling"))
