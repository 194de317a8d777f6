"""models/generate.py: greedy text step by step, cached and not, and what draws are made from."""

from __future__ import annotations

import pytest
import torch
from groundup.errors import UserError
from groundup.models import Model
from groundup.models.generate import Sampling, next_logits
from torch import Tensor

V = 37
PROMPT = torch.randint(0, V, (3, 6), generator=torch.Generator().manual_seed(1))
LEFT = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]])


def greedy(model: Model, ids: Tensor, n: int) -> Tensor:
    """One row, the plain way: the whole text through the model for each token, cropped to its context."""
    for _ in range(n):
        logits = model(ids[:, -model.config.max_seq_len :])[:, -1]
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    return ids


@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy(decoder, use_cache) -> None:
    """30 tokens after 6: past longrope's 16, past the windows, past the context of 32."""
    ours = decoder.generate(PROMPT, 30, use_cache=use_cache)
    with torch.no_grad():
        expected = torch.cat([greedy(decoder, row[None], 30) for row in PROMPT])
    assert torch.equal(ours, expected)
    assert len(set(ours.flatten().tolist())) > 3


# Not longrope: it goes by the longest row of a batch, so that shorter ones differ alone.
@pytest.mark.parametrize("name", ["gpt2", "llama", "window", "gemma", "neox", "sincos", "no positions"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_left_padded_rows_are_as_if_alone(build, variants, name, use_cache) -> None:
    decoder = build(**variants[name])
    ours = decoder.generate(PROMPT, 20, attention_mask=LEFT, use_cache=use_cache)
    assert torch.equal(ours[:, :6], PROMPT)
    for row in range(3):
        alone = PROMPT[row : row + 1][:, LEFT[row].bool()]
        with torch.no_grad():
            expected = greedy(decoder, alone, 20)[0, alone.shape[1] :]
        assert torch.equal(ours[row, 6:], expected)


def test_draws_are_the_same_with_and_without_a_cache(decoder) -> None:
    settings = {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "seed": 4, "attention_mask": LEFT}
    cached = decoder.generate(PROMPT, 28, **settings)
    assert torch.equal(cached, decoder.generate(PROMPT, 28, **settings, use_cache=False))
    assert not torch.equal(cached, decoder.generate(PROMPT, 28, **settings | {"seed": 5}))


def test_the_cache_reads_each_token_once(build) -> None:
    model, read = build(), []
    model.embedder.register_forward_hook(lambda _, args, __: read.append(args[0].shape[1]))
    model.generate(PROMPT, 30)
    assert read == [6, *[1] * 26, *[32] * 3]  # to the end of the context, then the window slides
    read.clear()
    model.generate(PROMPT, 3, use_cache=False)
    assert read == [6, 7, 8]


def test_longrope_changes_its_list_where_the_model_does(build) -> None:
    from groundup.models.config import RopeConfig, RopeScaling

    scaling = RopeScaling("longrope", 2.0, 16, short_factor=(1.0, 1.2, 1.5), long_factor=(2.0, 3.0, 5.0))
    model, read = build(positions="rope", rope=RopeConfig(scaling=scaling)), []
    model.embedder.register_forward_hook(lambda _, args, __: read.append(args[0].shape[1]))
    model.generate(PROMPT, 14)
    assert read == [6, *[1] * 10, 17, 1, 1]


def test_rows_that_ended_are_filled_and_generation_stops(build) -> None:
    model = build()
    free = model.generate(PROMPT, 12)
    eos = free[0, 8].item()
    ours = model.generate(PROMPT, 12, eos_id=eos)
    for row in range(3):
        text = free[row].tolist()
        ends = next((i for i in range(6, 18) if text[i] == eos), 17) + 1
        expected = text[:ends] + [eos] * (ours.shape[1] - ends)
        assert ours[row].tolist() == expected[: ours.shape[1]]
    alone = model.generate(PROMPT[:1], 12, eos_id=eos)
    assert alone.shape[1] == free[0].tolist().index(eos, 6) + 1


def test_several_stop_tokens(build) -> None:
    model = build()
    free = model.generate(PROMPT[:1], 12)[0].tolist()
    stops = [36 if 36 not in free[6:] else 35, free[8]]
    assert model.generate(PROMPT[:1], 12, eos_id=stops)[0].tolist() == free[: free.index(free[8], 6) + 1]


LOGITS = torch.tensor([[2.0, 1.0, 0.5, -1.0, 0.9], [0.0, 0.0, 3.0, 0.1, 0.2]])


def shares(sampling: Sampling, n: int = 20_000) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    tokens = sampling.choose(LOGITS.repeat_interleave(n, 0), generator).view(2, n)
    return torch.stack([(tokens == token).float().mean(-1) for token in range(5)], -1)


def renormalised(temperature: float, kept: list[list[int]]) -> Tensor:
    probs = (LOGITS / temperature).softmax(-1)
    mask = torch.zeros_like(probs)
    for row, tokens in enumerate(kept):
        mask[row, tokens] = 1
    return probs * mask / (probs * mask).sum(-1, keepdim=True)


EVERY = [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize(
    ("sampling", "temperature", "kept"),
    [
        (Sampling(1.0), 1.0, EVERY),
        (Sampling(0.5), 0.5, EVERY),
        (Sampling(1.0, top_k=2), 1.0, [[0, 1], [2, 4]]),
        (Sampling(1.0, top_k=1), 1.0, [[0], [2]]),
        (Sampling(1.0, top_k=99), 1.0, EVERY),
        (Sampling(1.0, top_p=1.0), 1.0, EVERY),
        (Sampling(1.0, top_p=0.01), 1.0, [[0], [2]]),
        (Sampling(1.0, top_p=0.7), 1.0, [[0, 1, 4], [2]]),  # 0.51 + 0.19 + 0.17 pass 0.7; 0.82 does at once
        (Sampling(2.0, top_k=4, top_p=0.8), 2.0, [[0, 1, 4], [2, 4, 3]]),  # of a tie for the fourth place one stays
    ],
)
def test_what_is_drawn_from(sampling, temperature, kept) -> None:
    torch.testing.assert_close(shares(sampling), renormalised(temperature, kept), atol=0.015, rtol=0)


def test_greedy_takes_the_likeliest() -> None:
    assert Sampling().choose(LOGITS).tolist() == [0, 2]


def test_draws_repeat_with_a_seed_or_a_generator(build) -> None:
    model = build()
    torch.manual_seed(0)
    a = model.generate(PROMPT, 8, temperature=1.0, seed=3)
    torch.manual_seed(1)
    b = model.generate(PROMPT, 8, temperature=1.0, generator=torch.Generator().manual_seed(3))
    assert torch.equal(a, b)


def test_generation_needs_no_dropout_and_no_gradients(build) -> None:
    model = build(residual_dropout=0.5)
    quiet = model.generate(PROMPT, 8)
    assert torch.equal(model.train().generate(PROMPT, 8), quiet)
    assert model.training
    assert torch.equal(model.generate(PROMPT, 0), PROMPT)


def test_only_the_last_token_meets_the_head(build) -> None:
    model, rows = build(), []
    model.head.register_forward_hook(lambda _, args, __: rows.append(tuple(args[0].shape)))
    logits = next_logits(model, PROMPT, None, None)
    assert logits.dtype == torch.float32
    assert rows == [(3, 24)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature=-1.0: must be at least 0"),
        ({"temperature": 1.0, "top_k": 0}, "top_k=0: must be at least 1"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p=0.0: must be above 0"),
        ({"temperature": 1.0, "top_p": 1.1}, "top_p=1.1"),
        ({"top_k": 5}, "set a temperature above 0"),
        ({"seed": 1, "generator": torch.Generator()}, "seed and generator"),
        ({"attention_mask": LEFT.flip(1)}, "pad on the left"),
        ({"attention_mask": torch.tensor([[1, 0, 1, 1, 1, 1]] * 3)}, "pad on the left"),
        ({"attention_mask": torch.zeros(3, 6)}, "pad on the left"),
        ({"max_new_tokens": -1}, "max_new_tokens=-1"),
        ({"input_ids": PROMPT[0]}, r"input_ids is \(6,\): must be \(B, T\)"),
        ({"input_ids": PROMPT[:, :0]}, "at least one token"),
    ],
)
def test_what_is_refused(build, settings, message) -> None:
    with pytest.raises(UserError, match=message):
        build().generate(**{"input_ids": PROMPT, "max_new_tokens": 3} | settings)


@pytest.mark.parametrize(("task", "fields"), [("masked_lm", {"causal": False}), ("causal_lm", {"causal": False})])
def test_only_causal_language_models_generate(build, task, fields) -> None:
    with pytest.raises(UserError, match="only a causal language model generates"):
        build(task, **fields).generate(PROMPT, 3)
