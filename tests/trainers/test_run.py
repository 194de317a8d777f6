"""Whole runs: what they write, and that stopping and resuming changes no bit of it."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.configs.schema import load_config
from groundup.errors import UserError
from groundup.trainers.checkpoint import checkpoints, latest_checkpoint
from groundup.trainers.folder import find_run
from groundup.trainers.load import load_run
from groundup.trainers.metrics import read_jsonl
from groundup.trainers.run import train
from safetensors.torch import load_file

Tiny = Callable[..., Path]
TIMING = {"tokens_per_second", "samples_per_second", "seconds", "cpu_percent", "memory_gib", "peak_memory_gib"}


def run(config: Path, *overrides: str, resume: Path | None = None) -> Path:
    """Train in this process -> the run's folder."""
    checked = load_config(config, list(overrides))
    assert train(checked, resume) == 0
    return resume or find_run("latest", Path(checked.output.output_dir))


def weights(folder: Path, step: int | None = None) -> dict[str, torch.Tensor]:
    last = latest_checkpoint(folder / "train" / "weights")
    assert last is not None
    checkpoint = last if step is None else folder / "train" / "weights" / f"step_{step:08d}"
    return {
        f"{name}:{key}": value
        for name in ("model", "optimizer")
        for key, value in load_file(checkpoint / f"{name}.safetensors").items()
    }


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in row.items() if k not in TIMING}
        for row in read_jsonl(folder / "train/metrics" / f"{name}.jsonl")
    ]


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def test_a_run_leaves_everything_behind(tiny: Tiny) -> None:
    folder = run(tiny(), "output.plots=true")
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and "step_" not in str(p)}
    assert {
        "config.yaml",
        "training_results.json",
        "baseline/metrics/heldout.json",
        "test/metrics/heldout.json",
        "train/metrics/train.jsonl",
        "train/metrics/heldout.jsonl",
        "train/analysis/loss.png",
        "train/analysis/learning_rate.png",
        "train/analysis/gradient_norm.png",
        "train/analysis/throughput.png",
        "train/analysis/samples.png",
        "train/analysis/memory.png",
        "train/analysis/gradient_norm_layers.png",
        "baseline/analysis/attention_maps.png",
        "test/analysis/attention_maps.png",
        "train/metrics/gradients.jsonl",
        "train/metrics/checkpoints.jsonl",
        "report.html",
        "train/analysis/samples.txt",
    } <= found
    results = json.loads((folder / "training_results.json").read_text())
    assert results["finished"]
    assert results["steps"] == 12
    assert results["tokens_seen"] == 12 * 2 * 3 * 16
    assert [row["step"] for row in rows(folder, "train")] == list(range(1, 13))
    assert [row["step"] for row in rows(folder, "heldout")] == [0, 5, 10, 12]
    baseline = json.loads((folder / "baseline/metrics/heldout.json").read_text())
    assert results["heldout"]["loss"] < baseline["loss"] - 1
    assert load_config(folder / "config.yaml", []).to_dict() == load_config(tiny(), ["output.plots=true"]).to_dict()
    assert set(rows(folder, "gradients")[0]) == {"step", "embedder", "0", "1", "head"}
    for norms, row in zip(rows(folder, "gradients"), rows(folder, "train"), strict=True):
        parts = sum(value**2 for key, value in norms.items() if key != "step") ** 0.5
        assert parts == pytest.approx(row["grad_norm"], rel=1e-4)
    assert results["epochs"] == pytest.approx(12 / results["steps_per_epoch"], abs=1e-4)
    assert results["checkpoints"]["written"] == len(rows(folder, "checkpoints"))
    assert {"cpu_percent", "samples_per_second", "seconds_per_epoch", "peak_memory_gib"} <= results.keys()


def test_the_learning_rate_in_the_log_is_the_schedule_s(tiny: Tiny) -> None:
    folder = run(tiny())
    lrs = [row["lr"] for row in rows(folder, "train")]
    assert lrs[:2] == pytest.approx([0.005, 0.01])
    assert lrs[2] == pytest.approx(0.01)
    assert lrs == sorted(lrs[:2]) + sorted(lrs[2:], reverse=True)


