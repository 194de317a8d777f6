"""Tasks on running text: what is taken from the context, and what is counted."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from groundup.errors import UserError
from groundup.evaluation.registry import EvalContext, task_function
from groundup.evaluation.text_tasks import added_ending, count_words
from groundup.models import load_pretrained
from groundup.tokenizers.byte import ByteTokenizer
from groundup.tokenizers.load import load_tokenizer

TEXT = " = A heading = \n" + " ".join(f"{i} and {i + 1} make {2 * i + 1}." for i in range(40)) + "\n"


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_perplexity_with_a_stride(checkpoint: Callable[[str], Path], tmp_path: Path, name: str, monkeypatch) -> None:
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))
    model, tokenizer = load_pretrained(checkpoint(name), dtype="fp32"), load_tokenizer(checkpoint(name))
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    context = EvalContext("perplexity", data=path, context=32, stride=31, batch_size=2)
    got = task_function("perplexity")(model, tokenizer, context)
    ids = tokenizer.encode(TEXT, add_special_tokens=True)
    nats, done = 0.0, 1
    for begin in range(0, len(ids), 31):
        end = min(begin + 32, len(ids))
        log_p = model(torch.tensor([ids[begin:end]]))[0].log_softmax(-1)
        nats -= sum(log_p[i - begin - 1, ids[i]].item() for i in range(done, end))
        done = end
        if end == len(ids):
            break
    scored = len(ids) - 1
    assert got["tokens"] == scored
    assert got["loss"] == pytest.approx(nats / scored, abs=1e-5)
    whole = nats / scored * (len(ids) - (name == "llama"))
    assert got["word_perplexity"] == pytest.approx(math.exp(whole / len(re.split(r"\s+", TEXT))), rel=1e-4)
    plain = task_function("perplexity")(model, tokenizer, EvalContext("perplexity", data=path, context=32))
    assert plain["tokens"] == len(ids)  # the end of the text too


def test_endings(checkpoint: Callable[[str], Path]) -> None:
    names = {"gpt2": 1, "llama": 1, "bert": 0, "roberta": 0}
    assert {name: added_ending(load_tokenizer(checkpoint(name)), True) for name in names} == names
    assert added_ending(ByteTokenizer(), False) == (ByteTokenizer().eos_id is not None)


def test_words_are_counted_as_the_harness_does() -> None:
    assert [count_words(text) for text in ("a b", " = a = \n b\n", "", "one")] == [2, 6, 1, 1]


@pytest.mark.parametrize("task", ["perplexity", "masked_lm"])
def test_text_must_come_from_somewhere(checkpoint: Callable[[str], Path], task: str) -> None:
    name = "gpt2" if task == "perplexity" else "bert"
    model, tokenizer = load_pretrained(checkpoint(name)), load_tokenizer(checkpoint(name))
    with pytest.raises(UserError, match="the model is no run that has held out text"):
        task_function(task)(model, tokenizer, EvalContext(task))
