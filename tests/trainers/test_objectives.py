"""A class for each row: loss and gradients against torch's own, fine-tuning against transformers, numbers by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from groundup.data.rows import Row, RowSampler
from groundup.data.sampling import Batch
from groundup.models import ModelConfig, build_model, load_pretrained
from groundup.models.model import Model
from groundup.trainers.objectives import ClassLoss, scores
from groundup.trainers.optimizers import build_adamw, parameter_groups, set_learning_rate
from groundup.trainers.precision import build_precision
from groundup.trainers.settings import Settings
from groundup.trainers.trainer import Trainer

CPU = torch.device("cpu")
NOTHING = cast(Any, None)
ENCODER: dict[str, Any] = {"causal": False, "norm_slots": ("sum",), "n_token_types": 2, "classifier_activation": "tanh"}


def model_of(causal: bool, num_labels: int = 3, seed: int = 0, **settings: Any) -> Model:
    values = {} if causal else {**ENCODER, "embed_norm": True, "head_norm": "none"}
    sizes = {"vocab_size": 37, "d_model": 12, "n_layers": 2, "n_heads": 3, "d_ff": 20, "max_seq_len": 24}
    config = ModelConfig(**{**sizes, **values, **settings})
    return build_model(config, task="classification", num_labels=num_labels, seed=seed)


def rows(n: int, seed: int = 0, classes: int = 3) -> list[Row]:
    random = np.random.default_rng(seed)
    return [
        Row(random.integers(1, 37, random.integers(2, 20)).astype(np.int32), int(random.integers(classes)))
        for _ in range(n)
    ]


def trainer_of(model: Model, batches: RowSampler, smoothing: float = 0.0, clip: float = 1.0) -> Trainer:
    precision = build_precision("no", CPU)
    return Trainer(
        model=model,
        optimizer=build_adamw(parameter_groups(model, 0.01), lr=1e-3, betas=(0.9, 0.999), eps=1e-8),
        precision=precision,
        train=batches,
        heldout=NOTHING,
        learning_rate=NOTHING,
        dropout=None,
        settings=Settings(50, 1, clip, 0, smoothing, 1, (), 1, 1, 0, 0, False),
        folder=NOTHING,
        trackers=NOTHING,
        bytes_per_token=None,
        objective=ClassLoss(model, precision, smoothing),
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_window_gives_the_gradients_of_its_rows_however_it_is_cut(causal: bool, smoothing: float):
    """7 rows at once, in fours, twos and ones: the mean of torch's own cross-entropy of each row alone."""
    model, some = model_of(causal), rows(7)
    objective = ClassLoss(model, build_precision("no", CPU), smoothing)
    losses = []
    for row in some:  # no padding, no mask
        ids = torch.from_numpy(row.ids).long()[None]
        losses.append(F.cross_entropy(model(ids), torch.tensor([row.labels]), label_smoothing=smoothing))
    loss = torch.stack(losses).mean()
    expected = dict(zip(model.state_dict(), torch.autograd.grad(loss, list(model.parameters())), strict=False))
    for size in (7, 4, 2, 1):
        sampler = RowSampler(some, size, 24, pad_id=0, mode="sequential")
        window = [sampler.batch(i) for i in range(sampler.batches_per_epoch)]
        targets = sum(map(objective.targets, window))
        assert targets == 7
        model.zero_grad()
        total = sum(objective.backward(batch, model.hidden_states, 1 / targets).item() for batch in window)
        assert total / 7 == pytest.approx(loss.item(), abs=1e-6)
        for (name, parameter), gradient in zip(model.named_parameters(), expected.values(), strict=True):
            assert parameter.grad is not None, name
            torch.testing.assert_close(
                parameter.grad, gradient, atol=1e-6, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classes_weigh_what_they_weigh_however_a_window_is_cut(smoothing: float):
    """The mean over the rows of weight times loss, the smoothed one: of each row by itself."""
    model, some, weights = model_of(False), rows(7, seed=4), torch.tensor([0.2, 3.0, 1.0])
    objective = ClassLoss(model, build_precision("no", CPU), smoothing, weights)
    logits = torch.cat([model(torch.from_numpy(row.ids).long()[None]) for row in some])
    labels = torch.tensor([cast(int, row.labels) for row in some])
    each = [F.cross_entropy(z[None], y[None], label_smoothing=smoothing) for z, y in zip(logits, labels, strict=True)]
    loss = sum((weights[y] * one for one, y in zip(each, labels, strict=True)), torch.zeros(())) / 7
    held = F.cross_entropy(logits, labels).item()
    expected = dict(zip(model.state_dict(), torch.autograd.grad(loss, list(model.parameters())), strict=False))
    for size in (7, 4, 2, 1):
        sampler = RowSampler(some, size, 24, pad_id=0, mode="sequential")
        window = [sampler.batch(i) for i in range(sampler.batches_per_epoch)]
        model.zero_grad()
        assert sum(map(objective.targets, window)) == 7
        total = sum(objective.backward(batch, model.hidden_states, 1 / 7).item() for batch in window)
        assert total / 7 == pytest.approx(loss.item(), rel=1e-5)
        for (name, parameter), gradient in zip(model.named_parameters(), expected.values(), strict=True):
            assert parameter.grad is not None, name
            torch.testing.assert_close(
                parameter.grad, gradient, atol=1e-6, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
            )
        found = objective.evaluate(window, lambda: False)
        assert found is not None
        assert found["loss"] == pytest.approx(held, rel=1e-5)


def test_rows_without_a_class_count_nowhere():
    model = model_of(False)
    objective = ClassLoss(model, build_precision("no", CPU))
    batch = RowSampler(rows(3), 3, 24, pad_id=0, mode="sequential").batch(0)
    assert batch.attention_mask is not None
    ghost = Batch(
        torch.cat([batch.input_ids, batch.input_ids[:1]]),
        torch.cat([batch.labels, torch.tensor([-100])]),
        attention_mask=torch.cat([batch.attention_mask, batch.attention_mask[:1]]),
    )
    assert objective.targets(ghost) == 3
    assert objective.backward(ghost, model.hidden_states, 1.0) == pytest.approx(
        objective.backward(batch, model.hidden_states, 1.0).item(), rel=1e-6
    )
    result = objective.evaluate([ghost], lambda: False)
    assert result is not None
    assert result["rows"] == 3


def test_padding_changes_no_logit_of_a_decoder():
    """The mask is left out of the attention: padding on the right is never seen, on the left it would be."""
    model = model_of(True)
    objective = ClassLoss(model, build_precision("no", CPU))
    batch = RowSampler(rows(5), 5, 24, pad_id=0, mode="sequential").batch(0)
    expected = model(batch.input_ids, batch.attention_mask)
    torch.testing.assert_close(objective.logits(batch, model.hidden_states), expected, atol=1e-6, rtol=1e-5)
    assert batch.attention_mask is not None
    left = Batch(batch.input_ids.flip(1), batch.labels, attention_mask=batch.attention_mask.flip(1))
    expected = model(left.input_ids, left.attention_mask)
    torch.testing.assert_close(objective.logits(left, model.hidden_states), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_evaluation_is_that_of_scikit_learn(seed: int):
    from sklearn.metrics import accuracy_score, f1_score

    model, some = model_of(False, num_labels=5, seed=seed, init_std=1.0), rows(23, seed, classes=4)
    model.train()
    objective = ClassLoss(model, build_precision("no", CPU), smoothing=0.1)
    sampler = RowSampler(some, 4, 24, pad_id=0, mode="sequential")
    result = objective.evaluate(map(sampler.batch, range(sampler.batches_per_epoch)), lambda: False)
    assert result is not None
    assert model.training
    with torch.no_grad():
        logits = torch.cat([model(torch.from_numpy(row.ids).long()[None]) for row in some])
    labels = torch.tensor([cast(int, row.labels) for row in some])
    assert result["loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert result["accuracy"] == pytest.approx(accuracy_score(labels, logits.argmax(-1)))
    assert result["macro_f1"] == pytest.approx(f1_score(labels, logits.argmax(-1), average="macro"))
    assert result["rows"] == 23
    assert objective.evaluate(map(sampler.batch, range(3)), lambda: True) is None
    assert objective.describe(result).startswith("held-out loss ")


def test_scores_by_hand():
    """3 right of 5; F1 2/3 and 1/2; the third class never occurs."""
    found = scores([[2, 1, 0], [1, 1, 0], [0, 0, 0]])
    assert found == pytest.approx({"accuracy": 0.6, "macro_f1": (2 / 3 + 1 / 2) / 2})
    assert scores([[0, 2], [0, 3]])["macro_f1"] == pytest.approx(0.75 / 2)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_fifty_steps_follow_transformers(name: str, tmp_path: Path):
    """The Trainer's own step on a checkpoint, and transformers with torch's AdamW on the same batches."""
    import transformers

    torch.manual_seed(0)
    common: dict[str, Any] = {"vocab_size": 37, "num_labels": 3, "pad_token_id": 0}
    if name == "bert":
        sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
        still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        config: Any = transformers.BertConfig(**common, **sizes, **still, max_position_embeddings=32)
        theirs: Any = transformers.BertForSequenceClassification(config)
    else:
        sizes = {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 32}
        config = transformers.GPT2Config(**common, **sizes, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
        theirs = transformers.GPT2ForSequenceClassification(config)
    theirs.save_pretrained(tmp_path)
    ours = load_pretrained(tmp_path, task="classification", dtype="fp32").train()
    sampler = RowSampler(rows(60), 4, 24, pad_id=0, by_length=True)
    trainer = trainer_of(ours, sampler)

    theirs.train()
    decayed = [p for p in theirs.parameters() if p.dim() >= 2]
    plain = [p for p in theirs.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}])
    found, expected = [], []
    for step in range(50):
        rate = 5e-3 * (1 - step / 50)
        set_learning_rate(trainer.optimizer, rate)
        found.append(trainer._update(trainer._window(step), ours.hidden_states)[0])

        batch = sampler.batch(step)
        output = theirs(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        expected.append(output.loss.item())
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert min(expected[-10:]) < 0.9 * expected[0]  # it learned, so the steps did something


def test_a_kept_table_gradient_is_the_dense_one():
    """Three steps, windows of several micro-batches and ids that come again: the same weights as without it."""
    from groundup.trainers.lookup import LookupGradient

    sampler = RowSampler(rows(30), 3, 24, pad_id=0)
    kept, dense = trainer_of(model_of(False), sampler), trainer_of(model_of(False), sampler)
    assert kept.model.embedder.tokens.sparse
    dense._lookup = LookupGradient(dense.model, compiled=True)
    assert not dense.model.embedder.tokens.sparse
    for step in range(3):
        window = [sampler.batch(2 * step + i) for i in range(2)]
        for trainer in (kept, dense):
            trainer._update(window, trainer.model.hidden_states)
        of_kept, of_dense = (t.model.embedder.tokens.weight.grad for t in (kept, dense))
        assert of_kept is not None
        torch.testing.assert_close(of_kept, of_dense, atol=1e-7, rtol=1e-5)
    for ours, other in zip(kept.model.parameters(), dense.model.parameters(), strict=True):
        torch.testing.assert_close(ours, other, atol=1e-6, rtol=1e-5)


def test_a_new_head_is_a_truncated_normal(tmp_path: Path):
    """Another number of labels than the checkpoint's: weights within two deviations, spread as one; biases 0."""
    import transformers

    config = transformers.BertConfig(vocab_size=30, hidden_size=128, num_hidden_layers=1, num_attention_heads=2)
    transformers.BertModel(config).save_pretrained(tmp_path)
    torch.manual_seed(3)
    head: Any = load_pretrained(tmp_path, task="classification", num_labels=50).head
    weight, std = head.out.weight.detach(), 0.02
    assert weight.shape == (50, 128)
    assert weight.abs().max() <= 2 * std
    assert weight.std().item() == pytest.approx(0.88 * std, rel=0.03)  # of a normal cut at two deviations
    assert weight.abs().max() > 1.9 * std
    assert not head.out.bias.any()
    torch.manual_seed(3)
    again: Any = load_pretrained(tmp_path, task="classification", num_labels=50).head
    assert torch.equal(again.out.weight.detach(), weight)
