"""The adapter of one Linear against its formula, and inside a model."""

from __future__ import annotations

import contextlib
import copy
import gc
import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from groundup.models import Model
from groundup.models.dropout import Dropout
from groundup.models.lora import LoRA, adapters, add_lora
from groundup.models.lora.layer import Adapted, Down, init_down
from torch import Tensor, nn

Pack = Callable[[nn.Linear], nn.Module]


def make_linear(pack: Pack | None, bias: bool) -> tuple[Any, Tensor]:
    """A frozen layer (in 13, out 7), and its weight."""
    torch.manual_seed(0)
    linear = nn.Linear(13, 7, bias=bias).requires_grad_(False)
    if pack is None:
        return linear, linear.weight
    packed: Any = pack(linear)
    return packed, packed.dequantize()


def put_on(linear: nn.Module, dropout: float = 0.0, **flags: bool) -> LoRA:
    """A random adapter of rank 3 and alpha 5."""
    adapted = Adapted(dropout, "none", flags.get("rslora", False), flags.get("dora", False), [])
    adapter = LoRA(linear, Down(torch.randn(3, 13), adapted, 1), 0, 5.0, adapted)
    adapter.attach_to(linear)
    with torch.no_grad():
        adapter.B.normal_()
        if adapter.magnitude is not None:
            adapter.magnitude.mul_(torch.rand(7) + 0.5)
    return adapter


@pytest.mark.parametrize("shape", [(2, 5, 13), (4, 13)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["plain", "packed"])
@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_the_formula(variant: str, kind: str, bias: bool, shape: tuple[int, ...], pack: Pack) -> None:
    linear, W = make_linear(pack if kind == "packed" else None, bias)
    adapter = put_on(linear, **{variant: True})
    x = torch.randn(shape, requires_grad=True)
    y = linear(x)
    noise = torch.randn_like(y)
    trained = [x, *adapter.parameters()]
    found = torch.autograd.grad((y * noise).sum(), trained)

    scale = 5 / math.sqrt(3) if variant == "rslora" else 5 / 3
    total = W + scale * adapter.B @ adapter.A.weight
    if adapter.magnitude is not None:
        total = (adapter.magnitude / total.detach().norm(dim=1))[:, None] * total
    expected = F.linear(x, total, linear.bias)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(found, torch.autograd.grad((expected * noise).sum(), trained), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    assert torch.equal(adapter.merge_into(W), adapter.merge_into(W.clone()))
    torch.testing.assert_close(adapter.merge_into(W), total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "packed"])
def test_dora_drops_what_base_and_adapter_read(kind: str, pack: Pack) -> None:
    """As PEFT: y = W x + (m / n - 1) W d + (m / n) s B A d, d being what dropout leaves of x."""
    linear, W = make_linear(pack if kind == "packed" else None, True)
    adapter = put_on(linear, dropout=0.4, dora=True)
    linear.train()
    x = torch.randn(6, 13)
    torch.manual_seed(3)
    y = linear(x)
    torch.manual_seed(3)
    d = F.dropout(x, 0.4)
    delta = 5 / 3 * adapter.B @ adapter.A.weight
    assert adapter.magnitude is not None
    ratio = adapter.magnitude / (W + delta).norm(dim=1)
    expected = F.linear(x, W, linear.bias) + (ratio - 1) * (d @ W.t()) + ratio * (d @ delta.t())
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)


def test_a_starts_as_in_the_paper() -> None:
    torch.manual_seed(0)
    A = init_down(50, 400, torch.empty(1, dtype=torch.bfloat16))
    bound = 1 / math.sqrt(400)
    assert A.dtype == torch.float32
    assert bound * 0.999 < A.abs().max() <= bound
    torch.testing.assert_close(A.std(), torch.tensor(bound / math.sqrt(3)), rtol=0.02, atol=0)


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "neox", "own"])
def test_a_new_adapter_changes_nothing(
    name: str, variant: Any, make: Callable[..., Model], ids: Tensor, stir: Callable[..., None]
) -> None:
    model = make(name)
    before = model(ids)
    names = dict(model.named_parameters())
    add_lora(model, target_modules="all-linear", rank=4, variant=variant)
    torch.testing.assert_close(model(ids), before, rtol=1e-5, atol=1e-5)
    assert names.keys() <= dict(model.named_parameters()).keys()  # what there was has the names it had
    stir(model)
    assert (model(ids) - before).abs().max() > 0.1


