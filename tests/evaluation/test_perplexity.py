"""Perplexity by sliding windows against a plain loop over transformers' logits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from groundup.data.corpus import open_corpus
from groundup.data.stream import TokenStream
from groundup.data.text import load_text
from groundup.errors import UserError
from groundup.evaluation.perplexity import perplexity
from groundup.models import load_pretrained
from groundup.tokenizers.load import load_tokenizer

CONTEXT = 48


def recipe(theirs: torch.nn.Module, ids: Sequence[int], context: int, stride: int) -> tuple[float, int]:
    """(nats, tokens) of one document, as transformers' documentation goes through it; summed over tokens."""
    nats, count, done = 0.0, 0, 1
    for begin in range(0, len(ids), stride):
        end = min(begin + context, len(ids))
        row = torch.tensor([ids[begin:end]])
        with torch.no_grad():
            log_p = theirs(row).logits[0, :-1].log_softmax(-1)
        surprise = -log_p[torch.arange(end - begin - 1), row[0, 1:]].double()  # of tokens begin + 1 .. end - 1
        nats += surprise[done - begin - 1 :].sum().item()
        count += end - done
        done = end
        if end == len(ids):
            break
    return nats, count


@pytest.fixture(scope="module")
def part(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 2,500 characters of WikiText-2's test text."""
    path = tmp_path_factory.mktemp("wikitext") / "part.txt"
    path.write_text((shared / "text/wikitext-2/wiki.test.raw").read_text(encoding="utf-8")[:2500], encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def models(checkpoint: Callable[[str], Path]) -> Callable[[str], tuple]:
    import transformers

    @cache
    def both(name: str) -> tuple:
        theirs = transformers.AutoModelForCausalLM.from_pretrained(checkpoint(name)).eval()
        return load_pretrained(checkpoint(name), dtype="fp32"), theirs, load_tokenizer(checkpoint(name))

    return both


def stream(path: Path, tokenizer, cache_dir: Path, documents: str = "file") -> TokenStream:
    corpus = open_corpus(path, documents=documents)
    return load_text(corpus, tokenizer, val_fraction=0, cache_dir=cache_dir, framed=True, progress=False).train


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("stride", [1, 17, 24, 47])
def test_any_stride_equals_the_plain_recipe(models, part: Path, tmp_path: Path, name: str, stride: int) -> None:
    ours, theirs, tokenizer = models(name)
    if stride == 1:
        part = short(part, tmp_path)
    text = stream(part, tokenizer, tmp_path)
    ids = tokenizer.encode(part.read_text(encoding="utf-8"), add_special_tokens=True)
    nats, count = recipe(theirs, ids, CONTEXT, stride)
    words = len(re.split(r"\s+", part.read_text(encoding="utf-8")))
    got = perplexity(ours, text, batch_size=5, context=CONTEXT, stride=stride, ending=1, words=words)
    assert got["tokens"] == count == len(ids) - 1
    assert got["loss"] == pytest.approx(nats / count, abs=1e-5)
    assert got["perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-4)
    whole = nats / count * (len(ids) - (name == "llama"))
    n_bytes = len(part.read_bytes())
    assert got["bits_per_byte"] == pytest.approx(whole / n_bytes / math.log(2), rel=1e-5)
    assert got["byte_perplexity"] == pytest.approx(math.exp(whole / n_bytes), rel=1e-5)
    assert got["word_perplexity"] == pytest.approx(math.exp(whole / words), rel=1e-4)


def short(part: Path, folder: Path) -> Path:
    path = folder / "short.txt"
    path.write_text(part.read_text(encoding="utf-8")[:300], encoding="utf-8")
    return path


def test_documents_do_not_see_each_other(models, part: Path, tmp_path: Path) -> None:
    ours, theirs, tokenizer = models("llama")
    lines = [line for line in part.read_text(encoding="utf-8").splitlines() if line.strip()]
    path = tmp_path / "lines.txt"
    path.write_text("\n".join([*lines, "x"]), encoding="utf-8")
    text = stream(path, tokenizer, tmp_path, "line")
    assert text.n_documents == len(lines) + 1 > 3
    rows = [recipe(theirs, tokenizer.encode(line, add_special_tokens=True), CONTEXT, 20) for line in [*lines, "x"]]
    got = perplexity(ours, text, batch_size=3, context=CONTEXT, stride=20, ending=1)
    assert got["tokens"] == sum(count for _, count in rows)
    assert got["loss"] == pytest.approx(sum(nats for nats, _ in rows) / got["tokens"], abs=1e-5)


@pytest.mark.parametrize("documents", ["file", "line"])
@pytest.mark.parametrize("stride", [None, 13])
def test_neither_batch_size_nor_padding_changes_the_number(
    models, part: Path, tmp_path: Path, documents: str, stride: int | None
) -> None:
    ours, _, tokenizer = models("gpt2")
    text = stream(part, tokenizer, tmp_path, documents)
    numbers = [perplexity(ours, text, batch_size=n, context=CONTEXT, stride=stride) for n in (1, 2, 7, 64)]
    for other in numbers[1:]:
        assert other["tokens"] == numbers[0]["tokens"]
        assert other["loss"] == pytest.approx(numbers[0]["loss"], abs=2e-6)


def test_a_stride_as_long_as_the_context_is_none(models, part: Path, tmp_path: Path) -> None:
    ours, _, tokenizer = models("gpt2")
    text = stream(part, tokenizer, tmp_path)
    plain, strided = (perplexity(ours, text, context=CONTEXT, stride=stride) for stride in (None, CONTEXT))
    assert plain | {"seconds": 0} == strided | {"seconds": 0}


def test_a_limit_takes_the_first_windows(models, part: Path, tmp_path: Path) -> None:
    ours, theirs, tokenizer = models("gpt2")
    text = stream(part, tokenizer, tmp_path)
    ids = tokenizer.encode(part.read_text(encoding="utf-8"))
    got = perplexity(ours, text, batch_size=2, context=CONTEXT, stride=20, limit=2, ending=1)
    nats, count = recipe(theirs, ids[: CONTEXT + 3 * 20], CONTEXT, 20)
    assert (got["tokens"], got["loss"]) == (count, pytest.approx(nats / count, abs=1e-5))


def test_the_weights_own_dtype(models, part: Path, tmp_path: Path, checkpoint: Callable[[str], Path]) -> None:
    _, _, tokenizer = models("gpt2")
    half = load_pretrained(checkpoint("gpt2"), dtype="bf16")
    text = stream(part, tokenizer, tmp_path)
    ids = tokenizer.encode(part.read_text(encoding="utf-8"))[:CONTEXT]
    got = perplexity(half, text, batch_size=1, context=CONTEXT, stride=20, limit=1)
    with torch.no_grad():
        logits = half(torch.tensor([ids[:-1]]))[0]
    assert logits.dtype == torch.bfloat16
    assert got["loss"] == pytest.approx(F.cross_entropy(logits.float(), torch.tensor(ids[1:])).item(), abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"context": 65}, "a context of 65 tokens: this model takes from 2 to 64"),
        ({"context": 1}, "a context of 1 tokens"),
        ({"context": 32, "stride": 33}, "a stride of 33 in a context of 32 tokens: give one from 1 to 32"),
        ({"stride": 0}, "a stride of 0 in a context of 64 tokens"),
    ],
)
def test_what_does_not_fit_is_refused(models, part: Path, tmp_path: Path, settings: dict, said: str) -> None:
    ours, _, tokenizer = models("gpt2")
    with pytest.raises(UserError, match=said):
        perplexity(ours, stream(part, tokenizer, tmp_path), **settings)
