from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from groundup.tokenizers import engine
from groundup.tokenizers.bpe import train_bpe
from groundup.tokenizers.engine import GPT2, GPT2_DIGITS, KNOWN_PATTERNS, Engine, byte_alphabet
from tiktoken import Encoding
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The twin is used from the first character."""
    monkeypatch.setattr(engine, "WORTHWHILE_CHARS", 0)
    return


def from_file(path: Path) -> Tokenizer:
    inner = Tokenizer.from_file(str(path))
    inner.no_padding()
    inner.no_truncation()
    return inner


def slow_ids(inner: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in inner.encode_batch(texts, add_special_tokens=False)]


@pytest.mark.parametrize(("name", "has_twin"), [("gpt2", True), ("roberta", True), ("pythia", False)])
def test_the_twin_gives_the_tokenizer_s_own_ids(shared: Path, texts: list[str], name: str, has_twin: bool) -> None:
    inner = from_file(shared / f"tokenizers/{name}/tokenizer.json")
    fast = Engine(inner)
    assert (fast._twin is not None) == has_twin
    assert [ids.tolist() for ids in fast.encode_arrays(texts)] == slow_ids(inner, texts)


@pytest.mark.parametrize("simplify", [False, True])
def test_a_trained_bpe_s_twin(texts: list[str], simplify: bool) -> None:
    tokenizer = train_bpe(texts, 3000, simplify=simplify)
    assert tokenizer._engine._twin is not None
    assert tokenizer.encode_batch(texts) == slow_ids(tokenizer._inner, texts)


def byte_level(merges: list[tuple[str, str]], vocab: dict[str, int] | None = None, **model: Any) -> Tokenizer:
    alphabet = byte_alphabet()
    tokens = list(dict.fromkeys([*alphabet, *("".join(pair) for pair in merges)]))
    vocab = vocab or {token: i for i, token in enumerate(tokens)}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=merges, **model))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return inner


def test_no_twin_where_a_merge_makes_a_token_twice() -> None:
    # "abc": tokenizers joins bc first and then a + bc; a twin that knew one of the ranks only would differ.
    inner = byte_level([("b", "c"), ("a", "b"), ("ab", "c"), ("a", "bc")])
    assert Engine(inner)._twin is None


def test_no_twin_where_a_token_s_own_bytes_do_not_give_it() -> None:
    # c + d comes first, so "bcd" is never reached through b + c: tiktoken would join b + cd, tokenizers does not.
    inner = byte_level([("c", "d"), ("b", "c"), ("bc", "d")])
    assert slow_ids(inner, ["bcd"]) != [[inner.token_to_id("bcd")]]
    fast = Engine(inner)
    assert fast._twin is None
    assert [ids.tolist() for ids in fast.encode_arrays(["bcd abcd"])] == slow_ids(inner, ["bcd abcd"])


def test_entries_no_merge_makes_are_left_out() -> None:
    alphabet = byte_alphabet()
    vocab = {token: i for i, token in enumerate([*alphabet, "ab", "xyz"])}
    fast = Engine(byte_level([("a", "b")], vocab))
    assert fast._twin is not None
    assert fast.encode_arrays(["abxyz"])[0].tolist() == [vocab[t] for t in ("ab", "x", "y", "z")]
    assert Engine(byte_level([("a", "b")], vocab, ignore_merges=True))._twin is None


def test_ids_need_not_follow_the_merges() -> None:
    tokens = [*byte_alphabet(), "ab", "abc"]
    vocab = {token: len(tokens) - 1 - i for i, token in enumerate(tokens)}
    inner = byte_level([("a", "b"), ("ab", "c")], vocab)
    fast = Engine(inner)
    assert fast._twin is not None
    assert fast.encode_arrays(["abcab ab"])[0].tolist() == slow_ids(inner, ["abcab ab"])[0]


def words_of_both(pattern: str, text: str) -> tuple[list[str], list[str]]:
    """How each library splits a text: tokenizers' own words, and those of a tiktoken that knows each word whole."""
    words = [w for w, _ in pre_tokenizers.Split(Regex(pattern), behavior="isolated").pre_tokenize_str(text)]
    ranks = {bytes([b]): b for b in range(256)}
    for word in dict.fromkeys(words):
        ranks.setdefault(word.encode(), len(ranks))
    theirs = Encoding("words", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return words, [theirs.decode_single_token_bytes(i).decode("utf-8", "replace") for i in theirs.encode_ordinary(text)]


@pytest.mark.parametrize("pattern", KNOWN_PATTERNS)
def test_both_libraries_split_alike(texts: list[str], pattern: str) -> None:
    for text in ["\n".join(texts), *texts[:12]]:
        words, theirs = words_of_both(pattern, text)
        assert theirs == words
    assert words_of_both(pattern, "ab cd")[1] == ["ab", " cd"]


@pytest.mark.slow
@pytest.mark.parametrize("members", [r"\p{L}", r"\p{N}", r"\s"])
def test_both_libraries_know_the_same_unicode(members: str) -> None:
    """What the patterns are made of, over every plane that has characters."""
    codes = [*range(1, 0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE0200)]
    text = "\0".join(map(chr, codes))  # NUL is in none of the classes
    outside = pre_tokenizers.Split(Regex(members), behavior="removed").pre_tokenize_str(text)
    inside = Encoding("x", pat_str=members, mergeable_ranks={bytes([b]): b for b in range(256)}, special_tokens={})
    rest = set(text).difference(*(piece for piece, _ in outside))
    assert set(inside.decode(inside.encode_ordinary(text))) == rest
    assert len(rest) > 20


def test_patterns_of_known_families_are_recognised(shared: Path) -> None:
    gpt2 = json.loads((shared / "tokenizers/gpt2/tokenizer.json").read_text(encoding="utf-8"))["pre_tokenizer"]
    assert engine.byte_level_pattern(gpt2) == GPT2
    assert engine.byte_level_pattern({**gpt2, "add_prefix_space": True}) is None
    assert engine.byte_level_pattern(None) is None
    assert engine.byte_level_pattern({"type": "Metaspace"}) is None
    trained = json.loads(train_bpe(["some text " * 3], 258)._inner.to_str())["pre_tokenizer"]
    assert engine.byte_level_pattern(trained) == GPT2_DIGITS
    other = json.loads(json.dumps(trained).replace(json.dumps(GPT2_DIGITS), '"[a-z]+"'))
    assert engine.byte_level_pattern(other) is None


@pytest.mark.parametrize(
    ("token", "splittable"),
    [
        (AddedToken("<mask>", lstrip=True), True),
        (AddedToken("  "), True),
        (AddedToken(" word"), True),
        (AddedToken("end of text"), False),
        (AddedToken("a\n\nb"), False),
        (AddedToken("END", rstrip=True), False),
        (AddedToken("END", single_word=True), False),
    ],
)
def test_added_tokens_that_a_cut_could_divide(token: AddedToken, splittable: bool) -> None:
    from groundup.data.cut_points import cut

    inner = byte_level([("a", "b")])
    inner.add_tokens([token])
    fast = Engine(inner)
    assert fast.splittable == splittable
    if splittable:
        text = f"ab {token.content} ab {token.content}\nab  ab{token.content} word" * 3
        assert len(cut(text, 1)) > 9
        assert [i for ids in fast.encode_arrays(cut(text, 1)) for i in ids] == slow_ids(inner, [text])[0]