def test_one_matrix_of_the_checkpoint_drops_once(make: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """q, k and v of GPT-2 are one c_attn: one A, and the same of x dropped; up is another matrix."""
    model = make("gpt2")
    add_lora(model, rank=2, dropout=0.5, target_modules=["c_attn", "c_fc"], seed=0)
    attention = model.core.layers[0].attn.f
    q, k, v = (adapters(model)[f"core.layers.0.attn.f.{part}"] for part in "qkv")
    assert q.A is k.A is v.A
    assert q.B is not k.B
    model.train()
    with torch.no_grad():
        for adapter in (q, k, v):
            adapter.B.copy_(q.A.weight.new_ones(q.B.shape))
    x = torch.randn(2, 4, 24)
    drops = 0

    def dropout(x: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
        nonlocal drops
        drops += 1
        return torch.dropout(x, p, training)

    monkeypatch.setattr(F, "dropout", dropout)
    added = [
        part(x) - F.linear(x, part.weight, part.bias) for part in (attention.q, attention.k, attention.v)
    ]  # each row adds the sum over A drop(x)
    torch.testing.assert_close(added[0], added[1])
    torch.testing.assert_close(added[0], added[2])
    assert drops == 1
    assert q.adapted.lent is None
    attention.q(x)
    attention.q(x)  # the same part asks again: a new pass
    assert drops == 3


def test_a_pass_that_broke_off_is_held_no_longer_than_until_the_next(
    make: Callable[..., Model], ids: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out between q and v of the last layer: its graph is gone when the first layer is through again."""
    model = make("gpt2")
    add_lora(model, rank=2, dropout=0.5, target_modules=["c_attn"], seed=0)
    model.train()
    last = model.core.layers[-1].attn.f.v
    given: list[weakref.ref[Any]] = []
    forward = type(last).forward

    def fails(self: Any, x: Tensor) -> Tensor:
        if self is last:
            given.append(weakref.ref(x))
            raise MemoryError
        return forward(self, x)

    monkeypatch.setattr(type(last), "forward", fails)
    with contextlib.suppress(MemoryError):
        model(ids)
    gc.collect()
    assert given[0]() is not None
    model.core.layers[0].attn.f.q(torch.randn(2, 4, 24))
    gc.collect()
    assert given[0]() is None


@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_the_rate_is_the_models_to_set(variant: Any, make: Callable[..., Model], ids: Tensor) -> None:
    model = make("gpt2")
    add_lora(model, rank=2, dropout=0.5, target_modules="all-linear", variant=variant, seed=0)
    for adapter in adapters(model).values():
        nn.init.normal_(adapter.B)
    whole = model(ids)
    model.train()
    assert not torch.equal(model(ids), whole)
    model.set_dropout(**dict.fromkeys({m.field for m in model.modules() if isinstance(m, Dropout)}, 0.0))
    torch.testing.assert_close(model(ids), whole, rtol=1e-5, atol=1e-5)
    model.set_dropout(lora_dropout=0.25)
    assert {adapter.A.dropout.p for adapter in adapters(model).values()} == {0.25}


def test_base_weights_read_what_is_not_dropped(make: Callable[..., Model], ids: Tensor) -> None:
    """With B = 0, dropout of the adapters shows nowhere."""
    model = make("llama")
    before = model(ids)
    add_lora(model, rank=2, dropout=0.9, target_modules="all-linear")
    torch.testing.assert_close(model.train()(ids), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_autocast_and_bf16(
    variant: Any, adapted: Callable[..., Model], make: Callable[..., Model], ids: Tensor
) -> None:
    """Adapters and their gradients are fp32 whether the model is in bf16 or under autocast."""
    full = adapted("gpt2", variant=variant)
    expected = full(ids)
    half = make("gpt2").bfloat16()
    add_lora(half, rank=3, alpha=5, target_modules="all-linear", variant=variant)
    for mine, theirs in zip(adapters(half).values(), adapters(full).values(), strict=True):
        mine.load_state_dict(theirs.state_dict())
    outputs = [half(ids)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs.append(full(ids))
    for output, model in zip(outputs, (half, full), strict=True):
        assert output.dtype == torch.bfloat16
        assert (output.float() - expected).abs().max() < 0.03 * expected.abs().max()
        output.float().square().mean().backward()
        for parameter in model.parameters():
            if parameter.requires_grad:
                assert parameter.dtype == torch.float32
                assert parameter.grad is not None
                assert parameter.grad.dtype == torch.float32


@pytest.mark.parametrize("variant", ["lora", "dora"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "own"])
def test_gradient_checkpointing_changes_nothing(
    name: str, variant: Any, adapted: Callable[..., Model], ids: Tensor
) -> None:
    """Also with dropout, whose numbers must come again in the second pass."""
    model = adapted(name, variant=variant, dropout=0.3).train()
    gradients: list[list[Tensor]] = []
    for on in (False, True):
        model.gradient_checkpointing = on
        model.zero_grad()
        torch.manual_seed(4)
        model(ids).square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == sum(p.requires_grad for p in model.parameters())
    for without, with_it in zip(*gradients, strict=True):
        assert torch.equal(without, with_it)


@pytest.mark.parametrize("variant", ["lora", "dora"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_wide_activations_are_computed_again(
    name: str, variant: Any, adapted: Callable[..., Model], ids: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The feed-forward's, also where what reads them drops some; and but for DoRA no Linear multiplies twice."""
    model = adapted(name, variant=variant, dropout=0.3).train()
    products = 0

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        nonlocal products
        y = torch._C._nn.linear(x, weight, bias)  # pyright: ignore
        products += len(weight) > 3 and weight.shape[1] > 3  # an adapter's are narrow
        return y

    monkeypatch.setattr(F, "linear", linear)
    gradients: list[list[Tensor]] = []
    counts: list[int] = []
    for large in (2**40, 1):
        monkeypatch.setattr("groundup.models.feedforward._LARGE", large)
        model.zero_grad()
        products = 0
        torch.manual_seed(4)
        model(ids).square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        counts.append(products)
    for without, with_it in zip(*gradients, strict=True):
        assert torch.equal(without, with_it)
    assert variant == "dora" or counts[0] == counts[1]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_generate_and_attention_maps(name: str, adapted: Callable[..., Model], ids: Tensor) -> None:
    model = adapted(name)
    start = torch.cat([ids, ids + 1])[:5, :4]  # enough rows and steps for other Linears to be laid out anew: packed.py
    made = model.generate(start, max_new_tokens=16)
    again = start
    for _ in range(16):
        again = torch.cat([again, model(again)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(made, again)
    maps = model.attention_maps(ids)
    for adapter in adapters(model).values():
        assert adapter.adapted.lent is None
        nn.init.zeros_(adapter.B)
    changed = model.attention_maps(ids)
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(maps, changed, strict=True))


def test_compiled(adapted: Callable[..., Model], ids: Tensor) -> None:
    """In one graph, with an A that several Linears share."""
    model = adapted("gpt2", dropout=0.2)
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(ids), model(ids), rtol=1e-5, atol=1e-5)
    compiled(ids).square().mean().backward()
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    model(ids).square().mean().backward()
    for mine, theirs in zip(found, (p.grad for p in model.parameters() if p.grad is not None), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_copy_has_adapters_of_its_own(adapted: Callable[..., Model], ids: Tensor) -> None:
    model = adapted("gpt2", dropout=0.1)
    before = model(ids)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(ids), before)
    with torch.no_grad():
        for adapter in adapters(twin).values():
            adapter.B.zero_()
    assert not torch.equal(twin(ids), before)
    assert torch.equal(model(ids), before)
