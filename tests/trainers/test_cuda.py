"""The loop and the model on a CUDA device, held against the same on the CPU."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from groundup.configs.schema import load_config
from groundup.models import ModelConfig, RopeConfig, build_model
from groundup.trainers.checkpoint import latest_checkpoint
from groundup.trainers.folder import find_run
from groundup.trainers.run import train
from safetensors.torch import load_file

pytestmark = pytest.mark.gpu
Tiny = Callable[..., Path]


def finished(config: Path, *overrides: str) -> Path:
    checked = load_config(config, ["general.device=cuda", *overrides])
    assert train(checked) == 0
    return find_run("latest", Path(checked.output.output_dir))


def losses(folder: Path) -> list[float]:
    lines = (folder / "train/metrics/train.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = latest_checkpoint(folder / "train/weights")
    assert checkpoint is not None
    return {
        f"{name}/{key}": value
        for name in ("model", "optimizer")
        for key, value in load_file(checkpoint / f"{name}.safetensors").items()
    }


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"positions": "rope", "norm": "rmsnorm", "n_kv_heads": 2, "activation": "silu", "gated": True},
        {
            "positions": "rope",
            "norm": "rmsnorm",
            "attn_softcap": 5.0,
            "window": 5,
            "layer_pattern": ("local", "global"),
        },
        {"positions": "rope", "rope": RopeConfig(fraction=0.5), "parallel": True},
        {"positions": "relative", "relative_buckets": 8, "relative_span": 64, "causal": False, "norm_slots": ("sum",)},
    ],
    ids=["gpt2", "llama", "gemma", "neox", "deberta"],
)
@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_logits_and_gradients_equal_those_of_the_cpu(fields: dict, padding: str) -> None:
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=99, d_model=32, n_layers=3, n_heads=4, d_ff=72, max_seq_len=64, **fields)
    ids, mask = torch.randint(0, 99, (3, 19)), torch.ones(3, 19, dtype=torch.long)
    if padding == "left":
        mask[1, :7] = 0
    elif padding == "right":
        mask[1, 12:] = 0
    real, results = mask.bool(), {}
    matmuls = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    weight = torch.randn(3, 19, 99)
    for device in ("cpu", "cuda"):
        model = build_model(config, seed=1).to(device)
        logits = model(ids.to(device), None if padding == "none" else mask.to(device))
        (logits * weight.to(device))[real.to(device)].sum().backward()
        gradients = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
        results[device] = logits.detach().cpu()[real], gradients
    torch.backends.cuda.matmul.allow_tf32 = matmuls
    torch.testing.assert_close(results["cuda"], results["cpu"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_training_follows_the_cpu(tiny: Tiny, precision: str) -> None:
    quiet = ["model.ffn.ffn_dropout=0", "model.attn.attn_probs_dropout=0", f"trainer.mixed_precision={precision}"]
    on_cuda = losses(finished(tiny("cuda"), *quiet))
    on_cpu = losses(finished(tiny("cpu"), *quiet, "general.device=cpu"))
    tolerance = {"no": 2e-3, "bf16": 5e-2, "fp16": 2e-2}[precision]
    assert on_cuda == pytest.approx(on_cpu, abs=tolerance)


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_resuming_equals_never_stopping(tiny: Tiny, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from groundup.trainers import trainer as module

    settings = [f"trainer.mixed_precision={precision}"]
    whole = finished(tiny("whole"), *settings)
    window, stopped = module.Trainer._window, []

    def stop_once(self: module.Trainer, step: int) -> list:
        if step == 5 and not stopped:
            stopped.append(step)
            signal.raise_signal(signal.SIGINT)
        return window(self, step)

    monkeypatch.setattr(module.Trainer, "_window", stop_once)
    checked = load_config(tiny("parts"), ["general.device=cuda", *settings])
    assert train(checked) == 128 + signal.SIGINT
    parts = find_run("latest", Path(checked.output.output_dir))
    assert train(checked, parts) == 0
    a, b = weights(whole), weights(parts)
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.mark.slow
def test_compiled_training_follows_eager(tiny: Tiny) -> None:
    quiet = ["model.ffn.ffn_dropout=0", "model.attn.attn_probs_dropout=0", "trainer.max_iters=6"]
    compiled = losses(finished(tiny("compiled"), *quiet, "trainer.compile=true"))
    eager = losses(finished(tiny("eager"), *quiet))
    assert compiled == pytest.approx(eager, abs=2e-3)


def test_generation_on_the_card_equals_the_cpu() -> None:
    config = ModelConfig(vocab_size=99, d_model=32, n_layers=3, n_heads=4, d_ff=72, max_seq_len=64, init_std=0.2)
    model = build_model(config, seed=1).eval()
    ids, mask = torch.randint(0, 99, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    mask[1, :4] = 0
    expected = model.generate(ids, 20, attention_mask=mask)
    assert torch.equal(model.cuda().generate(ids.cuda(), 20, attention_mask=mask.cuda()).cpu(), expected)