def test_held_out_loss_equals_a_plain_computation(tiny: Tiny) -> None:
    """The logged number against logits and torch's cross-entropy on the same rows."""
    from groundup.data.sampling import Sampler
    from groundup.data.text import load_text_data

    path = tiny()
    folder = run(path)
    model, tokenizer = load_run(latest_checkpoint(folder / "train/weights") or folder)
    data = load_text_data(load_config(path, []), tokenizer)
    assert data.val is not None
    sampler = Sampler(data.val, 3, 16, seed=0, mode="packed")
    batches = [sampler.batch(i) for i in range(min(4, sampler.batches_per_epoch))]
    losses = [
        torch.nn.functional.cross_entropy(model(b.input_ids).flatten(0, 1), b.labels.flatten(), reduction="sum")
        for b in batches
    ]
    n = sum(int((b.labels != -100).sum()) for b in batches)
    final = rows(folder, "heldout")[-1]
    assert final["tokens"] == n
    assert final["loss"] == pytest.approx(torch.stack(losses).sum().item() / n, rel=1e-5)
    assert final["perplexity"] == pytest.approx(2.718281828459045 ** final["loss"], rel=1e-6)
    assert final["bits_per_byte"] == pytest.approx(final["loss"] / 0.6931471805599453 / data.val.bytes_per_token)
    assert final["bytes"] == round(final["tokens"] * data.val.bytes_per_token)


@pytest.mark.parametrize(
    "setting",
    [
        *(f"trainer.mixed_precision={precision}" for precision in ("no", "bf16", "fp16")),
        "trainer.optimizer=paged_adamw_8bit",
    ],
)
def test_resuming_twice_equals_never_stopping(tiny: Tiny, setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tiny("whole"), setting)
    dtype = torch.uint8 if "8bit" in setting else torch.float32
    assert weights(whole)["optimizer:embedder.tokens.weight/exp_avg"].dtype == dtype
    parts = tiny("parts")
    folder = None
    for stop in (3, 8, 12):
        stop_after(monkeypatch, stop)
        checked = load_config(parts, [setting])
        code = train(checked, folder)
        assert code == (0 if stop == 12 else 128 + signal.SIGINT)
        folder = find_run("latest", Path(checked.output.output_dir))
    assert folder is not None
    assert_same(weights(whole), weights(folder))
    assert rows(whole, "train") == rows(folder, "train")
    assert rows(whole, "heldout") == rows(folder, "heldout")


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Deliver SIGINT while the given step is being made."""
    from groundup.trainers import trainer as module

    original = module.Trainer._window

    def window(self: Any, at: int) -> Any:
        if at == step - 1 and step < 12:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, at)

    monkeypatch.setattr(module.Trainer, "_window", window)


def test_evaluating_does_not_disturb_training(tiny: Tiny) -> None:
    with_it, without = run(tiny("a")), run(tiny("b"), "evaluation.do_eval=false")
    assert_same(weights(with_it), weights(without))
    assert rows(without, "heldout") == []


@pytest.mark.parametrize(("batch", "accumulation"), [(1, 6), (6, 1)])
def test_the_window_may_be_cut_anyhow(tiny: Tiny, batch: int, accumulation: int) -> None:
    """Equal gradients: AdamW's state after one step holds (1 - beta1) times the gradient."""
    one_step = ["trainer.max_iters=1", "model.ffn.ffn_dropout=0", "model.attn.attn_probs_dropout=0"]
    masked = ["trainer.datasampling=packed"]  # rows then differ in how many targets they have
    reference = weights(run(tiny("a"), *one_step, *masked))
    cut = [f"trainer.batch_size={batch}", f"trainer.gradient_accumulation_steps={accumulation}"]
    other = weights(run(tiny("b"), *one_step, *masked, *cut))
    moments = [key for key in reference if key.endswith("exp_avg")]
    assert moments
    for key in moments:
        torch.testing.assert_close(other[key], reference[key], rtol=1e-4, atol=1e-7, msg=key)


def test_the_chunk_of_the_loss_does_not_matter(tiny: Tiny) -> None:
    a = weights(run(tiny("a"), "trainer.loss_chunk_tokens=5", "trainer.max_iters=3"))
    b = weights(run(tiny("b"), "trainer.loss_chunk_tokens=0", "trainer.max_iters=3"))
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-3, atol=1e-5, msg=key)


