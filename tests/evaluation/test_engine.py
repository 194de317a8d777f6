"""Log-likelihoods against one plain forward pass a request; batches, memory, what is kept, what is refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.evaluation import engine
from groundup.evaluation.engine import loglikelihoods, score
from groundup.evaluation.requests import encode_requests, template_of
from groundup.evaluation.scores import Scores, fingerprint
from groundup.evaluation.sharing import share
from groundup.models import ModelConfig, build_model, load_pretrained
from groundup.models.config import RopeConfig, RopeScaling
from groundup.models.model import Model
from groundup.tokenizers.base import Tokenizer
from groundup.tokenizers.load import load_tokenizer

WORDS = ["1", "and", "2", "make", "3.", "what", "ever", "is", "this", "then"]


def some_requests(seed: int = 0) -> list[tuple[str, str]]:
    """Shared contexts with several continuations, alone ones, empty ones, prefixes of each other, repeated ones."""
    draw = random.Random(seed)

    def text(most: int) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))

    asked = [(context, f" {text(4)}") for context in [text(9) for _ in range(8)] for _ in range(4)]
    asked += [("", text(5)) for _ in range(4)] + [("1 and 2", " make"), ("1 and 2", " make 3."), ("and  ", "2")]
    asked += [(f"{text(3)} {name} said", " that 1 and 2 make 3.") for name in ("this", "what") * 2]
    return asked + asked[:3]


def by_hand(model: Model, tokenizer: Tokenizer, asked: list[tuple[str, str]]) -> list[tuple[float, int, bool]]:
    template = template_of(tokenizer, model)
    found: list[tuple[float, int, bool]] = []
    with torch.no_grad():
        for item in encode_requests(asked, tokenizer, template, model.config.max_seq_len):
            logs, best = 0.0, True
            for at in range(len(item.ids) - item.n, len(item.ids)):
                if model.config.causal:
                    logits = model(torch.tensor([item.ids[:at]]))[0, -1]
                else:
                    ids = [*item.ids, *item.ending]
                    ids[at] = tokenizer.mask_id or 0
                    logits = model(torch.tensor([ids]))[0, at]
                logs += logits.log_softmax(-1)[item.ids[at]].item()
                best &= int(logits.argmax()) == item.ids[at]
            found.append((logs, item.n, best))
    return found


def same(ours: Any, expected: Any, within: float = 1e-4) -> None:
    assert [one[0] for one in ours] == pytest.approx([one[0] for one in expected], abs=within)
    assert [tuple(one[1:]) for one in ours] == [tuple(one[1:]) for one in expected]


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "roberta", "deberta"])
def test_against_a_pass_for_each_token(checkpoint: Callable[[str], Path], name: str) -> None:
    model, tokenizer = load_pretrained(checkpoint(name), dtype="fp32"), load_tokenizer(checkpoint(name))
    asked = some_requests()
    expected = by_hand(model, tokenizer, asked)
    for settings in ({}, {"batch_tokens": 1}, {"batch_tokens": 50}, {"batch_size": 3}):
        same(loglikelihoods(model, tokenizer, asked, progress=False, **settings), expected)


LONGROPE = RopeScaling(
    type="longrope", factor=4.0, original_max_seq_len=14, short_factor=(1.0, 1.1), long_factor=(2.0, 3.5)
)
SIZES: dict[str, Any] = {"vocab_size": 300, "d_model": 16, "n_layers": 3, "n_heads": 4, "d_ff": 24, "max_seq_len": 90}
KINDS: dict[str, dict[str, Any]] = {
    "windows": {"positions": "rope", "window": 5, "layer_pattern": ("local", "global")},
    "grouped, soft-capped": {"positions": "rope", "n_kv_heads": 2, "attn_softcap": 3.0, "logit_softcap": 4.0},
    "no positions": {"positions": "none"},
    "sinusoids": {"positions": "sincos"},
    "learned, just long enough": {"positions": "learned", "max_seq_len": 24},
    "longrope": {"positions": "rope", "rope": RopeConfig(scaling=LONGROPE)},
    "parallel": {"positions": "rope", "parallel": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_positions(kind: str, checkpoint: Callable[[str], Path]) -> None:
    model = build_model(ModelConfig(**{**SIZES, **KINDS[kind]}), seed=3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.2)
    tokenizer = load_tokenizer(checkpoint("gpt2"))
    asked = some_requests(1)
    if kind == "learned, just long enough":
        asked += [("1 and 2 make 3. " * 9, " then")]
    if kind == "longrope":  # token by token the list of frequencies would change on the way: a pass for each request
        items = encode_requests(asked, tokenizer, template_of(tokenizer, model), 90)
        assert {len(item.ids) > 15 for item in items} == {True, False}
        expected = []
        for item in items:
            logs = model(torch.tensor([item.ids[:-1]]))[0].log_softmax(-1).detach()
            places = range(len(item.ids) - 1 - item.n, len(item.ids) - 1)
            expected.append(sum(logs[at, item.ids[at + 1]].item() for at in places))
        found = loglikelihoods(model, tokenizer, asked, progress=False)
        assert [one.sum for one in found] == pytest.approx(expected, abs=1e-4)
        return
    same(loglikelihoods(model, tokenizer, asked, progress=False), by_hand(model, tokenizer, asked))


def test_common_beginnings_are_read_once(checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load_pretrained(checkpoint("gpt2"), dtype="fp32"), load_tokenizer(checkpoint("gpt2"))
    read, scored = [0], [0]
    hidden_states, head = model.hidden_states, model.head.forward

    def counting(ids: torch.Tensor, *args: Any, **settings: Any) -> torch.Tensor:
        read[0] += ids.numel()
        return hidden_states(ids, *args, **settings)

    def counting_head(hidden: torch.Tensor) -> torch.Tensor:
        scored[0] += hidden.shape[0]
        return head(hidden)

    monkeypatch.setattr(model, "hidden_states", counting)
    monkeypatch.setattr(model.head, "forward", counting_head)
    context, ends = "1 and 2 make 3. 1 and 2 make", [" xyz", " abc", " uvw", " qrs"]
    loglikelihoods(model, tokenizer, [(context, end) for end in ends], progress=False)
    C, n = len(tokenizer.encode(context)), [len(tokenizer.encode(end)) for end in ends]
    assert len(set(n)) == 1
    assert read[0] <= C + sum(k - 1 for k in n)  # what continuations begin with alike is shared too
    assert scored[0] <= 1 + sum(k - 1 for k in n)


def test_groups_hold_every_row_once_and_save_the_most() -> None:
    draw = random.Random(5)
    rows = list({tuple(draw.choices(range(3), k=draw.randint(1, 30))) for _ in range(200)})
    rows += [(9,) * 50 + (i, j) for i in range(4) for j in range(3)]
    groups = share(rows)
    assert sorted(row for group in groups for row in group.rows) == sorted(rows)
    for group in groups:
        assert len({row[: group.prefix] for row in group.rows}) == 1
    assert sum(group.tokens for group in groups) < sum(map(len, rows)) - 11 * 50 + 60
    assert [group.prefix for group in share([(1, 2), (3, 4)])] == [2, 2]


# --- encoding


def test_where_a_context_ends(checkpoint: Callable[[str], Path]) -> None:
    """Spaces go to the continuation, an empty context is BOS or else EOS, what is too long loses its beginning."""
    for name, bos in (("gpt2", []), ("llama", [0])):
        model, tokenizer = load_pretrained(checkpoint(name)), load_tokenizer(checkpoint(name))
        asked = [("1 and \n", "2"), ("", "2"), ("x" * 80, " y")]
        spaces, empty, long = encode_requests(asked, tokenizer, template_of(tokenizer, model), 64)
        assert spaces.ids == (*bos, *tokenizer.encode("1 and \n2"))
        assert spaces.n == len(tokenizer.encode("1 and \n2")) - len(tokenizer.encode("1 and"))
        assert empty.ids == (0, *tokenizer.encode("2"))
        assert (len(long.ids), long.ids[-2:], long.cut) == (65, tuple(tokenizer.encode(" y")), 80 + 2 + len(bos) - 65)


def test_bos_by_the_template_unless_said_otherwise(checkpoint: Callable[[str], Path], capsys: Any) -> None:
    model, tokenizer = load_pretrained(checkpoint("llama")), load_tokenizer(checkpoint("llama"))
    assert template_of(tokenizer, model).before == (0,)
    assert template_of(tokenizer, model, add_bos=False).before == ()
    plain = load_tokenizer(checkpoint("gpt2"))
    assert template_of(plain, model).before == ()
    assert template_of(plain, model, add_bos=True).before == (plain.bos_id,)
    assert model.origin is not None
    model.origin.family = "gemma2"
    assert template_of(plain, model).before == (plain.bos_id,)
    assert "models of the family gemma2 need one: it is added" in capsys.readouterr().err
    plain.bos_id = None
    with pytest.raises(UserError, match="models of the family gemma2 need a BOS token before every text, and"):
        template_of(plain, model)
    model.origin.family = "llama"
    plain.eos_id = None
    with pytest.raises(UserError, match="a text without a context needs a token before it"):
        loglikelihoods(model, plain, [("", "1")], progress=False)


# --- memory, and what is kept


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_out_of_memory_halves_the_batch(
    checkpoint: Callable[[str], Path], name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    model, tokenizer = load_pretrained(checkpoint(name), dtype="fp32"), load_tokenizer(checkpoint(name))
    asked = some_requests()
    expected = loglikelihoods(model, tokenizer, asked, progress=False)
    hidden_states, room = model.hidden_states, [100]

    def small(ids: torch.Tensor, *args: Any, **settings: Any) -> torch.Tensor:
        if ids.numel() > room[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return hidden_states(ids, *args, **settings)

    monkeypatch.setattr(model, "hidden_states", small)
    same(loglikelihoods(model, tokenizer, asked, progress=False, batch_tokens=700), expected)
    assert "out of memory: going on with 87 tokens in a batch" in capsys.readouterr().err
    room[0] = 3
    with pytest.raises(UserError, match=r"does not hold one text of \d+ tokens"):
        loglikelihoods(model, tokenizer, asked, progress=False)
    monkeypatch.setattr(model, "hidden_states", lambda *_, **__: torch.zeros(1) @ torch.zeros(2))
    with pytest.raises(RuntimeError, match="size"):
        loglikelihoods(model, tokenizer, asked, progress=False)


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_what_was_scored_is_not_scored_again(
    checkpoint: Callable[[str], Path], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    model, tokenizer = load_pretrained(checkpoint(name), dtype="fp32"), load_tokenizer(checkpoint(name))
    asked, mark = some_requests(), fingerprint(model)
    expected = loglikelihoods(model, tokenizer, asked, progress=False)
    hidden_states, left = model.hidden_states, [40]

    def stopping(ids: torch.Tensor, *args: Any, **settings: Any) -> torch.Tensor:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return hidden_states(ids, *args, **settings)

    file = tmp_path / "scores.jsonl"
    monkeypatch.setattr(model, "hidden_states", stopping)
    small = {"progress": False, "batch_tokens": 2}
    with pytest.raises(KeyboardInterrupt):
        loglikelihoods(model, tokenizer, asked, scores=Scores(file, mark), **small)
    kept = file.read_text().splitlines()
    assert 0 < len(kept) < len(set(asked))
    file.write_text("\n".join(kept) + '\n{"key": "half a li')
    left[0] = 10_000
    same(loglikelihoods(model, tokenizer, asked, scores=Scores(file, mark), **small), expected)
    assert f"{len(kept)} requests were scored before" in capsys.readouterr().err
    left[0] = 0  # all are known now, also those after the line that was broken off
    same(loglikelihoods(model, tokenizer, asked, scores=Scores(file, mark), **small), expected)
    assert sum("sum" in line for line in file.read_text().splitlines()) == len(set(asked))
    with pytest.raises(KeyboardInterrupt):  # another model's are not taken
        loglikelihoods(model, tokenizer, asked, scores=Scores(file, "another"), **small)


def test_a_fingerprint_sees_every_weight(checkpoint: Callable[[str], Path]) -> None:
    model = load_pretrained(checkpoint("gpt2"), dtype="fp32")
    before = fingerprint(model)
    assert before == fingerprint(load_pretrained(checkpoint("gpt2"), dtype="fp32"))
    with torch.no_grad():
        model.core.layers[1].ffn.f.up.weight[3, 5] += 1e-4
    assert fingerprint(model) != before
    assert fingerprint(load_pretrained(checkpoint("gpt2"), dtype="bf16")) != before


# --- bad input


def test_what_is_refused(checkpoint: Callable[[str], Path], capsys: Any) -> None:
    model, tokenizer = load_pretrained(checkpoint("gpt2"), dtype="fp32"), load_tokenizer(checkpoint("gpt2"))
    with pytest.raises(
        UserError, match=r"rows:7: the continuation 'yyy.*' has 300 tokens, and the model reads 64: leave"
    ):
        loglikelihoods(model, tokenizer, [("1", "y" * 300)], where=["rows:7"], progress=False)
    with pytest.raises(UserError, match="rows:8: the continuation '' has no tokens of its own after its context"):
        loglikelihoods(model, tokenizer, [("1", "")], where=["rows:8"], progress=False)
    loglikelihoods(model, tokenizer, [("x" * 300, " y"), ("1", "2")], progress=False)
    assert (
        "1 of 2 requests have more than the 64 tokens the model reads: their contexts lose" in capsys.readouterr().err
    )
    for name, task in (("electra", "replaced_token"), ("bare_bert", "encoder")):
        other = load_pretrained(checkpoint(name))
        with pytest.raises(UserError, match=f"continuations need a head that predicts tokens, .* for '{task}'"):
            loglikelihoods(other, tokenizer, [("1", "2")], progress=False)
    with pytest.raises(UserError, match="--batch-tokens 0: must be at least 1"):
        engine.limit_for(model, 0, None)
    bert, plain = load_pretrained(checkpoint("bert")), load_tokenizer(checkpoint("bert"))
    plain.mask_id = None
    with pytest.raises(UserError, match="the tokenizer names none"):
        loglikelihoods(bert, plain, [("1", "2")], progress=False)


def test_nothing_to_score(checkpoint: Callable[[str], Path]) -> None:
    assert score(load_pretrained(checkpoint("gpt2")), [], progress=False) == []
