"""report.html, results and pictures of whole runs."""

from __future__ import annotations

import html.parser
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from groundup.trainers.command import main
from groundup.trainers.folder import RunFolder, find_run
from groundup.trainers.metrics import read_jsonl

Checkpoint = Callable[[str], Path]
FEW = "trainer.epochs=2 trainer.batch_size=4 trainer.log_interval=1 evaluation.strategy=epoch trainer.max_seq_length=16"
FEW += " device=cpu trainer.effective_batch_size=8 trainer.optimizer.lr=1e-3 evaluation.measure_gap=true"


class Balanced(html.parser.HTMLParser):
    """Every tag that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_page(path: Path) -> str:
    """A page that stands alone: balanced, and nothing is fetched."""
    text = path.read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    plain = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"<script|src=\"[^\"]|<link|@import|url\(", plain)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", plain))


@pytest.fixture
def classifier(tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A short run on reviews with train, validation and test."""
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "reviews"
    data.mkdir()
    for split, n in (("train", 32), ("validation", 12), ("test", 9)):
        rows = [f"{'good ' * (i % 3 + 1) if i % 2 else 'bad '}{i},{'<pos>' if i % 2 else 'neg'}" for i in range(n)]
        (data / f"{split}.csv").write_text("review,sentiment\n" + "\n".join(rows))
    words = [f"model={checkpoint('bert')}", f"dataset={data}", f"output.output_dir={tmp_path / 'out'}", *FEW.split()]
    assert main(words) == 0
    return RunFolder(find_run("latest", tmp_path / "out"))


def test_a_classifier_s_tree_and_page(classifier: RunFolder):
    folder = classifier
    for name in ("confusion_matrix", "attention_maps"):
        for place in (folder.baseline, folder.test):
            assert (place / "analysis" / f"{name}.png").is_file()
    assert (folder.analysis / "scores.png").is_file()
    assert (folder.analysis / "gap.png").is_file()
    results = json.loads(folder.results.read_text())
    assert results["test"]["rows"] == 9
    assert results["test"]["of"] == 9
    assert results["baseline"]["heldout"]["rows"] == 12
    assert results["baseline"]["bag-of-words-tfidf"]["accuracy"] >= 0.5

    classes = json.loads((folder.test / "metrics" / "classes.json").read_text())
    confusion = np.array(classes["confusion"])
    assert confusion.sum() == 9
    assert np.trace(confusion) / 9 == pytest.approx(results["test"]["accuracy"])
    before = json.loads((folder.baseline / "metrics" / "classes.json").read_text())
    assert np.trace(np.array(before["confusion"])) / 12 == pytest.approx(results["baseline"]["heldout"]["accuracy"])

    text = check_page(folder.report)
    assert "is a classifier, with" in text
    assert f"Accuracy on 12 held-out rows went from {results['baseline']['heldout']['accuracy']:.4f}" in text
    assert "&lt;pos&gt;" in text  # a class's name is no markup
    assert "python train.py --config" in text
    assert "torch 2" in text
    assert "cut to 16" in text
    words = results["baseline"]["bag-of-words-tfidf"]
    tile = f"{results['test']['accuracy']:.4f} accuracy, test {words['test_accuracy']:.4f} bag of words"
    assert tile in text  # numbers of the same rows stand beside each other


def test_the_gap_is_measured_alike_on_equally_many_rows(classifier: RunFolder):
    """The first rows of training, in evaluation mode, by the finished weights: once more, by hand."""
    import torch
    import torch.nn.functional as F
    from groundup.configs.schema import load_config
    from groundup.data.classification.load import load_classification
    from groundup.trainers.load import load_run

    rows = read_jsonl(classifier.metrics / "heldout.jsonl")
    assert [row["step"] for row in rows] == [0, 4, 8]
    for row in rows:
        assert row["gap"] == pytest.approx(row["loss"] - row["train_loss"])
    model, tokenizer = load_run(classifier.weights / "last")
    run = load_config(classifier.config, [])
    data = load_classification(run.dataset, tokenizer, max_length=16, seed=run.general.seed)
    batches = data.batches(4, 16, run.general.seed)
    logits, labels = [], []
    for i in range(3):  # 12 rows of 4, as many as are held out
        batch = batches.batch(i)
        logits.append(model(**batch.inputs).detach())
        labels.append(batch.labels)
    expected = F.cross_entropy(torch.cat(logits), torch.cat(labels)).item()
    assert rows[-1]["train_loss"] == pytest.approx(expected, abs=1e-5)


def test_a_language_model_s_page(tiny: Callable[..., Path], tmp_path: Path):
    path = tiny()
    assert main(["--config", str(path), "output.plots=true", "evaluation.sample_prompt=<b>1 and"]) == 0
    folder = RunFolder(find_run("latest", path.with_suffix("")))
    text = check_page(folder.report)
    assert "is a decoder that predicts the next token" in text
    assert "It started from random weights" in text
    assert "Perplexity on held-out text went from" in text
    assert "&lt;b&gt;1 and" in text
    assert "went from" in text
    assert folder.report.read_text().count("data:image/png") >= 9
    last = json.loads(folder.results.read_text())["best"]["step"]
    assert f"`best` to step {last}" in text


def test_a_run_that_was_stopped_says_so(tiny: Callable[..., Path]):
    from groundup.trainers.page import write_page

    path = tiny()
    assert main(["--config", str(path)]) == 0
    folder = RunFolder(find_run("latest", path.with_suffix("")))
    results = json.loads(folder.results.read_text()) | {"finished": False, "steps": 7, "skipped_steps": 2}
    folder.results.write_text(json.dumps(results))
    text = check_page(write_page(folder))
    assert "The run was stopped after step 7 of 12." in text
    assert "2 steps changed nothing" in text
