"""load_pretrained(quantization=...): the checkpoint's weights, packed as they are read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.models import load_pretrained, save_pretrained
from groundup.models.quant import Linear4bit, quantize_4bit, quantize_model
from small import GPT2, LLAMA, NEOX, PHI3, checkpoint


@pytest.mark.parametrize("kind", ["nf4", "fp4", "int8"])
@pytest.mark.parametrize("fields", [GPT2, LLAMA, NEOX, PHI3])
def test_it_is_the_dense_model_quantised(fields: dict[str, Any], kind: Any, tmp_path: Path) -> None:
    checkpoint(tmp_path, **fields)
    dense = load_pretrained(tmp_path)
    names = quantize_model(dense, kind)
    loaded = load_pretrained(tmp_path, quantization=kind)
    assert len(names) == len(dense.core.layers) * (7 if dense.config.gated else 6)
    ours, expected = loaded.state_dict(), dense.state_dict()
    assert ours.keys() == expected.keys()
    for key, tensor in expected.items():
        assert ours[key].dtype == tensor.dtype, key
        assert torch.equal(ours[key], tensor), key
    assert loaded.origin is not None
    ids = torch.randint(0, dense.config.vocab_size, (2, 9))
    assert torch.equal(loaded(ids), dense(ids))


def test_a_dtype_is_taken_before_packing(tmp_path: Path) -> None:
    model = checkpoint(tmp_path, **LLAMA)
    layer = load_pretrained(tmp_path, dtype="bf16", quantization="nf4").core.layers[1].ffn.f.gate
    assert isinstance(layer, Linear4bit)
    expected = quantize_4bit(model.core.layers[1].ffn.f.gate.weight.detach().bfloat16())
    assert torch.equal(layer.quantized().packed, expected.packed)
    assert torch.equal(layer.dequantize(), layer.dequantize(torch.float32).bfloat16())


def test_quantised_weights_are_no_checkpoint_for_others(tmp_path: Path) -> None:
    checkpoint(tmp_path, **LLAMA)
    model = load_pretrained(tmp_path, quantization="nf4")
    with pytest.raises(UserError, match="quantised weights cannot be written for transformers: save the model"):
        save_pretrained(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


PEAK = """
import sys, torch
from groundup.models import load_pretrained, quant
def peak(): return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
quant.quantize_4bit(torch.randn(64, 64))  # what is imported and compiled on first use
before = peak()
model = load_pretrained(sys.argv[1], quantization="nf4")
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_the_whole_is_never_there_in_more_bits(tmp_path: Path) -> None:
    """Below 0.6 of what the weights are in bf16."""
    from groundup.models import ModelConfig, build_model

    sizes: dict[str, Any] = dict(LLAMA, vocab_size=1000, d_model=1024, n_layers=16, n_heads=8, d_ff=2816)
    sizes = {key: value for key, value in sizes.items() if key not in ("head_dim", "n_kv_heads")}
    model = build_model(ModelConfig(**sizes), dtype=torch.bfloat16)
    save_pretrained(model, tmp_path / "big", max_shard_bytes=10**8)
    size = sum(p.nbytes for p in model.parameters())
    words = [sys.executable, "-c", PEAK, str(tmp_path / "big")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert size > 300 * 2**20
    assert 0.2 * size < int(done.stdout) < 0.6 * size
