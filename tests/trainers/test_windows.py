"""A window of micro-batches: the same gradients however it is cut, also where an epoch ends in a short one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from groundup.configs.schema import load_config
from groundup.data.masking import mask_tokens
from groundup.data.rows import Row, RowSampler
from groundup.data.sampling import Batch
from groundup.models import ModelConfig, build_model, load_pretrained
from groundup.models.model import Model
from groundup.trainers.checkpoint import latest_checkpoint
from groundup.trainers.folder import find_run
from groundup.trainers.optimizers import build_adamw, parameter_groups, set_learning_rate
from groundup.trainers.precision import build_precision
from groundup.trainers.run import train
from groundup.trainers.settings import Settings
from groundup.trainers.trainer import Trainer
from safetensors.torch import load_file

NOTHING = cast(Any, None)
CUTS = [(8, 1), (4, 2), (2, 4), (1, 8)]


def ragged(n: int, seed: int = 0) -> list[Row]:
    """Rows of 2 to 19 tokens, of which some at the start are no target, as in a conversation; of one nothing is."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        ids = (random.integers(36) + np.arange(random.integers(2, 20))).astype(
            np.int32
        ) % 36 + 1  # counted: to be learned
        labels = np.append(ids[1:], -100).astype(np.int32)
        labels[: random.integers(0, len(labels) - 1) if i != 5 else None] = -100
        rows.append(Row(ids, labels))
    return rows


