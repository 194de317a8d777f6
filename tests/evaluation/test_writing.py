"""What a model writes after prompts: the same as one prompt at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from groundup.errors import UserError
from groundup.evaluation.writing import cut_at, write
from groundup.models import load_pretrained
from groundup.tokenizers.load import load_tokenizer

PROMPTS = ["1 and 2", "a much longer prompt than the others: 1 and 2 make 3.", "x", "é 4 and 5 make"]


@pytest.fixture(scope="module")
def models(checkpoint: Callable[[str], Path]) -> Callable[[str], tuple]:
    return lambda name: (load_pretrained(checkpoint(name), dtype="fp32"), load_tokenizer(checkpoint(name)))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_as_generate_writes_it_one_at_a_time(models, name: str) -> None:
    model, tokenizer = models(name)
    got = write(model, tokenizer, PROMPTS, max_new_tokens=11, batch_size=3)
    for prompt, written in zip(PROMPTS, got, strict=True):
        ids = tokenizer.encode(prompt, add_special_tokens=True)
        new = model.generate(torch.tensor([ids]), 11)[0, len(ids) :].tolist()
        assert tokenizer.eos_id not in new
        assert written.text == tokenizer.decode([*ids, *new])[len(tokenizer.decode(ids)) :]
        assert written.cut == 0


def test_draws_do_not_depend_on_the_batch(models) -> None:
    model, tokenizer = models("gpt2")
    draw = {"max_new_tokens": 9, "temperature": 0.9, "top_p": 0.95}
    one, all_, again = (write(model, tokenizer, PROMPTS, seed=4, batch_size=n, **draw) for n in (1, 4, 4))
    assert one == all_ == again
    assert write(model, tokenizer, PROMPTS, seed=5, **draw) != one
    twice = write(model, tokenizer, ["x", "x"], seed=4, **draw)
    assert twice[0] != twice[1]


def test_stop_strings_and_enough(models) -> None:
    model, tokenizer = models("gpt2")
    whole = write(model, tokenizer, PROMPTS[:1], max_new_tokens=20)[0].text
    stop = whole[7:9]
    assert write(model, tokenizer, PROMPTS[:1], max_new_tokens=20, stop=["never", stop])[0].text == whole.split(stop)[0]
    enough = write(model, tokenizer, PROMPTS[:1], max_new_tokens=20, enough=lambda text: len(text) >= 3)[0].text
    assert whole.startswith(enough)
    assert 3 <= len(enough) < len(whole)
    assert cut_at("abcabc", ["ca", "b"]) == "a"


def test_the_end_of_text_ends_it(models) -> None:
    model, tokenizer = models("gpt2")
    ids = tokenizer.encode(PROMPTS[0])
    new = model.generate(torch.tensor([ids]), 12)[0, len(ids) :].tolist()
    place = next(i for i, token in enumerate(new) if i >= 5)
    tokenizer.eos_id = new[place]
    first = new.index(new[place])
    assert write(model, tokenizer, PROMPTS[:1], max_new_tokens=12)[0].text == tokenizer.decode(new[:first])


def test_a_long_prompt_loses_its_beginning(models) -> None:
    model, tokenizer = models("gpt2")  # 64 positions
    prompt = " ".join(str(i) for i in range(60))
    n = len(tokenizer.encode(prompt))
    got = write(model, tokenizer, [prompt, "1"], max_new_tokens=100)
    assert (got[0].cut, got[1].cut) == (n - 32, 0)
    room = write(model, tokenizer, [prompt], max_new_tokens=4)[0]
    ids = tokenizer.encode(prompt)[-60:]
    assert room.text == tokenizer.decode(model.generate(torch.tensor([ids]), 4)[0, 60:].tolist())


def test_only_what_writes_may_be_asked(models, checkpoint: Callable[[str], Path]) -> None:
    encoder, tokenizer = load_pretrained(checkpoint("bert"), "masked_lm"), load_tokenizer(checkpoint("bert"))
    with pytest.raises(UserError, match="a bidirectional model with the head of masked_lm cannot"):
        write(encoder, tokenizer, ["x"], max_new_tokens=1)
