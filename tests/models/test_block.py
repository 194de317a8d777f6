"""models/block.py: where norms, dropouts and the sum sit, against the formula at the top of that file."""

from __future__ import annotations

import itertools

import pytest
import torch
from groundup.models.block import Block
from groundup.models.disentangled import DisentangledAttention
from torch import Tensor, nn

SLOTS = [tuple(s) for n in range(4) for s in itertools.combinations(("in", "out", "sum"), n)]


def make(config) -> Block:
    torch.manual_seed(0)
    block = Block(config)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.4)
    return block


def same(x: Tensor) -> Tensor:
    return x


@pytest.mark.parametrize("slots", SLOTS)
def test_norm_slots(tiny, slots) -> None:
    block, x = make(tiny(norm_slots=slots, ffn_norm="rmsnorm")), torch.randn(2, 5, 24)
    expected = x
    for residual in (block.attn, block.ffn):
        norms = {name: getattr(residual, f"norm_{name}") for name in ("in", "out", "sum")}
        assert {name for name, norm in norms.items() if norm is not None} == set(slots)
        norm_in, norm_out, norm_sum = (norm or same for norm in norms.values())
        expected = norm_sum(expected + norm_out(residual.f(norm_in(expected))))
    torch.testing.assert_close(block(x, None, None), expected, atol=1e-6, rtol=1e-6)
    if slots:
        assert isinstance(getattr(block.attn, f"norm_{slots[0]}"), nn.LayerNorm)
        assert not isinstance(getattr(block.ffn, f"norm_{slots[0]}"), nn.LayerNorm)


@pytest.mark.parametrize("slots", [("in",), ("in", "out"), ()])
def test_parallel(tiny, slots) -> None:
    block, x = make(tiny(norm_slots=slots, parallel=True)), torch.randn(2, 5, 24)
    expected = x
    for residual in (block.attn, block.ffn):
        branch = residual.f((residual.norm_in or same)(x))
        expected = expected + (residual.norm_out or same)(branch)
    torch.testing.assert_close(block(x, None, None), expected, atol=1e-5, rtol=1e-6)


def test_norms_can_be_none_around_one_sublayer(tiny) -> None:
    block = make(tiny(attn_norm="none", norm_slots=("in", "sum")))
    assert block.attn.norm_in is block.attn.norm_sum is None
    assert block.ffn.norm_in is not None


def test_relative_positions_choose_disentangled_attention(tiny) -> None:
    fields = {"positions": "relative", "causal": False, "relative_buckets": 4, "relative_span": 16}
    assert isinstance(Block(tiny(**fields)).attn.f, DisentangledAttention)


class Spy(nn.Module):
    """Passes its input on, and keeps it."""

    def forward(self, x: Tensor, *context: object) -> Tensor:
        self.seen = x
        return x


def zeros(x: Tensor) -> float:
    return (x == 0).float().mean().item()


@pytest.mark.parametrize(("part", "field"), [("attn", "attn_dropout"), ("ffn", "ffn_dropout")])
def test_input_dropout_follows_the_norm(tiny, part, field) -> None:
    torch.manual_seed(0)
    block = Block(tiny(**{field: 0.5})).train()
    spies = {"attn": Spy(), "ffn": Spy()}
    block.attn.f, block.ffn.f = spies["attn"], spies["ffn"]
    x = torch.randn(20, 30, 24)
    block(x, None, None)
    assert abs(zeros(spies[part].seen) - 0.5) < 0.02
    kept = spies[part].seen != 0
    if part == "attn":
        torch.testing.assert_close(spies[part].seen[kept], 2 * block.attn.norm_in(x)[kept])
    assert zeros(spies["ffn" if part == "attn" else "attn"].seen) == 0
    block.eval()(x, None, None)
    assert zeros(spies[part].seen) == 0


@pytest.mark.parametrize("parallel", [False, True])
def test_residual_dropout_is_on_both_branches_and_never_on_the_sum(tiny, parallel) -> None:
    torch.manual_seed(0)
    block = Block(tiny(residual_dropout=0.5, parallel=parallel, norm="none")).train()
    block.attn.f, block.ffn.f = Spy(), Spy()
    x = torch.ones(20, 30, 24)
    # Each branch adds 0 or 2 times what it read: x -> 1 or 3, then x -> that, or three times that; or 1 + 0/2 + 0/2.
    values, counts = block(x, None, None).unique(return_counts=True)
    shares = (counts / counts.sum()).tolist()
    if parallel:
        assert values.tolist() == [1, 3, 5]
        assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.02)
    else:
        assert values.tolist() == [1, 3, 9]
        assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.02)
    assert block.eval()(x, None, None).unique().tolist() == ([3] if parallel else [4])


def test_residual_dropout_may_spare_attention(tiny) -> None:
    block = Block(tiny(residual_dropout=0.5, residual_dropout_on_attn=False, norm="none")).train()
    block.attn.f, block.ffn.f = Spy(), Spy()
    x = torch.ones(20, 30, 24)
    # Attention adds what it read: 1 -> 2, everywhere. The feed-forward then adds 0 or twice 2.
    assert block(x, None, None).unique().tolist() == [2, 6]
