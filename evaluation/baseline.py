"""The bag of words: TF-IDF and logistic regression, what every classifier has to beat (scikit-learn).

Words and pairs of words, each text a vector of 1 + log(count) times the logarithm of how rare the word is, of length 1
(scikit-learn's TfidfVectorizer with sublinear_tf); a linear classifier with an L2 penalty on top.
"""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.rows import spread
from ..errors import UserError, notice
from ..models.start import BAG_OF_WORDS as NAME
from .classification import Confusion

CARD, ARRAYS = "baseline.json", "baseline.npz"
FORMAT = 1
FEATURES = 50_000  # words and pairs at most, the most frequent ones
MOST = 100_000  # texts learned from: the pairs of words of millions do not fit into memory, and add little
_VECTORIZER: dict[str, Any] = {"ngram_range": (1, 2), "sublinear_tf": True, "strip_accents": "unicode"}


@dataclass
class Baseline:
    """A fitted bag of words; `numbers` are what it was measured with."""

    label_names: tuple[str, ...]
    numbers: dict[str, float]
    vectorizer: Any  # sklearn's TfidfVectorizer
    classifier: Any  # sklearn's LogisticRegression, classes as numbers

    def predict(self, texts: Sequence[str]) -> list[int]:
        """The class of each text."""
        return self.classifier.predict(self.vectorizer.transform(texts)).tolist()

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """(n, number of classes); 0 for a class that no training text had."""
        found = np.zeros((len(texts), len(self.label_names)))  # (n, classes)
        found[:, self.classifier.classes_] = self.classifier.predict_proba(self.vectorizer.transform(texts))
        return found

    def measure(self, texts: Sequence[str], labels: Sequence[int]) -> tuple[dict[str, float], Confusion]:
        """loss (nats a text), accuracy, macro_f1, rows, seconds; and who was taken for whom."""
        started = time.perf_counter()
        of_all = self.probabilities(texts)  # (n, K)
        given = of_all[np.arange(len(texts)), np.asarray(labels)]
        confusion = Confusion.empty(len(self.label_names))
        confusion.add(labels, of_all.argmax(1))
        numbers = {
            "loss": float(-np.log(np.maximum(given, 1e-12)).mean()),
            "accuracy": confusion.accuracy,
            "macro_f1": confusion.macro_f1,
            "rows": len(texts),
            "seconds": round(time.perf_counter() - started, 3),
        }
        return numbers, confusion

    def evaluate(self, texts: Sequence[str], labels: Sequence[int]) -> dict[str, float]:
        """The numbers of `measure`."""
        return self.measure(texts, labels)[0]

    def strongest_words(self, count: int = 10) -> dict[str, list[str]]:
        """For each class the words that speak for it most."""
        words = self.vectorizer.get_feature_names_out()
        weights = self.classifier.coef_
        if len(weights) == 1:  # of two classes only the second has weights
            weights = np.concatenate([-weights, weights])
        order = np.argsort(-weights, axis=1)[:, :count]
        classes = self.classifier.classes_
        return {self.label_names[c]: words[order[i]].tolist() for i, c in enumerate(classes)}

    def save(self, folder: str | Path) -> None:
        """Write baseline.json (names, numbers, vocabulary) and baseline.npz (weights); nothing is pickled.

        Raises UserError where the folder cannot be written.
        """
        folder = Path(folder)
        vocabulary = {word: int(number) for word, number in self.vectorizer.vocabulary_.items()}
        words = sorted(vocabulary, key=vocabulary.__getitem__)
        card = {"format": FORMAT, "model": NAME, "labels": list(self.label_names), "numbers": self.numbers}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(
                folder / ARRAYS,
                idf=self.vectorizer.idf_,
                weight=self.classifier.coef_,
                bias=self.classifier.intercept_,
                classes=self.classifier.classes_,
            )
            text = json.dumps({**card, "vocabulary": words}, ensure_ascii=False, indent=1)
            (folder / CARD).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write the baseline to {folder}: {error.strerror or error}") from None


def fit_baseline(
    train_texts: Sequence[str],
    train_labels: Sequence[int],
    test_texts: Sequence[str],
    test_labels: Sequence[int],
    label_names: Sequence[str],
    *,
    seed: int = 0,
    class_weights: Sequence[float] | None = None,
) -> Baseline:
    """Fit on the training texts, measure on the others; `numbers` has accuracy, macro_f1, loss, rows, seconds (both).

    The same texts give the same weights. `class_weights` are of the rows of each class; None: all count alike. Of more
    than MOST texts as many are learned from, spread evenly, which is said. Raises UserError where no word is left to
    learn from.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    started = time.perf_counter()
    if len(train_texts) > MOST:
        notice(f"{NAME} learns from {MOST:,} of the {len(train_texts):,} training texts")
        train_texts, train_labels = spread(train_texts, MOST), spread(train_labels, MOST)
    # A word of one text only cannot be learned from, but a small data set has few others.
    vectorizer = TfidfVectorizer(min_df=2 if len(train_texts) > 1000 else 1, max_features=FEATURES, **_VECTORIZER)
    try:
        features = vectorizer.fit_transform(train_texts)
    except ValueError as error:
        raise UserError(f"{NAME}: the training texts hold no words ({error}): train another model on them") from None
    weights = None if class_weights is None else {c: class_weights[c] for c in set(train_labels)}
    classifier = LogisticRegression(C=10.0, max_iter=1000, random_state=seed, class_weight=weights)
    classifier.fit(features, np.asarray(train_labels))
    baseline = Baseline(tuple(label_names), {}, vectorizer, classifier)
    if len(test_texts):
        baseline.numbers = baseline.evaluate(test_texts, test_labels)
    baseline.numbers["seconds"] = round(time.perf_counter() - started, 3)
    baseline.numbers["features"] = len(vectorizer.vocabulary_)
    return baseline


def load_baseline(folder: str | Path) -> Baseline:
    """The inverse of `save`. Raises UserError where a file is missing or damaged."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    folder = Path(folder)
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        with np.load(folder / ARRAYS, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("idf", "weight", "bias", "classes")}
        names, numbers, words = tuple(card["labels"]), dict(card["numbers"]), card["vocabulary"]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{folder}: cannot be read as a saved {NAME} ({error}): fit it again") from None
    vectorizer = TfidfVectorizer(vocabulary={word: number for number, word in enumerate(words)}, **_VECTORIZER)
    vectorizer.idf_ = arrays["idf"]
    classifier: Any = LogisticRegression()
    classifier.coef_, classifier.intercept_ = arrays["weight"], arrays["bias"]
    classifier.classes_, classifier.n_features_in_ = arrays["classes"], len(words)
    return Baseline(names, numbers, vectorizer, classifier)
