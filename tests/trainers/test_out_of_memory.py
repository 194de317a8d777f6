"""Memory that runs out in the middle of a backward pass: cut micro-batches, the same gradients, weights and data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from groundup.configs.schema import load_config
from groundup.data.rows import Row, RowSampler
from groundup.data.sampling import Batch
from groundup.errors import UserError
from groundup.models import ModelConfig, build_model
from groundup.trainers import trainer as module
from groundup.trainers.checkpoint import latest_checkpoint
from groundup.trainers.folder import find_run
from groundup.trainers.metrics import read_jsonl
from groundup.trainers.objectives import ClassLoss
from groundup.trainers.optimizers import build_adamw, parameter_groups
from groundup.trainers.out_of_memory import attempt, cut, is_out_of_memory, memory_limit, smaller
from groundup.trainers.precision import build_precision
from groundup.trainers.run import train
from groundup.trainers.settings import Settings
from groundup.trainers.trainer import Trainer
from safetensors.torch import load_file

Tiny = Callable[..., Path]
NOTHING = cast(Any, None)
STILL = ["model.ffn.ffn_dropout=0", "model.attn.attn_probs_dropout=0"]
CALM = ["trainer.optimizer.eps=1e-3"]  # or noise of 1e-9 in a gradient near 0 is a step of the whole rate


def weights(folder: Path) -> dict[str, torch.Tensor]:
    last = latest_checkpoint(folder / "train" / "weights")
    assert last is not None
    return {
        f"{name}:{k}": v for name in ("model", "optimizer") for k, v in load_file(last / f"{name}.safetensors").items()
    }


def run(config: Path, *words: str) -> Path:
    checked = load_config(config, list(words))
    assert train(checked) == 0
    return find_run("latest", Path(checked.output.output_dir))


class Shortage:
    """Backward fails at the first block, when head and second block have their gradients, for more than `rows` rows.

    `passes`: instead, whatever the rows, in these backward passes, counted from 1.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int | None = None, passes: tuple[int, ...] = ()):
        self.rows, self.passes, self.count, self.failed = rows, passes, 0, 0
        self.left: list[int] = []  # gradients that a failed pass has left behind
        original = module.Trainer.__post_init__

        def post_init(trainer: Trainer) -> None:
            original(trainer)
            self.watch(trainer.model)

        monkeypatch.setattr(module.Trainer, "__post_init__", post_init)

    def watch(self, model: Any) -> None:
        def fail(block: Any, gradients: Any) -> None:
            self.count += 1
            if self.count in self.passes or (self.rows is not None and len(gradients[0]) > self.rows):
                self.failed += 1
                self.left.append(sum(bool(p.grad.any()) for p in model.parameters() if p.grad is not None))
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

        model.core.layers[0].register_full_backward_pre_hook(fail)


def test_what_every_allocator_says():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50)
    assert is_out_of_memory(error.value)
    for text in (
        "CUDA error: out of memory",
        "MPS backend out of memory (MPS allocated: 9 GB)",
        "[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 7",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 7 bytes.",
        "could not create a primitive",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ):
        assert is_out_of_memory(RuntimeError(text))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))
    nothing, said = attempt(lambda: torch.empty(2**50))
    assert nothing is None
    assert said is not None
    assert "can't allocate memory" in said
    assert attempt(lambda: 3) == (3, None)
    with pytest.raises(RuntimeError, match="multiplied"):
        attempt(lambda: torch.ones(2, 3) @ torch.ones(2, 3))


def test_cutting_keeps_every_row():
    full = Batch(torch.arange(35).view(7, 5), torch.arange(35).view(7, 5) + 1, segment_ids=torch.ones(7, 5))
    pieces = list(cut([full, full], 3))
    assert [len(piece.input_ids) for piece in pieces] == [3, 3, 1] * 2
    assert all(piece.attention_mask is None for piece in pieces)
    for name in ("input_ids", "labels", "segment_ids"):
        assert torch.equal(torch.cat([getattr(piece, name) for piece in pieces[:3]]), getattr(full, name))
    assert list(cut([full], None)) == [full]
    assert [smaller(8, 1), smaller(7, 1), smaller(3, 2), smaller(2, 2), smaller(1, 1)] == [4, 4, 2, None, None]


