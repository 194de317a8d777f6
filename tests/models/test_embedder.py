"""models/embedder.py: each term of the sum, and where it is scaled, normed, dropped and projected."""

from __future__ import annotations

import pytest
import torch
from groundup.models.embedder import Embedder
from groundup.models.positions import sincos_table
from torch import nn

IDS = torch.tensor([[3, 1, 4, 1], [5, 9, 2, 6]])
ROWS = torch.tensor([[0, 1, 2, 3], [4, 0, 1, 2]])


def make(config) -> Embedder:
    torch.manual_seed(0)
    embedder = Embedder(config).eval()
    for parameter in embedder.parameters():
        nn.init.normal_(parameter)
    return embedder


@pytest.mark.parametrize("positions", [torch.arange(4), ROWS])
def test_learned_positions_with_an_offset(tiny, positions) -> None:
    embedder = make(tiny(position_offset=2))
    assert embedder.positions.weight.shape == (34, 24)
    expected = embedder.tokens.weight[IDS] + embedder.positions.weight[positions + 2]
    assert torch.equal(embedder(IDS, positions), expected)


@pytest.mark.parametrize("positions", [torch.arange(4), ROWS])
def test_sinusoids(tiny, positions) -> None:
    embedder = make(tiny(positions="sincos", embed_scale=3.0))
    assert [name for name, _ in embedder.named_parameters()] == ["tokens.weight"]
    expected = embedder.tokens.weight[IDS] * 3 + sincos_table(positions, 24)
    torch.testing.assert_close(embedder(IDS, positions), expected)


@pytest.mark.parametrize("positions", ["rope", "none"])
def test_positions_elsewhere_or_nowhere(tiny, positions) -> None:
    embedder = make(tiny(positions=positions))
    assert torch.equal(embedder(IDS, ROWS), embedder.tokens.weight[IDS])


def test_everything(tiny) -> None:
    embedder = make(tiny(n_token_types=2, embed_norm=True, d_embed=10, embed_scale=2.0))
    types = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]])

    def expected(types):
        x = embedder.tokens.weight[IDS] * 2 + embedder.positions.weight[:4] + embedder.types.weight[types]
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        x = x * embedder.norm.weight + embedder.norm.bias
        return x @ embedder.project.weight.T + embedder.project.bias

    torch.testing.assert_close(embedder(IDS, torch.arange(4), types), expected(types), atol=1e-5, rtol=1e-5)
    no_types = embedder(IDS, torch.arange(4))
    torch.testing.assert_close(no_types, expected(torch.zeros_like(IDS)), atol=1e-5, rtol=1e-5)


def test_the_scale_is_rounded_to_the_dtype_of_the_activations(tiny) -> None:
    """sqrt(3584) is 59.87; Gemma 2 in bf16 multiplies by 59.75."""
    embedder = make(tiny(positions="none", embed_scale=3584**0.5)).bfloat16()
    x = embedder(IDS, ROWS)
    assert torch.equal(x, embedder.tokens.weight[IDS] * torch.tensor(59.75, dtype=torch.bfloat16))
    assert not torch.equal(x, embedder.tokens.weight[IDS] * 3584**0.5)


def test_dropout_comes_after_the_norm_and_in_training_only(tiny) -> None:
    embedder = make(tiny(embed_norm=True, embed_dropout=0.5))
    ids = torch.randint(0, 37, (40, 30))
    whole = embedder(ids, torch.arange(30))
    assert whole.all()
    dropped = embedder.train()(ids, torch.arange(30))
    kept = dropped != 0
    assert abs(kept.float().mean().item() - 0.5) < 0.02
    torch.testing.assert_close(dropped[kept], 2 * whole[kept])
