"""Classification metrics against scikit-learn's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from groundup.data.sampling import Batch
from groundup.errors import UserError
from groundup.evaluation.classification import Confusion, classify
from groundup.evaluation.plots import plot_confusion
from groundup.models.config import ModelConfig
from groundup.models.model import Model, build_model
from groundup.trainers.precision import build_precision


def counted(gold: np.ndarray, taken: np.ndarray, K: int, parts: int = 1) -> Confusion:
    confusion = Confusion.empty(K)
    for a, b in zip(np.array_split(gold, parts), np.array_split(taken, parts), strict=True):
        confusion.add(a, b)
    return confusion


@pytest.mark.parametrize(
    ("K", "n", "true", "guessed"),
    [(2, 37, 2, 2), (5, 211, 5, 5), (4, 50, 2, 3), (3, 20, 1, 1), (7, 3, 7, 7)],
    ids=["two", "five", "absent", "one", "few"],
)
@pytest.mark.parametrize("parts", [1, 4])
def test_as_scikit_learn(K: int, n: int, true: int, guessed: int, parts: int) -> None:
    from sklearn import metrics

    draw = np.random.default_rng(K * n)
    gold, taken = draw.integers(0, true, n), draw.integers(0, guessed, n)
    got = counted(gold, taken, K, parts)
    labels = list(range(K))
    np.testing.assert_array_equal(got.counts, metrics.confusion_matrix(gold, taken, labels=labels))
    assert got.accuracy == pytest.approx(metrics.accuracy_score(gold, taken), abs=1e-12)
    assert got.macro_f1 == pytest.approx(metrics.f1_score(gold, taken, average="macro", zero_division=0), abs=1e-12)
    theirs = metrics.precision_recall_fscore_support(gold, taken, labels=labels, zero_division=0)
    for ours, other in zip((got.precision, got.recall, got.f1, got.counts.sum(1)), theirs, strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-12)


def test_numbers_go_into_json() -> None:
    numbers = counted(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]), 3).numbers(["a", "b", "c"])
    assert json.loads(json.dumps(numbers)) == numbers
    assert numbers["confusion"] == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    assert numbers["classes"]["b"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "rows": 2}
    assert numbers["accuracy_stderr"] == pytest.approx(np.std([1, 1, 0, 1], ddof=1) / 2)
    with pytest.raises(UserError, match="2 names for 3 classes"):
        counted(np.array([0]), np.array([0]), 3).numbers(["a", "b"])


def test_nothing_counted() -> None:
    empty = Confusion.empty(3)
    assert (empty.accuracy, empty.macro_f1, empty.n) == (0, 0, 0)


@pytest.mark.parametrize(
    ("gold", "taken", "said"),
    [([3], [0], "the class 3: there are 3"), ([0], [-1], "the prediction -1"), ([0, 1], [0], "one of each")],
)
def test_what_is_no_class(gold: list[int], taken: list[int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Confusion.empty(3).add(gold, taken)


def classifier(task: str = "classification") -> Model:
    sizes = {"vocab_size": 19, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 16, "max_seq_len": 12}
    config = ModelConfig(**sizes, positions="learned", causal=False, residual_dropout=0.3)  # pyright: ignore
    return build_model(config, task, 3 if task == "classification" else None, seed=1)  # pyright: ignore


def batches() -> list[Batch]:
    draw = torch.Generator().manual_seed(2)
    made = []
    for B, T in ((4, 9), (3, 12), (1, 5)):
        ids = torch.randint(0, 19, (B, T), generator=draw)
        mask = (torch.arange(T) < torch.randint(2, T + 1, (B, 1), generator=draw)).long()
        made.append(Batch(ids, torch.randint(0, 3, (B,), generator=draw), attention_mask=mask))
    return made


def test_a_model_over_batches() -> None:
    model = classifier().train()
    before = torch.get_rng_state()
    result = classify(model, batches(), build_precision("no", torch.device("cpu")))
    assert result is not None
    numbers, confusion = result
    assert model.training
    assert torch.equal(before, torch.get_rng_state())
    model.eval()
    nats, right = 0.0, 0
    for batch in batches():  # a row at a time, without its padding
        for ids, mask, label in zip(batch.input_ids, batch.attention_mask, batch.labels, strict=True):  # pyright: ignore
            logits = model(ids[None, : int(mask.sum())])
            nats += F.cross_entropy(logits, label[None]).item()
            right += int(logits.argmax()) == int(label)
    assert numbers["loss"] == pytest.approx(nats / 8, abs=1e-5)
    assert (numbers["accuracy"], numbers["rows"], confusion.n) == (right / 8, 8, 8)
    filler = Batch(torch.zeros(2, 5, dtype=torch.int64), torch.full((2,), -100))
    again = classify(model, [*batches(), filler], build_precision("no", torch.device("cpu")))
    assert again is not None
    assert again[0] | {"seconds": 0} == numbers | {"seconds": 0}


def test_an_evaluation_can_be_abandoned_and_needs_a_classifier_and_rows() -> None:
    precision = build_precision("no", torch.device("cpu"))
    assert classify(classifier(), batches(), precision, stop=lambda: True) is None
    with pytest.raises(UserError, match="head is for 'masked_lm'"):
        classify(classifier("masked_lm"), batches(), precision)
    with pytest.raises(UserError, match="no rows"):
        classify(classifier(), [], precision)


@pytest.mark.parametrize("K", [2, 8, 30, 90])
def test_a_picture(tmp_path: Path, K: int) -> None:
    draw = np.random.default_rng(0)
    gold = draw.integers(0, K, 40 * K)
    taken = np.where(draw.random(len(gold)) < 0.8, gold, draw.integers(0, K, len(gold)))
    path = plot_confusion(
        counted(gold, taken, K), [f"class {i}" for i in range(K)], tmp_path / "a" / "c.png", "held out"
    )
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in path.parent.iterdir()] == ["c.png"]
