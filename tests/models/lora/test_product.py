"""Both products of an adapted Linear as one operation, against the formula and autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from groundup.models.feedforward import FeedForward
from groundup.models.lora.layer import Adapted, Down, LoRA
from groundup.models.quant import Linear4bit, Linear8bit
from groundup.models.quant.devices import Workspace
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

KINDS = ["dense", "nf4", "int8"]


def make(kind: str, n_in: int = 37, n_out: int = 22, bias: bool = True) -> Any:
    """A frozen layer whose bias trains."""
    torch.manual_seed(0)
    linear = nn.Linear(n_in, n_out, bias=bias)
    linear.weight.requires_grad_(False)
    if kind == "dense":
        return linear
    packed = Linear4bit.from_linear(linear) if kind == "nf4" else Linear8bit.from_linear(linear)
    packed.workspace = Workspace()
    return packed


def put_on(*linears: Any, rank: int = 3, dropout: float = 0.0, dora: bool = False) -> list[LoRA]:
    """Random adapters that share one A."""
    torch.manual_seed(1)
    adapted = Adapted(dropout, "all", rslora=False, dora=dora, saved=[])
    down = Down(torch.randn(rank, linears[0].in_features), adapted, len(linears))
    made = [LoRA(linear, down, i, 5.0, adapted) for i, linear in enumerate(linears)]
    for linear, adapter in zip(linears, made, strict=True):
        nn.init.normal_(adapter.B)
        adapter.attach_to(linear)
    return made


def weight_of(linear: Any) -> Tensor:
    return linear.dequantize() if hasattr(linear, "dequantize") else linear.weight


def nodes(y: Tensor) -> set[str]:
    """The names of the operations that y was made by."""
    found, waiting = set[str](), [y.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            found.add(node.name())
            waiting += [next_node for next_node, _ in node.next_functions]
    return found


@pytest.mark.parametrize("shape", [(2, 5, 37), (4, 37), (37,), (0, 37)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients(kind: str, bias: bool, shape: tuple[int, ...]) -> None:
    linear = make(kind, bias=bias)
    (adapter,) = put_on(linear)
    x = torch.randn(shape, requires_grad=True)
    y = linear(x)
    assert "AdaptedProductBackward" in nodes(y)
    total = weight_of(linear) + 5 / 3 * adapter.B @ adapter.A.weight
    expected = F.linear(x, total, linear.bias)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    trained = [x, adapter.A.weight, adapter.B, *([linear.bias] if bias else [])]
    noise = torch.randn_like(y)
    found = torch.autograd.grad((y * noise).sum(), trained)
    for mine, theirs in zip(found, torch.autograd.grad((expected * noise).sum(), trained), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_without_gradient(kind: str) -> None:
    linear = make(kind)
    (adapter,) = put_on(linear)
    x = torch.randn(4, 37)
    linear(x).square().sum().backward()
    total = (5 / 3 * adapter.B @ adapter.A.weight).detach().requires_grad_()
    F.linear(x, weight_of(linear) + total, linear.bias.detach()).square().sum().backward()
    torch.testing.assert_close(adapter.B.grad, 5 / 3 * total.grad @ adapter.A.weight.T, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(adapter.A.weight.grad, 5 / 3 * adapter.B.T @ total.grad, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("mixed", [False, True])
def test_parts_that_share_an_a(mixed: bool) -> None:
    """Also where one of them cannot take both products as one: the gradient of x is whole for each."""
    first, second = make("nf4"), make("dense", n_out=11)
    if mixed:
        second.weight.requires_grad_()
    one, two = put_on(first, second)
    x = torch.randn(6, 37, requires_grad=True)
    y = torch.cat([first(x), second(x)], -1)
    delta = torch.cat([one.B, two.B]) @ one.A.weight
    W = torch.cat([weight_of(first), weight_of(second)])
    expected = F.linear(x, W + 5 / 3 * delta, torch.cat([first.bias, second.bias]))
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    trained = [x, one.A.weight, one.B, two.B]
    found = torch.autograd.grad(y.square().sum(), trained)
    for mine, theirs in zip(found, torch.autograd.grad(expected.square().sum(), trained), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_falls_on_the_adapter_alone(kind: str) -> None:
    linear = make(kind)
    (adapter,) = put_on(linear, dropout=0.4)
    linear.train()
    x = torch.randn(6, 37, requires_grad=True)
    torch.manual_seed(3)
    y = linear(x)
    torch.manual_seed(3)
    low = F.dropout(x, 0.4) @ adapter.A.weight.T
    expected = F.linear(x, weight_of(linear), linear.bias) + 5 / 3 * low @ adapter.B.T
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    trained = [x, adapter.A.weight, adapter.B]
    found = torch.autograd.grad(y.square().sum(), trained)
    for mine, theirs in zip(found, torch.autograd.grad(expected.square().sum(), trained), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_under_autocast(kind: str, stored: torch.dtype) -> None:
    """The result has autocast's dtype, and differs from fp32's by rounding; gradients have their parameters' dtypes."""
    linear = make(kind).to(stored)
    (adapter,) = put_on(linear)
    x = torch.randn(3, 4, 37, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = linear(x)
    assert y.dtype == torch.bfloat16
    assert "AdaptedProductBackward" in nodes(y)
    total = weight_of(linear).float() + 5 / 3 * adapter.B @ adapter.A.weight
    expected = F.linear(x, total, linear.bias.float())
    trained = [x, adapter.A.weight, adapter.B]
    found = torch.autograd.grad(y.float().sum(), trained)
    assert ((y - expected).norm() / expected.norm()).item() < 0.01
    for mine, theirs in zip(found, torch.autograd.grad(expected.sum(), trained), strict=True):
        assert mine.dtype == torch.float32
        assert ((mine - theirs).norm() / theirs.norm()).item() < 0.01


def test_where_it_does_not_do() -> None:
    linear = make("dense")
    put_on(linear, dora=True)
    x = torch.randn(4, 37, requires_grad=True)
    assert "AdaptedProductBackward" not in nodes(linear(x))
    trained = make("dense")
    trained.weight.requires_grad_()
    put_on(trained)
    trained(x).sum().backward()
    assert trained.weight.grad is not None
    with pytest.raises(RuntimeError, match="dtype"):
        linear(x.double())
    linear = make("dense").double()
    put_on(linear)
    with pytest.raises(RuntimeError, match="dtype"):  # as without an adapter: nothing is cast in silence
        linear(x)


def test_computing_again_takes_no_product_twice(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = FeedForward(tiny(d_model=8, d_ff=18, activation="silu", gated=True)).requires_grad_(False)
    for name in ("up", "gate", "down"):
        setattr(layer, name, Linear4bit.from_linear(getattr(layer, name)))
        put_on(getattr(layer, name))
    unpacked: list[Any] = []
    for linear in (layer.up, layer.gate, layer.down):
        monkeypatch.setattr(linear, "dense", lambda dtype, of=linear.dense: unpacked.append(of) or of(dtype))
    x = torch.randn(2, 3, 8, requires_grad=True)
    trained = [x, *(p for p in layer.parameters() if p.requires_grad)]
    expected = torch.autograd.grad(layer(x).square().sum(), trained)
    assert len(unpacked) == 6
    monkeypatch.setattr("groundup.models.feedforward._LARGE", 1)
    found = torch.autograd.grad(layer(x).square().sum(), trained)
    assert len(unpacked) == 12
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    whole = torch.autograd.grad(checkpoint(layer, x, use_reentrant=False).square().sum(), trained)
    torch.testing.assert_close(whole, expected, rtol=0, atol=0)


def test_what_is_saved_is_x() -> None:
    linear = make("dense")
    put_on(linear)
    saved: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    x = torch.randn(4, 37, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        linear(x)
    assert saved == [4 * 37]  # x, once, for the gradient of A
