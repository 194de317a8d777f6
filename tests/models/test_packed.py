"""models/packed.py: the same products from another layout, and nothing left of it afterwards."""

from __future__ import annotations

import pytest
import torch
from groundup.models import packed
from groundup.models.packed import packed_linears
from torch import Tensor, nn


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that went through packed weights."""
    seen: list[tuple[int, ...]] = []
    make = packed._packed_forward

    def spied(linear: nn.Linear, rows: int):
        forward = make(linear, rows)

        def spy(x: Tensor) -> Tensor:
            seen.append(tuple(x.shape))
            return forward(x)

        return spy

    monkeypatch.setattr(packed, "_packed_forward", spied)
    return seen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("n_in", "n_out"), [(7, 33), (64, 5), (96, 257)])
def test_products_are_those_of_the_plain_weight(bias: bool, n_in: int, n_out: int, products: list) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(n_in, n_out, bias=bias))
    fitting, other = torch.randn(6, 1, n_in), torch.randn(2, 5, n_in)
    with torch.no_grad():
        expected = [torch.einsum("...i,oi->...o", x, model[0].weight) for x in (fitting, other)]
        expected = [y + model[0].bias if bias else y for y in expected]
        with packed_linears(model, rows=6, steps=16):
            got = [model(fitting), model(other)]
        assert len(products) == 2  # it was in place
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
        model[0].weight.mul_(2)  # a copy that is still used would not follow
        bias_or_0 = model[0].bias if bias else 0
        torch.testing.assert_close(model(fitting) - bias_or_0, 2 * (expected[0] - bias_or_0), rtol=1e-4, atol=1e-5)
    assert len(products) == 2
    assert "forward" not in vars(model[0])


def test_generation_writes_the_same(tiny, products: list, monkeypatch: pytest.MonkeyPatch) -> None:
    from groundup.models import build_model

    model = build_model(tiny(init_std=0.3, qkv_bias=True), seed=1).eval()
    ids = torch.randint(0, model.config.vocab_size, (5, 3))
    written = model.generate(ids, 20)
    assert products  # packed
    assert all(shape[0] == 5 for shape in products)
    monkeypatch.setattr(packed, "ROWS", range(0))
    products.clear()
    assert torch.equal(model.generate(ids, 20), written)
    assert not products


@pytest.mark.parametrize("case", ["few rows", "many rows", "few steps", "bf16", "too large", "gradients"])
def test_where_it_does_not_pay_nothing_changes(case: str, products: list, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    rows, steps, x = 8, 16, torch.randn(8, 8)
    if case == "few rows":
        rows, x = 3, torch.randn(3, 8)
    elif case == "many rows":
        rows, x = 33, torch.randn(33, 8)
    elif case == "few steps":
        steps = 15
    elif case == "bf16":
        model, x = model.bfloat16(), x.bfloat16()
    elif case == "too large":
        monkeypatch.setattr(packed, "MAX_BYTES", 8 * 8 * 4 - 1)
    with torch.set_grad_enabled(case == "gradients"), packed_linears(model, rows, steps):
        y = model(x)
    assert not products
    assert y.requires_grad == (case == "gradients")


def test_an_error_leaves_nothing_behind() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    with torch.no_grad(), pytest.raises(RuntimeError), packed_linears(model, 8, 16):
        model(torch.randn(8, 7))  # too narrow
    assert not any("forward" in vars(linear) for linear in model)
