"""Groups hold each parameter once; AdamW's update follows the paper; state travels by name."""

from __future__ import annotations

import pytest
import torch
from groundup.errors import UserError
from groundup.trainers.optimizers import (
    build_adamw,
    load_state_by_name,
    parameter_groups,
    set_learning_rate,
    state_by_name,
)
from torch import nn


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.out = nn.Linear(4, 7)
        self.out.weight = self.table.weight


def test_every_parameter_is_in_exactly_one_group() -> None:
    model = Tied()
    groups = parameter_groups(model, 0.1)
    found = [id(p) for group in groups for p in group["params"]]
    assert sorted(found) == sorted(id(p) for p in model.parameters())
    assert len(set(found)) == len(found)
    assert {name: g["weight_decay"] for g in groups for name in g["names"]} == {
        "table.weight": 0.1,
        "norm.weight": 0.0,
        "norm.bias": 0.0,
        "out.bias": 0.0,
    }


def test_frozen_parameters_are_left_out() -> None:
    model = Tied()
    model.norm.requires_grad_(False)
    assert {n for g in parameter_groups(model, 0.1) for n in g["names"]} == {"table.weight", "out.bias"}
    with pytest.raises(UserError, match="nothing to train"):
        parameter_groups(model.requires_grad_(False), 0.1)


def test_three_updates_follow_the_formula() -> None:
    """Decoupled weight decay (arXiv 1711.05101, algorithm 2), moments with bias correction."""
    torch.manual_seed(0)
    layer = nn.Linear(5, 3)
    b1, b2, eps, decay = 0.8, 0.95, 1e-6, 0.3
    optimizer = build_adamw(parameter_groups(layer, decay), lr=1.0, betas=(b1, b2), eps=eps)
    expected = {n: p.detach().double().clone() for n, p in layer.named_parameters()}
    m = {n: torch.zeros_like(p) for n, p in expected.items()}
    v = {n: torch.zeros_like(p) for n, p in expected.items()}
    for t, lr in enumerate((0.1, 0.02, 0.3), start=1):
        set_learning_rate(optimizer, lr)
        for n, p in layer.named_parameters():
            p.grad = torch.randn_like(p)
            g = p.grad.double()
            m[n] = b1 * m[n] + (1 - b1) * g
            v[n] = b2 * v[n] + (1 - b2) * g * g
            step = m[n] / (1 - b1**t) / ((v[n] / (1 - b2**t)).sqrt() + eps)
            expected[n] = expected[n] * (1 - lr * (decay if n == "weight" else 0.0)) - lr * step
        optimizer.step()
    for n, p in layer.named_parameters():
        torch.testing.assert_close(p.detach().double(), expected[n], rtol=1e-5, atol=1e-6)


def test_a_group_s_factor_scales_the_schedule() -> None:
    optimizer = build_adamw(parameter_groups(Tied(), 0.0), lr=1.0, betas=(0.9, 0.99), eps=1e-8)
    optimizer.param_groups[0]["lr_scale"] = 0.1
    set_learning_rate(optimizer, 2.0)
    assert [g["lr"] for g in optimizer.param_groups] == [pytest.approx(0.2), 2.0]


def test_state_returns_bit_for_bit_and_by_name() -> None:
    def trained(seed: int, steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        model = Tied()
        optimizer = build_adamw(parameter_groups(model, 0.1), lr=0.1, betas=(0.9, 0.99), eps=1e-8)
        for _ in range(steps):
            optimizer.zero_grad()
            model.out(model.norm(model.table(torch.tensor([1, 2])))).square().sum().backward()
            optimizer.step()
        return model, optimizer

    first, old = trained(0, 3)
    second, new = trained(5, 0)
    second.load_state_dict(first.state_dict())
    load_state_by_name(new, {k: v.clone() for k, v in state_by_name(old).items()}, "file")
    for model, optimizer in ((first, old), (second, new)):
        for p in model.parameters():
            torch.manual_seed(9)
            p.grad = torch.randn_like(p)
        optimizer.step()
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_foreign_state_is_refused() -> None:
    optimizer = build_adamw(parameter_groups(Tied(), 0.1), lr=0.1, betas=(0.9, 0.99), eps=1e-8)
    with pytest.raises(UserError, match=r"optimizer state of 'other\.weight'"):
        load_state_by_name(optimizer, {"other.weight/exp_avg": torch.zeros(3)}, "file")
    with pytest.raises(UserError, match="shape"):
        load_state_by_name(optimizer, {"norm.weight/exp_avg": torch.zeros(9)}, "file")