@pytest.mark.parametrize("tied", ["true", "false"])
def test_a_lookup_s_gradient_is_sparse(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tied: str) -> None:
    """Its rows are added to the head's gradient, or to one that is kept; the weights are as with dense ones."""
    words = ["trainer.max_iters=3", f"model.embedding_weight_tying={tied}"]
    a = weights(run(tiny("a"), *words))
    lookups: list[bool] = []
    embedding = torch.nn.functional.embedding

    def dense(ids: Any, weight: Any, *arguments: Any) -> Any:  # padding_idx, max_norm, norm_type, scale, sparse
        lookups.append(arguments[-1])
        return embedding(ids, weight, *arguments[:-1], False)

    monkeypatch.setattr("torch.nn.functional.embedding", dense)
    b = weights(run(tiny("b"), *words))
    assert any(lookups), "no lookup was sparse"
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-5, atol=1e-7, msg=key)


def test_gradient_checkpointing_changes_no_weight(tiny: Tiny) -> None:
    a = weights(run(tiny("a"), "trainer.max_iters=3"))
    b = weights(run(tiny("b"), "trainer.max_iters=3", "trainer.gradient_checkpointing=true"))
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-5, atol=1e-7, msg=key)


def test_masked_next_token_prediction_learns(tiny: Tiny) -> None:
    options = ["trainer.loss_fn=next_token_mlm", "trainer.max_iters=30", "evaluation.sample_tokens=0"]
    folder = run(tiny(), *options, "model.attn.attn_type=bidirectional")
    losses = [row["loss"] for row in rows(folder, "heldout")]
    assert losses[-1] < losses[0] - 1
    assert "bits_per_byte" not in rows(folder, "heldout")[-1]


def test_a_dropout_schedule_moves_every_dropout(tiny: Tiny) -> None:
    schedule = {"name": "linear", "start": 0.5, "end": 0.0, "end_iter": 10}
    folder = run(tiny("a", trainer={"dropout_schedule": schedule}))
    assert [row["dropout"] for row in rows(folder, "train")][:3] == pytest.approx([0.5, 0.45, 0.4])
    plain = run(tiny("b"))
    assert rows(folder, "train")[0]["loss"] != rows(plain, "train")[0]["loss"]


def test_best_and_last_outlive_the_limit(tiny: Tiny) -> None:
    folder = run(tiny(), "output.save_total_limit=1", "trainer.checkpoint_interval=1")
    kept = {p.name for p in checkpoints(folder / "train/weights")}
    best = (folder / "train/weights/best").resolve().name
    assert kept == {best, "step_00000012"}


