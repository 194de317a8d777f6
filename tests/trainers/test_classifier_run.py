"""`python train.py model=CHECKPOINT dataset=LABELLED`: a classifier, its baseline, its checkpoint; resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from groundup.models import save_pretrained
from groundup.trainers.command import main
from groundup.trainers.folder import find_run
from groundup.trainers.load import load_run
from groundup.trainers.metrics import read_jsonl

Checkpoint = Callable[[str], Path]
Start = Callable[..., Path]
FEW = "trainer.epochs=3 trainer.batch_size=4 trainer.log_interval=1 evaluation.strategy=epoch trainer.max_seq_length=16"
FEW += " output.plots=false device=cpu trainer.effective_batch_size=8 dataset.val_fraction=0.25"
FEW += " trainer.optimizer.lr=1e-3"


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    rows = [f"{'good ' * (i % 3 + 1) if i % 2 else 'bad '}{i},{'pos' if i % 2 else 'neg'}" for i in range(40)]
    path.write_text("review,sentiment\n" + "\n".join(rows))
    return path


@pytest.fixture
def start(tmp_path: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """start("out", "model=...") trains on the reviews and returns the run's folder."""
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))

    def run(out: str, *words: str) -> Path:
        given = {word.partition("=")[0].replace("max_iters", "epochs") for word in words}  # one of the two
        few = [word for word in FEW.split() if word.partition("=")[0] not in given]
        assert main([f"dataset={reviews}", f"output.output_dir={tmp_path / out}", *few, *words]) == 0
        return find_run("latest", tmp_path / out)

    return run


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_a_run_of_labelled_texts(
    name: str, start: Start, checkpoint: Checkpoint, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    import transformers

    folder = start("out", f"model={checkpoint(name)}")
    said = capfd.readouterr().err
    assert "30 rows of 2 classes (neg, pos)" in said
    assert "cut to 16" in said
    assert "the bag of words" in said
    results = json.loads((folder / "training_results.json").read_text())
    assert results["labels"] == ["neg", "pos"]
    assert set(results["heldout"]) >= {"loss", "accuracy", "macro_f1", "rows"}
    assert results["heldout"]["rows"] == 10
    assert results["baseline"]["bag-of-words-tfidf"]["accuracy"] > 0.8
    assert results["steps"] == 3 * 4
    rows = read_jsonl(folder / "train" / "metrics" / "heldout.jsonl")
    assert rows[-1]["loss"] < rows[0]["loss"]

    model, _ = load_run(folder)
    assert model.task == "classification"
    save_pretrained(model, tmp_path / "hf")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "hf")
    assert theirs.config.id2label == {0: "neg", 1: "pos"}
    ids = torch.randint(5, 20, (1, 6))
    torch.testing.assert_close(model(ids), theirs.eval()(ids).logits, atol=1e-5, rtol=1e-4)


def test_a_rare_class_is_found_where_it_weighs_more(start: Start, checkpoint: Checkpoint, reviews: Path):
    """All that is seen of a text is `good`, which is `pos` in one of four rows: so it is guessed."""
    lines = [f"good {i},{'pos' if i % 4 == 0 else 'neg'}" for i in range(80)]
    reviews.write_text("review,sentiment\n" + "\n".join(lines))
    few = ["trainer.max_seq_length=6", "trainer.epochs=12", "trainer.optimizer.lr=1e-2", "trainer.label_smoothing=0"]
    few.append("trainer.optimizer.weight_decay=0")
    for weights, expected in (("null", 1 / 4), ("balanced", 1 / 2), ("{pos: 12}", 12 / 15)):
        folder = start("out", f"model={checkpoint('bert')}", f"trainer.class_weights={weights}", *few)
        model, tokenizer = load_run(folder / "train" / "weights" / "last")
        ids = tokenizer.encode("good", add_special_tokens=True)
        assert len(ids) == 6
        assert model(torch.tensor([ids])).softmax(-1)[0, 1].item() == pytest.approx(expected, abs=0.1)
    assert "class weights" in (folder / "report.html").read_text()


def test_resumed_it_is_the_same_run(start: Start, checkpoint: Checkpoint):
    """Random stretches included: what is shown is a function of seed, epoch and row."""
    words = (f"model={checkpoint('bert')}", "dataset.random_crop=0.5", "trainer.checkpoint_interval=5")
    whole = start("whole", *words)
    part = start("part", *words, "trainer.max_iters=5", "trainer.lr_decay_iters=12", "trainer.warmup_iters=1")
    again = start("again", *words, "trainer.lr_decay_iters=12", "trainer.warmup_iters=1")
    assert main(["--resume", str(part), "trainer.max_iters=12"]) == 0
    assert read_jsonl(whole / "train" / "metrics" / "train.jsonl")[0]["step"] == 1
    ours, theirs = (load_run(folder)[0].state_dict() for folder in (part, again))
    losses = [[row["loss"] for row in read_jsonl(f / "train" / "metrics" / "train.jsonl")] for f in (part, again)]
    assert losses[0] == losses[1]
    assert ours.keys() == theirs.keys()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trainer.loss_fn=masked_lm", "dataset.format=classification"], "classes are learned by cross_entropy"),
        (["dataset.label_column=grade"], r"no column 'grade' \(dataset.label_column\)"),
    ],
)
def test_what_a_classifier_cannot_be(
    words: list[str], said: str, reviews: Path, checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
):
    import re

    assert main(["--validate", f"model={checkpoint('bert')}", f"dataset={reviews}", *words]) == 1
    assert re.search(said, capsys.readouterr().err)


def test_columns_of_labels_are_for_labelled_texts(root: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--validate", "--config", str(root / "configs" / "quickstart.yaml"), "dataset.label_column=x"]) == 1
    assert "this is for labelled texts" in capsys.readouterr().err