@pytest.mark.parametrize("passes", [(1,), (2,), (4, 5), (8, 10)])
def test_weights_are_those_of_a_run_with_enough_memory(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], passes: tuple[int, ...]
):
    """In a window's first micro-batch, in its second with a finished one before, several times, in a piece of one."""
    words = [*STILL, *CALM, "trainer.batch_size=4", "trainer.datasampling=packed"]
    expected = weights(run(tiny("enough"), *words))
    with monkeypatch.context() as patch:
        shortage = Shortage(patch, passes=passes)
        folder = run(tiny("short"), *words)
    assert shortage.failed == len(passes)
    assert min(shortage.left) > 5  # there was something to be cleared
    found = weights(folder)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-6, rtol=1e-5, msg=lambda m, k=key: f"{k}: {m}")
    said = [line for line in capfd.readouterr().err.splitlines() if "memory ran out" in line]
    assert len(said) == shortage.failed
    assert "with 4 rows of 16 tokens at a time: from here on it is 2 at a time" in said[0]


def test_later_micro_batches_start_at_the_smaller_size(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    shortage = Shortage(monkeypatch, rows=2)
    folder = run(tiny(), *STILL, "trainer.batch_size=4")
    assert shortage.failed == 1
    rows = read_jsonl(folder / "train/metrics/train.jsonl")
    assert {row["micro_batch"] for row in rows} == {2}
    assert {row["tokens"] // row["step"] for row in rows} == {2 * 4 * 16}


def test_a_kept_table_gradient_is_cleared_too():
    """An encoder's table keeps one gradient for the whole run (lookup.py): what a failed pass added to it must go."""
    sizes: dict[str, Any] = {
        "vocab_size": 37,
        "d_model": 12,
        "n_layers": 2,
        "n_heads": 3,
        "d_ff": 20,
        "max_seq_len": 24,
    }
    config = ModelConfig(**sizes, causal=False, norm_slots=("sum",), classifier_activation="tanh", tie_embeddings=False)
    random = np.random.default_rng(0)
    rows = [Row(random.integers(1, 37, random.integers(2, 20)).astype(np.int32), i % 3) for i in range(8)]
    sampler = RowSampler(rows, 4, 24, pad_id=0, mode="sequential")

    def trained(fail: bool) -> Trainer:
        model = build_model(config, task="classification", num_labels=3, seed=0)
        precision = build_precision("no", torch.device("cpu"))
        optimizer = build_adamw(parameter_groups(model, 0.0), lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
        trainer = Trainer(
            model,
            optimizer,
            precision,
            sampler,
            NOTHING,
            NOTHING,
            None,
            Settings(9, 2, 0.0, 0, 0.0, 1, (), 1, 1, 0, 0, False),
            NOTHING,
            NOTHING,
            None,
            ClassLoss(model, precision),
        )
        calls: list[int] = []
        if fail:
            original = trainer._objective.backward

            def backward(batch: Batch, hidden_states: Any, scale: float) -> torch.Tensor:
                total = original(batch, hidden_states, scale)
                calls.append(len(batch.input_ids))
                if len(calls) == 4:  # in the second step, when all of its gradients are there already
                    raise MemoryError
                return total

            trainer._objective.backward = backward  # type: ignore[method-assign]
        for step in range(2):
            trainer._update(trainer._window(step), model.hidden_states)
            trainer.progressed.step += 1
        assert calls == ([4, 4, 4, 4, 2, 2, 2, 2] if fail else [])
        return trainer

    plain, failed = trained(False), trained(True)
    assert plain.model.embedder.tokens.sparse
    for one, other in zip(plain.model.parameters(), failed.model.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(other.grad, one.grad, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "rows", "remedy"),
    [
        (["trainer.batch_size=4", "trainer.min_batch_size=2"], 2, "lower trainer.min_batch_size"),
        (["trainer.batch_size=4", "trainer.batch_size_auto_adjust=false"], 4, "lower trainer.batch_size"),
        ([], 1, "shorten trainer.max_seq_length"),
    ],
)
def test_what_cannot_be_cut_ends_with_advice(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, words: list[str], rows: int, remedy: str
):
    Shortage(monkeypatch, rows=0)
    with pytest.raises(UserError) as error:
        run(tiny(), *words)
    said = str(error.value)
    assert f"memory ran out at step 1 with {rows} row" in said
    assert "(CUDA out of memory. Tried to allocate 2.00 GiB)" in said
    assert f": {remedy}" in said
    assert "gradient_checkpointing" in said
    assert "\n" not in said


def test_the_weights_from_before_are_kept(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    Shortage(monkeypatch, passes=tuple(range(7, 99)))
    config = tiny("out")
    with pytest.raises(UserError, match="memory ran out at step 4 with 1 row of 16 tokens"):
        run(config, "trainer.checkpoint_interval=100", "evaluation.do_eval=false")
    last = latest_checkpoint(find_run("latest", config.with_suffix("")) / "train" / "weights")
    assert last is not None
    assert json.loads((last / "state.json").read_text())["step"] == 3


def test_a_run_goes_on_with_the_size_it_had(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    """Dropout is on, and what it draws depends on how a window is cut: bit for bit as if it had never stopped."""
    with monkeypatch.context() as patch:
        Shortage(patch, rows=2)
        whole = run(tiny("whole"))
    config, original, folder = tiny("parts"), module.Trainer._window, None
    for stop in (1, 6, 12):
        with monkeypatch.context() as patch:
            shortage = Shortage(patch, rows=2)

            def window(self: Any, at: int, stop: int = stop) -> Any:
                if at == stop - 1 and stop < 12:
                    signal.raise_signal(signal.SIGINT)
                return original(self, at)

            patch.setattr(module.Trainer, "_window", window)
            assert train(load_config(config), folder) == (0 if stop == 12 else 130)
        assert shortage.failed == (1 if stop == 1 else 0)
        folder = find_run("latest", config.with_suffix(""))
    assert folder is not None
    found = weights(folder)
    for key, value in weights(whole).items():
        assert torch.equal(found[key], value), key


def test_an_evaluation_that_does_not_fit_begins_again(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    from groundup.models.model import Model

    expected = read_jsonl(run(tiny("a"), "trainer.max_iters=1") / "train/metrics/heldout.jsonl")
    original = Model.hidden_states

    def hidden_states(self: Model, input_ids: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        if not self.training and len(input_ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(self, input_ids, *rest, **more)

    monkeypatch.setattr(Model, "hidden_states", hidden_states)
    found = read_jsonl(run(tiny("b"), "trainer.max_iters=1") / "train/metrics/heldout.jsonl")
    assert "memory ran out while 3 rows were evaluated at a time: it begins again with 2" in capfd.readouterr().err
    assert [row["tokens"] for row in found] == [row["tokens"] for row in expected]
    for one, other in zip(found, expected, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)


LESS = """
import re, sys
from groundup.trainers.command import main
from groundup.trainers.out_of_memory import host_memory
words = sys.argv[2:]
if int(sys.argv[1]):
    used = int(re.search(r"VmData:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
    words.append(f"trainer.max_memory_usage={(used + int(sys.argv[1]) * 2**20) / host_memory():.6f}")
sys.exit(main(words))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a CPU's memory is kept on Linux")
def test_a_batch_that_does_not_fit_in_a_real_run(tiny: Tiny):
    """32 rows of 256 tokens need more than a gigabyte: within 300 MiB fewer at a time, and the same losses."""
    sizes = "model.num_layers=4 model.hidden_dim=256 model.context_window=256 model.ffn.ffn_dim=1024 "
    sizes += "model.attn.num_kv_heads=4 trainer.batch_size=32 trainer.max_iters=2 evaluation.do_eval=false "
    sizes += "model.ffn.ffn_dropout=0 model.attn.attn_probs_dropout=0 trainer.optimizer.lr=1e-3"
    losses = []
    for name, mebibytes in (("enough", 0), ("less", 300), ("far_less", 60)):
        config = tiny(name)
        command = [sys.executable, "-c", LESS, str(mebibytes), "--config", str(config), *sizes.split()]
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        if name == "far_less":
            assert ended.returncode == 1
            assert ended.stderr.splitlines()[-1].startswith("error: memory ran out")
            assert "Traceback" not in ended.stderr
            continue
        assert ended.returncode == 0, ended.stderr
        assert ("memory ran out at step 1 with 32 rows of 256 tokens" in ended.stderr) == (name == "less")
        rows = read_jsonl(find_run("latest", config.with_suffix("")) / "train/metrics/train.jsonl")
        losses.append([row["loss"] for row in rows])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a CPU's memory is kept on Linux")
def test_a_share_of_the_memory():
    import resource

    from groundup.trainers.out_of_memory import host_memory

    before = resource.getrlimit(resource.RLIMIT_DATA)
    with memory_limit(0.5, torch.device("cpu")):
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == host_memory() // 2
        assert attempt(lambda: torch.empty(int(0.6 * host_memory()), dtype=torch.uint8))[0] is None
        assert attempt(lambda: torch.ones(100).sum().item()) == (100.0, None)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    with memory_limit(None, torch.device("cpu")):
        assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_a_share_that_no_system_keeps_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "platform", "darwin")
    with memory_limit(0.9, torch.device("cpu")):
        assert attempt(lambda: 1) == (1, None)
    assert "trainer.max_memory_usage 0.9: no process is kept to a share" in capsys.readouterr().err
