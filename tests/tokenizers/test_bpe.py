from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from groundup.errors import UserError
from groundup.tokenizers.bpe import BPETokenizer, train_bpe
from groundup.tokenizers.load import load_tokenizer

CORPUS = [
    "the cat sat on the mat, the cat ran at 1234\n",
    "Whereas recognition of the inherent dignity and of the equal and inalienable rights is the foundation of freedom",
    "the mat that the cat had: 1999 cats!\n\tréunion 😀 and another rather long sentence of ordinary words",
] * 3


def counts_of_each_merge(documents: list[str], merges: list[list[str]], pattern: str) -> list[tuple[int, int]]:
    """Sennrich's algorithm, slowly, along given merges: (count of the pair merged, count of the best pair) of each."""
    words = Counter(word for text in documents for word in re.findall(pattern, text))
    split = {word: list(word.replace(" ", "Ġ")) for word in words}
    counts = []
    for merge in merges:
        pairs: Counter[tuple[str, ...]] = Counter()
        for word, count in words.items():
            for pair in zip(split[word], split[word][1:], strict=False):
                pairs[pair] += count
        counts.append((pairs[tuple(merge)], max(pairs.values())))
        for word, parts in split.items():
            i, out = 0, []
            while i < len(parts):
                joined = parts[i : i + 2] == merge
                out.append("".join(parts[i : i + 2]) if joined else parts[i])
                i += 2 if joined else 1
            split[word] = out
    return counts


def test_each_merge_is_a_most_frequent_pair() -> None:
    rng = random.Random(0)
    words = ["low", "lower", "newest", "widest", "slow", "wide", "lllll"]
    text = " ".join(rng.choices(words, weights=[50, 21, 63, 34, 7, 5, 9], k=400))
    merges = json.loads(train_bpe([text], 257 + 20, simplify=False)._inner.to_str())["model"]["merges"]
    counts = counts_of_each_merge([text], [list(merge) for merge in merges], r" ?[a-z]+")
    assert len(counts) == 20
    assert [count for count, _ in counts] == [best for _, best in counts]


@pytest.mark.parametrize("simplify", [False, True])
def test_exactly_the_vocabulary_asked_for(simplify: bool) -> None:
    tokenizer = train_bpe(CORPUS, 300, simplify=simplify)
    assert tokenizer.vocab_size == 300
    assert tokenizer.eos_id == 299
    assert tokenizer.decode([299]) == "<|endoftext|>"
    assert sorted(tokenizer.decode([i]).encode()[:1] or b"?" for i in range(300))  # every id decodes


def test_without_simplify_every_text_comes_back() -> None:
    tokenizer = train_bpe(CORPUS, 320, simplify=False)
    for text in [*CORPUS, "日本語 😀 \x00\x85 \u2028", "  spaces\n\n\t", "<|endoftext|>"]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_text_that_spells_the_end_token_does_not_end_a_document() -> None:
    tokenizer = train_bpe(CORPUS, 300, simplify=False)
    assert tokenizer.eos_id not in tokenizer.encode("a <|endoftext|> b")


def test_simplify_drops_foreign_symbols_and_splits_digits() -> None:
    tokenizer = train_bpe([*CORPUS, "19992024 19992024 19992024"], 300)
    assert tokenizer.normalize("“naïve” ‘ﬁne’ – 日本 12½…") == "\"naive\" 'fine' -  1212..."
    assert tokenizer.decode(tokenizer.encode("naïve 日本")) == "naive "
    digits = tokenizer.encode("19992024")
    assert [tokenizer.decode([i]) for i in digits] == list("19992024")


def test_without_simplify_digits_merge() -> None:
    tokenizer = train_bpe([*CORPUS, "19992024 19992024 19992024"], 330, simplify=False)
    assert len(tokenizer.encode("19992024")) < 8


def test_a_vocabulary_the_corpus_cannot_give() -> None:
    with pytest.raises(UserError, match=r"trained on tiny has only (\d+) entries.*asks for 5000: set it to \1 or less"):
        train_bpe(CORPUS, 5000, corpus="tiny")
    with pytest.raises(UserError, match=r"lower model\.tokenizer_min_frequency"):
        train_bpe(CORPUS, 330, min_frequency=4)
    with pytest.raises(UserError, match="at least 257"):
        train_bpe(CORPUS, 256)
    with pytest.raises(UserError, match="starts at 1"):
        train_bpe(CORPUS, 300, min_frequency=0)


def test_the_number_in_the_error_is_the_one_that_works() -> None:
    with pytest.raises(UserError) as caught:
        train_bpe(CORPUS, 5000)
    entries = int(re.search(r"set it to (\d+)", str(caught.value))[1])  # type: ignore[index]
    assert train_bpe(CORPUS, entries).vocab_size == entries


def test_min_frequency_only_stops_earlier() -> None:
    one, two = train_bpe(CORPUS, 290, simplify=False), train_bpe(CORPUS, 290, simplify=False, min_frequency=2)
    assert one.fingerprint == two.fingerprint


def test_training_is_deterministic_and_settings_change_the_fingerprint() -> None:
    prints = [train_bpe(CORPUS, *a, **k).fingerprint for a, k in [((300,), {}), ((300,), {}), ((301,), {})]]
    assert prints[0] == prints[1] != prints[2]
    assert train_bpe(CORPUS, 300, simplify=False).fingerprint != prints[0]


def test_saved_loaded_and_read_by_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = train_bpe(CORPUS, 310)
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(again, BPETokenizer)
    assert again.fingerprint == tokenizer.fingerprint
    assert (again.eos_id, again.vocab_size) == (309, 310)
    for text in [*CORPUS, "été 2024 “q” 😀", "x  y\n\n z "]:
        assert again.encode(text) == tokenizer.encode(text) == theirs(text).input_ids
    assert theirs.eos_token_id == 309


def test_at_most_takes_what_the_corpus_gives() -> None:
    small = train_bpe(CORPUS, 5000, at_most=True)
    with pytest.raises(UserError, match=f"has only {small.vocab_size} entries"):
        train_bpe(CORPUS, 5000)
    assert train_bpe(CORPUS, 300, at_most=True).fingerprint == train_bpe(CORPUS, 300).fingerprint


def test_a_mask_token_that_no_text_can_spell(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = train_bpe(CORPUS, 310, simplify=False, has_mask=True)
    assert (tokenizer.vocab_size, tokenizer.eos_id, tokenizer.mask_id) == (310, 308, 309)
    text = "[MASK] a_b <|endoftext|> [MASK]"
    assert not {308, 309} & set(tokenizer.encode(text))
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert train_bpe(CORPUS, 310, simplify=False).mask_id == ord("_") - ord("!")  # as it is without
    tokenizer.save(tmp_path)
    again, theirs = load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert (again.mask_id, again.fingerprint) == (309, tokenizer.fingerprint)
    assert (theirs.mask_token_id, theirs.eos_token_id) == (309, 308)
    assert theirs(text).input_ids == again.encode(text) == tokenizer.encode(text)
