"""The bag of words: learns what words tell, against scikit-learn's own pipeline, and comes back from its files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from groundup.errors import UserError
from groundup.evaluation.baseline import ARRAYS, CARD, Baseline, fit_baseline, load_baseline

GOOD, BAD = ["lovely", "film", "a", "joy", "to", "watch"], ["dull", "film", "a", "chore", "to", "watch"]
NAMES = ("negative", "positive")


def texts(n: int, seed: int) -> tuple[list[str], list[int]]:
    random = np.random.default_rng(seed)
    labels = [i % 2 for i in range(n)]
    return [" ".join(random.permutation(GOOD if label else BAD)) for label in labels], labels


@pytest.fixture(scope="module")
def fitted() -> Baseline:
    return fit_baseline(*texts(60, 0), *texts(20, 1), NAMES)


def test_it_learns_the_words_that_differ(fitted: Baseline):
    assert fitted.numbers["accuracy"] == fitted.numbers["macro_f1"] == 1
    assert fitted.numbers["rows"] == 20
    assert fitted.numbers["seconds"] > 0
    strongest = fitted.strongest_words(4)
    assert {"lovely", "joy"} <= set(strongest["positive"])
    assert {"dull", "chore"} <= set(strongest["negative"])


def test_numbers_are_those_of_scikit_learn():
    """Words that say little, three classes, one of them rare: nothing is 0 or 1 by chance."""
    from sklearn.metrics import accuracy_score, f1_score, log_loss

    random = np.random.default_rng(3)
    words = [f"w{i}" for i in range(30)]
    labels = random.choice(3, 150, p=[0.5, 0.4, 0.1]).tolist()
    rows = [" ".join(random.choice(words, 6)) + (f" c{c}" if random.random() < 0.4 else "") for c in labels]
    fitted = fit_baseline(rows[:100], labels[:100], rows[100:], labels[100:], ("a", "b", "c"))
    predicted = fitted.predict(rows[100:])
    assert fitted.numbers["accuracy"] == accuracy_score(labels[100:], predicted)
    assert fitted.numbers["macro_f1"] == f1_score(labels[100:], predicted, average="macro")
    expected = log_loss(labels[100:], fitted.probabilities(rows[100:]), labels=[0, 1, 2])
    assert fitted.numbers["loss"] == pytest.approx(expected, rel=1e-6)
    assert 0.3 < fitted.numbers["accuracy"] < 1


def test_of_very_many_texts_some_are_learned_from(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("groundup.evaluation.baseline.MOST", 10)
    many, labels = texts(60, 0)
    few = fit_baseline([many[i * 6] for i in range(10)], [*[labels[i * 6] for i in range(10)][:9], 1], [], [], NAMES)
    assert capsys.readouterr().err == ""
    labels[54] = 1
    cut = fit_baseline(many, labels, [], [], NAMES)
    assert "learns from 10 of the 60 training texts" in capsys.readouterr().err
    np.testing.assert_array_equal(cut.classifier.coef_, few.classifier.coef_)


def test_it_comes_back_from_its_files_without_pickle(fitted: Baseline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fitted.save(tmp_path / "baseline")

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a pickle was read")

    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    again = load_baseline(tmp_path / "baseline")
    assert (again.label_names, again.numbers) == (fitted.label_names, fitted.numbers)
    some, _ = texts(20, 2)
    some.append("a joy and a chore")
    np.testing.assert_array_equal(again.probabilities(some), fitted.probabilities(some))
    assert again.predict(some) == fitted.predict(some)


def test_the_same_texts_give_the_same_weights(fitted: Baseline):
    again = fit_baseline(*texts(60, 0), *texts(20, 1), NAMES)
    np.testing.assert_array_equal(again.classifier.coef_, fitted.classifier.coef_)


def test_damaged_files_are_one_sentence(fitted: Baseline, tmp_path: Path):
    with pytest.raises(UserError, match=r"cannot be read as a saved bag-of-words-tfidf .*: fit it again"):
        load_baseline(tmp_path)
    fitted.save(tmp_path)
    (tmp_path / ARRAYS).write_bytes((tmp_path / ARRAYS).read_bytes()[:100])
    with pytest.raises(UserError, match="fit it again"):
        load_baseline(tmp_path)
    fitted.save(tmp_path)
    card = json.loads((tmp_path / CARD).read_text())
    del card["vocabulary"]
    (tmp_path / CARD).write_text(json.dumps(card))
    with pytest.raises(UserError, match="vocabulary"):
        load_baseline(tmp_path)


def test_texts_without_words_are_refused():
    with pytest.raises(UserError, match="hold no words"):
        fit_baseline(["!", "?"], [0, 1], ["."], [0], NAMES)
