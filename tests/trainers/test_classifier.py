"""Checkpoints as classifiers: the blocks are theirs, the head is new or theirs, the names travel; the bag of words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from groundup.data.classification.load import ClassificationData, load_classification
from groundup.errors import UserError
from groundup.models import load_pretrained, save_pretrained
from groundup.models.distil import student_config
from groundup.models.saved import save_whole
from groundup.models.start import find_start
from groundup.tokenizers.load import load_tokenizer
from groundup.trainers.classifier import classifier, heldout_rows, measure_baseline
from groundup.trainers.folder import RunFolder

Checkpoint = Callable[[str], Path]
NAMES = ("bad", "good", "so-so")


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "llama"])
def test_the_blocks_are_the_checkpoints_and_the_names_travel(name: str, checkpoint: Checkpoint, tmp_path: Path):
    import transformers

    folder = checkpoint(name)
    model = classifier(find_start(folder), NAMES, seed=4, pad_id=0)
    trunk = load_pretrained(folder, "encoder")
    for ours, theirs in zip(model.core.parameters(), trunk.core.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert model.training
    assert torch.equal(head_of(model), head_of(classifier(find_start(folder), NAMES, seed=4)))
    assert not torch.equal(head_of(model), head_of(classifier(find_start(folder), NAMES, seed=5)))

    save_pretrained(model, tmp_path)
    theirs: Any = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert theirs.config.id2label == dict(enumerate(NAMES))
    assert theirs.config.label2id == {word: i for i, word in enumerate(NAMES)}
    ids = torch.randint(5, 20, (2, 7))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    pad = theirs.config.pad_token_id or 0
    ids[1, 4:] = pad
    torch.testing.assert_close(model.eval()(ids, mask), theirs(ids, attention_mask=mask).logits, atol=1e-5, rtol=1e-4)
    again = load_pretrained(tmp_path, "classification")
    torch.testing.assert_close(again(ids, mask), model(ids, mask), atol=1e-6, rtol=1e-5)


def test_a_head_of_as_many_classes_is_taken(checkpoint: Checkpoint, tmp_path: Path):
    model = classifier(find_start(checkpoint("bert")), NAMES, seed=1)
    save_pretrained(model, tmp_path)
    torch.testing.assert_close(head_of(classifier(find_start(tmp_path), NAMES, seed=2)), head_of(model))
    assert head_of(classifier(find_start(tmp_path), NAMES[:2], seed=2)).shape[0] == 2


@pytest.mark.parametrize("own", [False, True])
def test_a_student_is_some_layers_of_a_classifier(own: bool, checkpoint: Checkpoint, tmp_path: Path):
    """Its blocks, its embedder and its head; of a random one the shape."""
    teacher = classifier(find_start(checkpoint("bert")), NAMES, seed=1)
    if own:
        save_whole(teacher, tmp_path)
    else:
        save_pretrained(teacher, tmp_path)
    start = replace(find_start(tmp_path), layers=(1,))
    student = classifier(replace(start, config=student_config(start.config, (1,))), NAMES, seed=2)
    assert len(student.core.layers) == student.config.n_layers == 1
    assert torch.equal(head_of(student), head_of(teacher))
    for ours, theirs in zip(student.core.layers[0].parameters(), teacher.core.layers[1].parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert len(classifier(start, NAMES, seed=2, random=True).core.layers) == 1


def test_only_the_shape(checkpoint: Checkpoint):
    start = find_start(checkpoint("bert"))
    model, same = (classifier(start, NAMES, seed=3, random=True) for _ in range(2))
    assert torch.equal(head_of(model), head_of(same))
    trained = load_pretrained(checkpoint("bert"), "encoder").core.layers[0].ffn.f.up.weight
    assert not torch.equal(model.core.layers[0].ffn.f.up.weight, trained)


@pytest.mark.parametrize("name", ["gpt2", "bert", "roberta", "electra"])
def test_from_a_run_of_ours(name: str, checkpoint: Checkpoint, tmp_path: Path):
    """As from the checkpoint that the run began with: its family's head, drawn as any new one, and written as one."""
    import transformers

    own = load_pretrained(checkpoint(name))
    start = find_start(save_whole(own, tmp_path / "run" / "train" / "weights" / "last"))
    model = classifier(start, NAMES, seed=3)
    for ours, theirs in zip(model.core.parameters(), own.core.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    direct = classifier(find_start(checkpoint(name)), NAMES, seed=3)
    assert {k: v.shape for k, v in model.head.named_parameters()} == {
        k: v.shape for k, v in direct.head.named_parameters()
    }
    assert model.config == direct.config
    assert 0 < head_of(model).abs().max() <= 2 * model.config.init_std
    save_pretrained(model, tmp_path / "hf")
    theirs: Any = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "hf").eval()
    ids = torch.randint(5, 20, (1, 7))
    torch.testing.assert_close(model.eval()(ids), theirs(ids).logits, atol=1e-5, rtol=1e-4)
    fresh = classifier(start, NAMES, seed=3, random=True)
    assert not torch.equal(fresh.embedder.tokens.weight, own.embedder.tokens.weight)


