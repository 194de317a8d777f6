"""The head first, then everything; or the head alone: what trains when, and resuming on either side, bit for bit."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.models import ModelConfig, build_model, load_pretrained
from groundup.trainers import trainer as module
from groundup.trainers.command import main
from groundup.trainers.folder import find_run
from groundup.trainers.load import load_run
from groundup.trainers.phases import HeadFirst, head_parameters
from safetensors.torch import load_file

Checkpoint = Callable[[str], Path]
Tensors = dict[str, torch.Tensor]
COMMON = "device=cpu output.plots=false trainer.log_interval=1 trainer.max_seq_length=16 trainer.checkpoint_interval=1"
COMMON += " output.save_total_limit=null trainer.optimizer.lr=1e-2 trainer.optimizer.weight_decay=0.1"
CLASSES = f"{COMMON} trainer.epochs=3 trainer.batch_size=4 trainer.effective_batch_size=8 dataset.val_fraction=0.25"
CLASSES += " evaluation.strategy=epoch"  # 30 rows, 8 batches, 4 steps an epoch
TEXT = f"{COMMON} dataset.documents=line trainer.max_iters=4 trainer.warmup_iters=1 trainer.batch_size=3"
TEXT += " trainer.effective_batch_size=6 evaluation.interval=2 evaluation.max_batches=2 evaluation.sample_tokens=0"
TWO_PHASES = ("trainer.head_first_epochs=1", "trainer.optimizer.layer_factors=thirds")


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Path]]:
    """begin("out", "model=...", kind="classes" | "text") -> exit code and folder of a run."""
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))
    reviews, text = tmp_path / "reviews.csv", tmp_path / "text.txt"
    rows = [f"{'good ' * (i % 3 + 1) if i % 2 else 'bad '}{i},{'pos' if i % 2 else 'neg'}" for i in range(40)]
    reviews.write_text("review,sentiment\n" + "\n".join(rows))
    text.write_text("\n".join(f"{i} and {i + 1} make {2 * i + 1}." for i in range(200)))

    def run(out: str, *words: str, kind: str = "classes") -> tuple[int, Path]:
        data, few = (reviews, CLASSES) if kind == "classes" else (text, TEXT)
        given = {word.partition("=")[0].replace("max_iters", "epochs") for word in words}  # one of the two
        few = [word for word in few.split() if word.partition("=")[0] not in given]
        code = main([f"dataset={data}", f"output.output_dir={tmp_path / out}", *few, *words])
        return code, find_run("latest", tmp_path / out)

    return run


Begin = Callable[..., tuple[int, Path]]


def saved(folder: Path, step: int, name: str = "model") -> Tensors:
    return load_file(folder / "train" / "weights" / f"step_{step:08d}" / f"{name}.safetensors")


def is_head(name: str) -> bool:
    return name.startswith("head.")


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    original = module.Trainer._window

    def window(self: Any, at: int) -> Any:
        if at == step - 1:
            signal.raise_signal(signal.SIGINT)
        return original(self, at)

    monkeypatch.setattr(module.Trainer, "_window", window)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_the_trunk_waits_for_the_head(begin: Begin, checkpoint: Checkpoint, name: str):
    code, folder = begin("out", f"model={checkpoint(name)}", *TWO_PHASES)
    assert code == 0
    before = {k: v for k, v in load_pretrained(checkpoint(name)).named_parameters() if not is_head(k)}
    first, switched, later = saved(folder, 1), saved(folder, 4), saved(folder, 5)
    trunk = {key for key in switched if not is_head(key)}
    assert trunk <= before.keys()
    for key in switched:
        if key in trunk:
            assert torch.equal(switched[key], before[key]), key
            assert not torch.equal(later[key], switched[key]), key
        else:
            assert not torch.equal(first[key], switched[key]), key
    for step, updates in ((4, 0), (5, 1), (12, 8)):
        state = saved(folder, step, "optimizer")
        for key in switched:  # every name from the start
            assert state[f"{key}/step"] == (updates if key in trunk else step), key
            assert bool(state[f"{key}/exp_avg"].any()) == (updates > 0 or key not in trunk), key


@pytest.mark.parametrize("stops", [(2, 6), (4, 5), (3, 4)])
@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
def test_resuming_on_either_side_of_the_switch_costs_no_bit(
    begin: Begin, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, stops: tuple[int, ...], optimizer: str
):
    words = (f"model={checkpoint('bert')}", *TWO_PHASES, f"trainer.optimizer.name={optimizer}")
    code, whole = begin("whole", *words)
    assert code == 0
    with monkeypatch.context() as patch:
        stop_after(patch, stops[0])
        code, folder = begin("parts", *words)
        assert code == 130
    with monkeypatch.context() as patch:
        stop_after(patch, stops[1])
        assert main(["--resume", str(folder)]) == 130
    assert main(["--resume", str(folder)]) == 0
    for step in (stops[0], 4, stops[1], 12):
        for name in ("model", "optimizer"):
            one, other = saved(whole, step, name), saved(folder, step, name)
            assert one.keys() == other.keys()
            for key in one:
                assert torch.equal(one[key], other[key]), (step, name, key)


def test_what_has_no_gradient_is_what_waits():
    model = build_model(ModelConfig(vocab_size=31, d_model=12, n_layers=2, n_heads=3, d_ff=20, max_seq_len=16), seed=0)
    assert model.is_tied
    phase = HeadFirst(model, 3)
    for step, waits in ((0, True), (2, True), (3, False), (9, False)):
        phase.set(step)
        for name, p in model.named_parameters():
            assert p.requires_grad != (waits and name != "embedder.tokens.weight"), (step, name)
    model.core.layers[0].requires_grad_(False)
    phase = HeadFirst(model, 3)
    phase.set(0)
    phase.set(3)
    assert not any(p.requires_grad for p in model.core.layers[0].parameters())  # frozen for good stays so
    encoder = build_model(model.config, task="encoder")
    with pytest.raises(UserError, match="no head to train"):
        head_parameters(encoder)


def test_a_first_phase_as_long_as_the_run_is_refused(
    begin: Begin, checkpoint: Checkpoint, capfd: pytest.CaptureFixture[str], tmp_path: Path
):
    with pytest.raises(UserError, match="no run in"):
        begin("out", f"model={checkpoint('bert')}", "trainer.head_first_epochs=2", "trainer.max_iters=7")
    assert "2 epochs are 8 steps, and the run has 7 in all" in capfd.readouterr().err


# --- the head alone


@pytest.mark.parametrize(
    ("name", "kind", "more"),
    [
        ("bert", "classes", ()),
        ("gpt2", "classes", ()),
        ("gpt2", "text", ()),
        ("llama", "text", ()),
        ("llama", "text", ("--model.load_in_4bit", "true")),
        ("bert", "text", ()),
    ],
)
def test_the_head_alone(begin: Begin, checkpoint: Checkpoint, name: str, kind: str, more: tuple[str, ...]):
    code, folder = begin("out", f"model={checkpoint(name)}", "fine_tuning.method=head", *more, kind=kind)
    assert code == 0
    last = 12 if kind == "classes" else 4
    trained = saved(folder, last)
    model, _ = load_run(folder)
    tied = {"embedder.tokens.weight"} if model.is_tied else set[str]()
    assert trained.keys() == {key for key, _ in model.named_parameters() if is_head(key)} | tied
    before = dict(load_pretrained(checkpoint(name)).named_parameters())
    for key, value in model.named_parameters():
        if key in before and key not in trained:
            assert torch.equal(value, before[key]), key
    changed = [key for key in trained if not torch.equal(trained[key], saved(folder, 1)[key])]
    assert changed == list(trained)
    results = json.loads((folder / "training_results.json").read_text())
    assert results["trained_parameters"] == sum(value.numel() for value in trained.values())


def test_the_head_alone_goes_on_bit_for_bit(begin: Begin, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch):
    words = (f"model={checkpoint('bert')}", "fine_tuning.method=head")
    _, whole = begin("whole", *words)
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        code, folder = begin("parts", *words)
        assert code == 130
    assert main(["--resume", str(folder)]) == 0
    for key, value in saved(whole, 12).items():
        assert torch.equal(saved(folder, 12)[key], value), key
