"""A domain's own questions: how rows are read, scored and matched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.evaluation import domain as module
from groundup.evaluation.domain import domain_eval, load_domain, matches, measure_domain, normalised
from groundup.evaluation.registry import EvalContext
from groundup.evaluation.table import results_table
from groundup.evaluation.writing import Written
from groundup.models import load_pretrained
from groundup.tokenizers.load import load_tokenizer

ROWS: list[dict[str, Any]] = [
    {"prompt": "1 and 2 make", "choices": ["3", "four"], "answer": 0, "tag": "sums"},
    {"prompt": "2 and 2 make ", "choices": ["3", "4", "a lot more than that"], "answer": "4", "tag": "sums"},
    {"prompt": "The capital of France is", "answer": "Paris", "tag": "places", "id": "fr"},
    {"prompt": "Say a number:", "answer": ["[0-9]+"], "match": "regex", "max_tokens": 4, "stop": []},
    {"prompt": "The capital of Italy is", "answer": ["Rome", "Roma"], "match": "contains", "tag": "places"},
]


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: Any) -> Path:
        path = tmp_path / "domain.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows or ROWS))
        return path

    return write


@pytest.fixture(scope="module")
def model(checkpoint: Callable[[str], Path]):
    return load_pretrained(checkpoint("gpt2"), dtype="fp32"), load_tokenizer(checkpoint("gpt2"))


def test_mixed_rows(model, file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"The capital of France is": " Paris.", "Say a number:": " it is 12", "The capital of Italy is": " Milan"}
    asked: list[dict] = []

    def written(model, tokenizer, prompts, **settings):
        asked.append(settings)
        return [Written(answers[prompt], 0) for prompt in prompts]

    monkeypatch.setattr(module, "write", written)
    lines: list[dict] = []
    numbers = measure_domain(*model, EvalContext("domain", data=file(), progress=False, sample=lines.append))
    native, tokenizer = model
    right, right_norm = [], []
    for row, gold in zip(ROWS[:2], (0, 1), strict=True):
        sums = []
        for choice in row["choices"]:
            context = tokenizer.encode(row["prompt"].rstrip())
            ids = tokenizer.encode(f"{row['prompt'].rstrip()} {choice}")
            log_p = native(torch.tensor([ids]))[0].log_softmax(-1)
            sums.append(sum(log_p[t - 1, ids[t]].item() for t in range(len(context), len(ids))))
        right.append(float(max(range(len(sums)), key=sums.__getitem__) == gold))
        norm = [s / len(choice) for s, choice in zip(sums, row["choices"], strict=True)]
        right_norm.append(float(max(range(len(sums)), key=norm.__getitem__) == gold))
        assert lines[len(right) - 1]["scores"] == pytest.approx(sums, abs=1e-4)
    assert (numbers["acc"], numbers["acc_norm"]) == (sum(right) / 2, sum(right_norm) / 2)
    assert (numbers["exact_match"], numbers["regex"], numbers["contains"]) == (1, 1, 0)
    assert (numbers["score"], numbers["n"]) == ((sum(right) + 2) / 5, 5)
    assert numbers["groups"]["places"]["score"] == 0.5
    assert numbers["groups"]["sums"]["n"] == 2
    assert [(s["max_new_tokens"], s["stop"]) for s in asked] == [(64, ("\n",)), (4, ())]
    assert [line["id"] for line in lines] == ["0", "1", "fr", "3", "4"]
    json.dumps(lines)
    table = results_table({"model": "m", "step": None, "data": "d", "tasks": {"domain-specific-eval": dict(numbers)}})
    assert "domain-specific-eval (5 questions)" in table
    assert "      places: score 0.5000" in table


def test_a_model_writes_answers(model, file: Callable[..., Path]) -> None:
    row = {"prompt": "1 and 2", "answer": "(?s).*", "match": "regex", "max_tokens": 3}
    numbers, lines = domain_eval(*model, load_domain(file(row)), progress=False)
    assert numbers == {"score": 1.0, "regex": 1.0, "n": 1}
    assert lines[0]["written"]


@pytest.mark.parametrize(
    ("written", "answers", "match", "right"),
    [
        (" Paris.", ["paris"], "exact", True),
        ("  the   CAPITAL ", ["The capital"], "exact", True),
        ("Paris, of course", ["Paris"], "exact", False),
        ("Paris, of course", ["Rome", "PARIS"], "contains", True),
        ("Rom", ["Rome"], "contains", False),
        ("ＡＢ", ["ab"], "exact", True),
        ("x = 42;", [r"\b42\b"], "regex", True),
        ("PARIS", ["paris"], "regex", False),
        ("", ["..."], "exact", False),
        ("anything", ["?"], "contains", False),
    ],
)
def test_matching(written: str, answers: list[str], match: str, right: bool) -> None:
    assert matches(written, answers, match) is right


def test_normalised() -> None:
    assert normalised(' "It is  3.5 km."\n') == "it is 3.5 km"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "a"}, "a row needs an 'answer'"),
        ({"answer": "a"}, "'prompt' is None, and text is wanted"),
        ({"prompt": "a", "answer": 3}, "'answer' is 3, and a text"),
        ({"prompt": "a", "answer": []}, r"'answer' is \[\]"),
        ({"prompt": "a", "answer": "b", "chioces": ["x"]}, "unknown key 'chioces'. Did you mean 'choices'"),
        ({"prompt": "a", "answer": 2, "choices": ["x", "y"]}, "'answer' is 2, and one of the 2 choices"),
        ({"prompt": "a", "answer": True, "choices": ["x", "y"]}, "'answer' is True"),
        ({"prompt": "a", "answer": "z", "choices": ["x", "y"]}, "'answer' is 'z'"),
        ({"prompt": "a", "answer": 0, "choices": ["x"]}, "two texts or more"),
        ({"prompt": "a", "answer": 0, "choices": ["x", "x"]}, "no two of them equal"),
        ({"prompt": "a", "answer": 0, "choices": ["x", "y"], "match": "exact"}, "'match' is for answers"),
        ({"prompt": "a", "answer": "b", "match": "regexp"}, "'match' is 'regexp'. Did you mean 'regex'"),
        ({"prompt": "a", "answer": "(", "match": "regex"}, "no regular expression"),
        ({"prompt": "a", "answer": "b", "max_tokens": -1}, "'max_tokens' is -1"),
        ({"prompt": "a", "answer": "b", "tag": 3}, "'tag' is 3"),
        (["a"], "holds a list"),
    ],
)
def test_wrong_rows_are_named(file: Callable[..., Path], row: Any, said: str) -> None:
    with pytest.raises(UserError, match=rf"domain\.jsonl:2.*{said}"):
        load_domain(file(ROWS[0], row))


def test_the_file_itself(model, tmp_path: Path, file: Callable[..., Path], checkpoint: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match="no file of rows"):
        load_domain(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UserError, match="is empty"):
        load_domain(tmp_path / "empty.jsonl")
    with pytest.raises(UserError, match="your own questions: name their file with --data"):
        measure_domain(*model, EvalContext("domain"))
    assert len(load_domain(file(), 2)) == 2
    encoder = load_pretrained(checkpoint("bert"), "masked_lm"), load_tokenizer(checkpoint("bert"))
    with pytest.raises(UserError, match="it needs a causal language model"):
        domain_eval(*encoder, load_domain(file()))
    numbers, _ = domain_eval(*encoder, load_domain(file(), 2), progress=False)
    assert numbers["n"] == 2