def test_a_classifier_kept_as_a_run_is_loaded_for_its_classes(checkpoint: Checkpoint, tmp_path: Path):
    model = classifier(find_start(checkpoint("bert")), NAMES, seed=1).eval()
    folder = save_whole(model, tmp_path / "base")
    ids = torch.randint(5, 20, (2, 7))
    for given in ({}, {"num_labels": 3}, {"task": "classification", "num_labels": 3}):
        again = load_pretrained(folder, **given)
        torch.testing.assert_close(again(ids), model(ids))
        assert again.origin is not None
        assert again.origin.config["id2label"] == {str(i): name for i, name in enumerate(NAMES)}
    with pytest.raises(UserError, match=r"num_labels=2: the model of a run has the head .* with, of 3 classes"):
        load_pretrained(folder, num_labels=2)
    torch.testing.assert_close(head_of(classifier(find_start(folder), NAMES, seed=2)), head_of(model))
    assert head_of(classifier(find_start(folder), NAMES[:2], seed=2)).shape[0] == 2


def head_of(model: Any) -> torch.Tensor:
    return model.head.out.weight.detach()


@pytest.fixture
def data(tmp_path: Path, checkpoint: Checkpoint) -> ClassificationData:
    lines = [f"{'lovely' if i % 2 else 'dull'} film number {i},{i % 2}" for i in range(60)]
    (tmp_path / "r.csv").write_text("text,label\n" + "\n".join(lines))
    section = dict.fromkeys(("config", "text_column", "label_column", "text_pair_column", "max_documents", "num_proc"))
    section |= dict.fromkeys(("train_path", "eval_path", "test_path", "random_crop", "format"))
    section |= {"name": str(tmp_path / "r.csv"), "split": "train", "streaming": False, "val_fraction": 0.2}
    return load_classification(SimpleNamespace(**section), load_tokenizer(checkpoint("bert")), max_length=32)


def test_the_bag_of_words_is_kept_with_the_run(data: ClassificationData, tmp_path: Path):
    from groundup.evaluation.baseline import load_baseline

    folder = RunFolder(tmp_path / "run")
    numbers = measure_baseline(data, folder)
    assert numbers["accuracy"] == 1
    assert json.loads((folder.baseline / "metrics" / "bag-of-words-tfidf.json").read_text()) == numbers
    assert load_baseline(folder.baseline / "bag-of-words-tfidf").predict(["a lovely film"]) == [1]


def test_held_out_batches(data: ClassificationData):
    everything = heldout_rows(data, data.heldout, 5, 32)
    assert sum(len(batch.labels) for batch in everything()) == len(data.heldout) == 12
    few = heldout_rows(data, data.heldout, 5, 32, max_batches=1)
    assert [len(batch.labels) for batch in few()] == [5]
    assert torch.equal(next(few()).input_ids, next(few()).input_ids)
    assert list(heldout_rows(data, [], 5, 32)()) == []
