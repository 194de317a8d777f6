"""Gradient norms by layer, against sums over the parameters themselves."""

from __future__ import annotations

import pytest
import torch
from groundup.models import ModelConfig, build_model
from groundup.trainers.gradients import norms_by_layer

CONFIG = ModelConfig(vocab_size=37, d_model=12, n_layers=3, n_heads=3, d_ff=20, max_seq_len=16)


@pytest.mark.parametrize("tied", [True, False])
def test_each_part_is_the_norm_of_its_parameters(tied: bool):
    import dataclasses

    model = build_model(dataclasses.replace(CONFIG, tie_embeddings=tied), seed=1)
    model(torch.randint(37, (2, 7))).square().mean().backward()
    norms = norms_by_layer(model)
    assert set(norms) == {"embedder", "0", "1", "2", "head"} or (tied and set(norms) >= {"embedder", "0", "1", "2"})
    for i, layer in enumerate(model.core.layers):
        flat = torch.cat([p.grad.flatten() for p in layer.parameters() if p.grad is not None])
        assert norms[str(i)] == pytest.approx(flat.norm().item(), rel=1e-5)
    whole = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm().item()
    assert sum(norm**2 for norm in norms.values()) ** 0.5 == pytest.approx(whole, rel=1e-5)


def test_parts_that_do_not_train_are_left_out():
    model = build_model(CONFIG, seed=1)
    assert norms_by_layer(model) == {}
    model.core.layers[0].requires_grad_(False)
    model(torch.randint(37, (2, 7))).sum().backward()
    assert "0" not in norms_by_layer(model)


def test_the_rows_of_a_kept_table_stand_for_it():
    import dataclasses

    model = build_model(dataclasses.replace(CONFIG, tie_embeddings=False), seed=1)
    model(torch.randint(37, (2, 7))).square().mean().backward()
    table, rows = model.embedder.tokens.weight, torch.randn(2, 12)
    others = [p.grad.norm() ** 2 for p in model.embedder.parameters() if p is not table and p.grad is not None]
    expected = (rows.norm() ** 2 + sum(others)).sqrt().item()
    assert norms_by_layer(model, rows)["embedder"] == pytest.approx(expected, rel=1e-5)