def test_epochs_count_the_data(tiny: Tiny) -> None:
    folder = run(tiny(trainer={"max_iters": None, "epochs": 1, "batch_size": 16}, evaluation={"strategy": "epoch"}))
    state = json.loads((folder / "training_results.json").read_text())
    per_step = 2 * 16 * 16
    assert (
        state["steps"] == -(-(state["train_tokens"] // 256) // 2) or state["steps"] * per_step >= state["train_tokens"]
    )
    assert [row["step"] for row in rows(folder, "heldout")] == [0, state["steps"]]


# --- what goes wrong ---------------------------------------------------------------------------------------------


def test_too_many_losses_that_are_not_finite_end_the_run(tiny: Tiny) -> None:
    config = tiny(trainer={"optimizer": {"lr": 1e30, "min_lr": 0.0, "grad_clip": 0.0}, "max_nonfinite_steps": 3})
    with pytest.raises(UserError, match="not finite for 3 steps in a row") as error:
        run(config)
    text = str(error.value)
    step = int(re.search(r"the last at step (\d+)", text).group(1))  # type: ignore[union-attr]
    assert "epoch 0" in text
    assert "lower" in text.lower()
    saved = load_file(re.search(r"batch is in (\S+),", text).group(1))  # type: ignore[union-attr]
    assert {"0.input_ids", "0.labels", "1.input_ids", "1.labels"} <= saved.keys()
    folder = find_run("latest", config.with_suffix(""))
    assert read_jsonl(folder / "train/metrics/train.jsonl")[-1]["step"] <= step


def test_a_step_that_is_not_finite_changes_nothing(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """One poisoned loss: the step is counted as skipped, the weights stay, the next steps go on."""
    from groundup.trainers import objectives as module

    original, calls = module.loss_backward, []

    def poisoned(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(1)
        total = original(hidden, *args, **kwargs)
        return total * float("nan") if len(calls) == 2 * 4 + 1 else total  # step 5, its first micro-batch

    monkeypatch.setattr(module, "loss_backward", poisoned)
    folder = run(tiny(), "trainer.checkpoint_interval=1", "output.save_total_limit=null", "evaluation.do_eval=false")
    assert_same(weights(folder, 4), weights(folder, 5))
    assert json.loads((folder / "training_results.json").read_text())["skipped_steps"] == 1
    changed = weights(folder, 6)
    assert any(not torch.equal(changed[k], v) for k, v in weights(folder, 5).items())


def test_an_output_folder_that_cannot_be_written(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot create .*output\.output_dir"):
        run(tiny(output={"output_dir": str(tmp_path / "file")}))


def test_resume_names_what_it_cannot_find(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run in"):
        find_run("latest", tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        find_run(str(tmp_path / "nowhere"), tmp_path)
    with pytest.raises(UserError, match="not a run's folder"):
        find_run(str(tmp_path), tmp_path)


def test_resuming_with_another_architecture_is_refused(tiny: Tiny) -> None:
    config = tiny()
    folder = run(config, "trainer.max_iters=2")
    with pytest.raises(UserError, match="another architecture"):
        train(load_config(config, ["model.hidden_dim=48"]), folder)


# --- from outside ------------------------------------------------------------------------------------------------


def start(root: Path, *arguments: str) -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(root / "train.py"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def wait_for(path: Path, pattern: str, process: subprocess.Popen[str], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not list(path.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.01)


LONG = ["trainer.max_iters=60", "trainer.checkpoint_interval=2", "trainer.eval_interval=7", "output.plots=false"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(tiny: Tiny, root: Path, number: signal.Signals) -> None:
    whole = run(tiny("whole"), *LONG)
    config = tiny("stopped")
    process = start(root, "--config", str(config), *LONG)
    wait_for(config.with_suffix(""), "*/*/train/weights/step_*", process)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number, stderr
    folder = find_run("latest", config.with_suffix(""))
    assert f"python train.py --resume {folder}" in stderr
    assert "Traceback" not in stderr
    resumed = start(root, "--resume", str(folder))
    _, stderr = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, stderr
    assert_same(weights(whole), weights(folder))
    assert rows(whole, "train") == rows(folder, "train")


@pytest.mark.slow
def test_kill_9_at_any_moment_costs_no_bit(tiny: Tiny, root: Path) -> None:
    options = [word.replace("checkpoint_interval=2", "checkpoint_interval=1") for word in LONG]
    whole = run(tiny("whole"), *options)
    config = tiny("killed")
    chance = random.Random(5)
    process = start(root, "--config", str(config), *options)
    wait_for(config.with_suffix(""), "*/*/train/weights/step_*", process)
    kills = 0
    while True:
        try:
            process.wait(timeout=0.05 + 0.4 * chance.random())
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0, process.communicate()[1]
            break
        folder = find_run("latest", config.with_suffix(""))
        before = len(checkpoints(folder / "train/weights"))
        assert before
        process = start(root, "--resume", str(folder))
        if kills > 3:
            process.wait(timeout=120)
        else:  # let it get past its start
            time.sleep(2.5)
    assert kills
    folder = find_run("latest", config.with_suffix(""))
    assert_same(weights(whole), weights(folder))
    assert rows(whole, "train") == rows(folder, "train")
    assert not list((folder / "train/weights").glob(".partial*"))


@pytest.mark.slow
def test_errors_are_one_sentence_and_exit_code_1(tiny: Tiny, root: Path, tmp_path: Path) -> None:
    bad = {
        "none.yaml": ["--config", str(tmp_path / "none.yaml")],
        "dataset.name": ["--config", str(tiny()), "dataset.name=./nothing.txt"],
        "Did you mean 'model.num_layers'": ["--config", str(tiny()), "model.num_layer=3"],
    }
    for expected, arguments in bad.items():
        process = start(root, *arguments)
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 1, (expected, stdout, stderr)
        assert "Traceback" not in stderr
        last = stderr.strip().splitlines()[-1]
        assert last.startswith("error: "), stderr
        assert expected in last