def trainer_of(model: Model, batches: RowSampler, accumulation: int, clip: float = 0.0, mask: Any = None) -> Trainer:
    optimizer = build_adamw(parameter_groups(model, 0.01), lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    settings = Settings(99, accumulation, clip, 5, 0.0, 1, (), 1, 1, 0, 0, False)
    settings = Settings(**{**vars(settings), "batches_per_epoch": batches.batches_per_epoch})
    precision = build_precision("no", torch.device("cpu"))
    return Trainer(
        model, optimizer, precision, batches, NOTHING, NOTHING, None, settings, NOTHING, NOTHING, None, mask=mask
    )


def test_an_epoch_ends_in_a_short_window():
    settings = Settings(99, 3, 0.0, 5, 0.0, 1, (), 1, 1, 0, 0, False, batches_per_epoch=7)
    assert settings.steps_per_epoch == 3
    assert [list(settings.batches_of(step)) for step in range(5)] == [
        [0, 1, 2],
        [3, 4, 5],
        [6],
        [7, 8, 9],
        [10, 11, 12],
    ]
    endless = Settings(99, 3, 0.0, 5, 0.0, 1, (), 1, 1, 0, 0, False)
    assert list(endless.batches_of(2)) == [6, 7, 8]


@pytest.mark.parametrize("mode", ["shuffled", "packed"])
def test_rows_of_any_length_give_the_same_gradients_however_a_window_is_cut(mode: str):
    """Two epochs of 19 rows, 8 a step, the third step of each with 3: the mean over the targets of the window."""
    config = ModelConfig(vocab_size=37, d_model=12, n_layers=2, n_heads=3, d_ff=20, max_seq_len=24)
    rows = ragged(19)
    rowwise = RowSampler(rows, 8, 24, seed=3, pad_id=0, mode=mode)
    model = build_model(config, seed=0)
    expected: list[tuple[float, list[torch.Tensor]]] = []
    for step in range(2 * rowwise.batches_per_epoch):
        losses, count = [], 0
        for row in (rows[number] for members in rowwise.members(step) for number in members):  # each by itself
            ids, labels = torch.from_numpy(row.ids).long()[None], torch.from_numpy(cast(Any, row.labels)).long()
            losses.append(F.cross_entropy(model(ids)[0], labels, ignore_index=-100, reduction="sum"))
            count += int((labels != -100).sum())
        loss = torch.stack(losses).sum() / count
        expected.append((loss.item(), list(torch.autograd.grad(loss, list(model.parameters())))))
    for size, accumulation in CUTS:
        sampler = RowSampler(rows, size, 24, seed=3, pad_id=0, mode=mode)
        trainer = trainer_of(build_model(config, seed=0), sampler, accumulation)
        set_learning_rate(trainer.optimizer, 0.0)
        seen = []
        for step, (loss, gradients) in enumerate(expected):
            window = trainer._window(step)
            found, _ = trainer._update(window, trainer.model.hidden_states)
            trainer.progressed.step += 1
            assert found == pytest.approx(loss, abs=1e-6)
            for (name, p), gradient in zip(trainer.model.named_parameters(), gradients, strict=True):
                torch.testing.assert_close(p.grad, gradient, atol=1e-6, rtol=1e-5, msg=f"{size} {step} {name}")
            seen.append(sum(int((batch.labels != -100).sum()) for batch in window))
        per_epoch = sum(row.n_targets for row in rows)
        assert sum(seen[: len(seen) // 2]) == sum(seen[len(seen) // 2 :]) == per_epoch  # each row once an epoch


@pytest.mark.parametrize(("batch", "accumulation"), CUTS[1:])
def test_an_epoch_of_packed_text_may_be_cut_anyhow(
    tiny: Callable[..., Path], batch: int, accumulation: int, monkeypatch: pytest.MonkeyPatch
):
    """One epoch and a step of the next: AdamW's moments, at a rate of nothing, are a sum over all its gradients."""
    words = ["model.ffn.ffn_dropout=0", "model.attn.attn_probs_dropout=0", "trainer.datasampling=packed"]
    words += [
        "evaluation.do_eval=false",
        "trainer.optimizer.lr=1e-12",
        "trainer.optimizer.min_lr=0",
        "model.num_layers=1",
    ]
    words += [
        "trainer.optimizer.grad_clip=0",
        "trainer.log_interval=99",
        "output.plots=false",
        "model.context_window=64",
    ]

    def moments(name: str, size: int, steps: int) -> tuple[dict[str, torch.Tensor], int]:
        more = [f"trainer.batch_size={size}", f"trainer.gradient_accumulation_steps={steps}", "trainer.max_iters=14"]
        checked = load_config(tiny(name), [*words, *more])
        assert train(checked) == 0
        folder = find_run("latest", Path(checked.output.output_dir))
        last = latest_checkpoint(folder / "train/weights")
        assert last is not None
        found = load_file(last / "optimizer.safetensors")
        return {key: value for key, value in found.items() if key.endswith("exp_avg")}, len(found)

    reference, _ = moments("a", 8, 1)  # 6,276 tokens, 99 rows of 64, 13 steps
    found, _ = moments("b", batch, accumulation)
    for key, value in reference.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-7, msg=lambda m, k=key: f"{k}: {m}")


def masked(batch: Batch, *, seed: int, index: int, epoch: int = 0) -> Batch:
    """Masked tokens; the padding's id is no random one in their place: of it transformers' lookup has no gradient."""
    place = {"seed": seed, "index": index, "epoch": epoch}
    whole = mask_tokens(batch, ratio=0.3, mask_id=36, vocab_size=37, special=frozenset({0}), **place)
    assert batch.attention_mask is not None
    ids = torch.where((whole.input_ids == 0) & (batch.attention_mask == 1), 1, whole.input_ids)
    return replace(whole, input_ids=ids)


@pytest.mark.parametrize("name", ["gpt2", "bert"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_fifty_steps_of_language_modelling_follow_transformers(name: str, accumulation: int, tmp_path: Path):
    """The Trainer's own step on a checkpoint, and transformers' loss with torch's AdamW on the same batches."""
    import transformers

    torch.manual_seed(0)
    if name == "gpt2":
        sizes = {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 32}
        still = {"resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}
        theirs: Any = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=37, **sizes, **still))
        mask = None
    else:
        sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
        still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        config = transformers.BertConfig(vocab_size=37, **sizes, **still, max_position_embeddings=32, pad_token_id=0)
        theirs = transformers.BertForMaskedLM(config)
        mask = masked
    theirs.save_pretrained(tmp_path)
    task = "causal_lm" if name == "gpt2" else "masked_lm"
    ours = load_pretrained(tmp_path, task=task, dtype="fp32").train()
    sampler = RowSampler(ragged(57), 4, 24, pad_id=0)
    trainer = trainer_of(ours, sampler, accumulation, clip=1.0, mask=mask)

    theirs.train()
    decayed = [p for p in theirs.parameters() if p.dim() >= 2]
    plain = [p for p in theirs.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}])
    found, expected = [], []
    for step in range(50):
        rate = 5e-3 * (1 - step / 50)
        set_learning_rate(trainer.optimizer, rate)
        window = trainer._window(step)
        found.append(trainer._update(window, ours.hidden_states)[0])
        trainer.progressed.step += 1

        count, total = sum(int((batch.labels != -100).sum()) for batch in window), 0.0
        for batch in window:
            labels = batch.labels
            if name == "gpt2":  # it shifts them itself
                labels = F.pad(labels[:, :-1], (1, 0), value=-100)
            output = theirs(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels)
            n = int((labels != -100).sum())
            share = output.loss * (n / count) if n else output.logits.sum() * 0  # of nothing transformers' mean is NaN
            share.backward()
            total += share.item()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        expected.append(total)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    before = load_pretrained(tmp_path, task=task, dtype="fp32")
    moved = [(p - q).abs().max().item() for p, q in zip(ours.parameters(), before.parameters(), strict=True)]
    assert max(moved) > 2e-2  # fifty steps at 5e-3, falling
