"""On a CPU, training in bf16 multiplies small attention out: the same result and gradients as the fused kernel's."""

from __future__ import annotations

import pytest
import torch
from groundup.models import attention as module
from groundup.models.config import ModelConfig
from groundup.models.model import build_model


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("kind", ["causal", "bidirectional", "padded", "packed", "window"])
def test_multiplied_out_equals_fused(kind: str, kv_heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    window = {"window": 3, "layer_pattern": ("local",)} if kind == "window" else {}
    config = ModelConfig(
        vocab_size=31, d_model=32, n_layers=2, n_heads=4, n_kv_heads=kv_heads, d_ff=48, max_seq_len=16,
        causal=kind != "bidirectional", **window,
    )  # fmt: skip
    model = build_model(config, seed=0).double()
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 31, (3, 11), generator=generator)
    given = {
        "padded": {"attention_mask": (torch.arange(11) < torch.tensor([[11], [7], [2]])).long()},
        "packed": {"segment_ids": torch.tensor([[0] * 4 + [1] * 7, [0] * 11, [0, 1, 2, 3] + [4] * 7])},
    }.get(kind, {})

    def run(multiplied: bool) -> list[torch.Tensor]:
        monkeypatch.setattr(module, "trains_in_bf16_on_cpu", lambda q: multiplied)
        model.zero_grad()
        logits = model(ids, **given)
        logits.square().sum().backward()
        return [logits.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]

    for a, b in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_it_is_used_for_bf16_training_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig(vocab_size=31, d_model=32, n_layers=1, n_heads=4, d_ff=48, max_seq_len=16)
    model, ids, calls = build_model(config, seed=0), torch.zeros(1, 8, dtype=torch.long), []
    original = module.Attention.multiply
    monkeypatch.setattr(module.Attention, "multiply", lambda *a: calls.append(1) or original(*a))
    model(ids)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        model(ids)
    assert not calls
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(ids)
    assert calls
    torch.testing.assert_close(half.float(), model(ids), rtol=0.05, atol=0.05)
    monkeypatch.setattr(module, "_SMALL", 4 * 8 * 8 - 1)
    calls.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(ids)
    assert not calls
