"""Packed layers against F.linear with the weight that they stand for: forward, backward, memory, files."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
import torch.nn.functional as F
from groundup.errors import UserError
from groundup.models.quant import Linear4bit, Linear8bit
from groundup.models.quant.devices import Workspace
from groundup.models.quant.packed import PackedLinear
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

Maker = Callable[..., PackedLinear]
KINDS: dict[str, Maker] = {
    "nf4": Linear4bit.from_linear,
    "fp4, not nested": lambda linear, **more: Linear4bit.from_linear(linear, "fp4", 32, False, **more),
    "blocks of 4096": lambda linear, **more: Linear4bit.from_linear(linear, block_size=4096, **more),
    "int8": Linear8bit.from_linear,
}


@pytest.fixture(params=KINDS)
def pack(request: pytest.FixtureRequest) -> Maker:
    """Each way of packing a Linear in turn."""
    return KINDS[request.param]


def linear(width: int = 37, out: int = 21, bias: bool = True, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(width, out, bias)


def inputs(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()


@pytest.mark.parametrize("shape", [(37,), (5, 37), (3, 4, 37), (0, 37)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("with_workspace", [True, False])
def test_forward_and_backward_are_those_of_the_dense_weight(
    pack: Maker, shape: tuple[int, ...], bias: bool, with_workspace: bool
) -> None:
    layer = pack(linear(bias=bias))
    layer.workspace = Workspace() if with_workspace else None
    x, x_dense = inputs(*shape), inputs(*shape)
    dense = layer.to_linear()
    assert dense.weight.shape == (21, 37)
    y, y_dense = layer(x), dense(x_dense)
    torch.testing.assert_close(y, y_dense, rtol=1e-6, atol=1e-6)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    y.backward(grad)
    y_dense.backward(grad)
    torch.testing.assert_close(x.grad, x_dense.grad, rtol=1e-6, atol=1e-6)
    if bias:
        torch.testing.assert_close(layer.bias.grad, dense.bias.grad, rtol=1e-6, atol=1e-6)


def test_the_packed_weight_is_near_the_original(pack: Maker) -> None:
    original = linear(256, 64)
    error = (pack(original).dequantize() - original.weight).abs().max() / original.weight.abs().max()
    assert 1e-3 < error < 0.2


def test_gradients_are_those_of_differences(pack: Maker) -> None:
    """In fp64, the input and the bias alike; twice is refused, not wrong."""
    layer = pack(linear(6, 5))
    x = inputs(3, 6, dtype=torch.float64).detach().requires_grad_()
    layer.bias = nn.Parameter(layer.bias.detach().double())
    assert torch.autograd.gradcheck(lambda x, _: layer(x), (x, layer.bias))
    (grad,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_a_frozen_input_or_bias_takes_no_gradient(pack: Maker) -> None:
    layer = pack(linear())
    assert layer.bias.requires_grad
    layer(inputs(2, 37).detach()).sum().backward()
    assert layer.bias.grad.tolist() == [2.0] * 21
    layer.requires_grad_(False)
    x = inputs(2, 37)
    layer(x).sum().backward()
    assert x.grad is not None
    assert not layer(x.detach()).requires_grad


def test_backward_keeps_nothing_but_the_layer(pack: Maker) -> None:
    layer = pack(linear(512, 256))
    saved: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        y = layer(layer(inputs(30, 512))[:, :1].expand(30, 512))
    assert not saved
    dense = [t for t in gc.get_objects() if type(t) is Tensor and t.numel() == 512 * 256 and t.is_floating_point()]
    assert not dense  # nor is the weight kept in another way
    y.sum().backward()


def test_computing_again_in_backward_takes_no_product_twice(pack: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = pack(linear(40, 24)).requires_grad_(False)
    unpacked: list[torch.dtype] = []
    dense = layer.dense
    monkeypatch.setattr(layer, "dense", lambda dtype: unpacked.append(dtype) or dense(dtype))
    x, x_again = inputs(5, 40), inputs(5, 40)
    layer(x.sin()).sum().backward()
    checkpoint(lambda x: layer(x.sin()), x_again, use_reentrant=False).sum().backward()
    assert torch.equal(x_again.grad, x.grad)
    assert len(unpacked) == 4  # forward and backward, of either


def test_layers_that_share_a_workspace_do_not_mix_up_their_weights(pack: Maker) -> None:
    layers = [pack(linear(37, 40)), pack(linear(40, 37, seed=1)), pack(linear(37, 11, seed=2))]
    workspace = Workspace()
    for layer in layers:
        layer.workspace = workspace
    dense = [layer.to_linear() for layer in layers]
    x, x_dense = inputs(4, 37), inputs(4, 37)
    y, y_dense = x, x_dense
    for layer, exact in zip(layers, dense, strict=True):
        y, y_dense = layer(y).tanh(), exact(y_dense).tanh()
    y.sum().backward()
    y_dense.sum().backward()
    torch.testing.assert_close(y, y_dense)
    torch.testing.assert_close(x.grad, x_dense.grad)


def test_checkpointing_without_reentry_gives_the_same(pack: Maker) -> None:
    block = nn.Sequential(pack(linear()), nn.GELU(), pack(linear(21, 37, seed=1)))
    plain, saved = inputs(5, 37), inputs(5, 37)
    block(plain).square().sum().backward()
    bias = block[0].bias.grad.clone()
    block.zero_grad()
    checkpoint(block, saved, use_reentrant=False).square().sum().backward()
    assert torch.equal(plain.grad, saved.grad)
    assert torch.equal(block[0].bias.grad, bias)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_that_of_a_linear(pack: Maker, dtype: torch.dtype) -> None:
    layer = pack(linear())
    dense, x, x_dense = layer.to_linear(), inputs(5, 37), inputs(5, 37)
    with torch.autocast("cpu", dtype):
        y, y_dense = layer(x), dense(x_dense)
    assert y.dtype == dtype
    assert torch.equal(y, y_dense)
    y.float().sum().backward()
    y_dense.float().sum().backward()
    assert x.grad.dtype == torch.float32
    torch.testing.assert_close(x.grad, x_dense.grad, rtol=1e-6, atol=1e-6)
    assert layer.bias.grad.dtype == torch.float32


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_compute_dtype_decides_the_product_and_nothing_else(pack: Maker, compute: torch.dtype, autocast: bool) -> None:
    layer = pack(linear(), compute_dtype=compute)
    weight, x = layer.dequantize(compute), inputs(5, 37)
    context: AbstractContextManager[object] = torch.autocast("cpu", torch.float16, enabled=autocast)
    with context:
        y = layer(x)
    expected = F.linear(x.to(compute), weight, layer.bias.to(compute))
    assert torch.equal(y, expected.to(torch.float16 if autocast else torch.float32))
    y.float().square().sum().backward()
    assert x.grad.dtype == torch.float32
    assert x.grad.abs().sum() > 0


def test_moving_and_casting_keep_what_is_packed(pack: Maker) -> None:
    layer = pack(linear())
    before = {name: tensor.clone() for name, tensor in layer.packed().items()}
    for move in (nn.Module.half, nn.Module.double, lambda m: m.to(torch.bfloat16), lambda m: m.to("cpu")):
        move(layer)
        assert all(torch.equal(tensor, before[name]) for name, tensor in layer.packed().items())
        assert all(tensor.dtype == before[name].dtype for name, tensor in layer.packed().items())
    assert layer.bias.dtype == torch.bfloat16
    assert layer(inputs(2, 37, dtype=torch.bfloat16)).dtype == torch.bfloat16
    empty = layer.to("meta")
    assert all(tensor.is_meta and tensor.dtype == before[name].dtype for name, tensor in empty.packed().items())


def test_files_hold_the_packed_weight(pack: Maker, tmp_path: object) -> None:
    layer, x = pack(linear()), inputs(2, 37)
    save_file(layer.state_dict(), tmp_path / "layer.safetensors")
    loaded = load_file(tmp_path / "layer.safetensors")
    assert loaded["weight"].dtype in (torch.uint8, torch.int8)
    other = pack(linear(seed=5))
    assert not torch.equal(other(x), layer(x))
    other.load_state_dict(loaded)
    assert torch.equal(other(x), layer(x))
    empty = pack(nn.Linear(37, 21, device="meta"))
    assert all(tensor.is_meta for tensor in empty.packed().values())
    empty.load_state_dict(loaded, assign=True)
    assert torch.equal(empty(x), layer(x))


def test_a_file_packed_in_another_way_is_refused() -> None:
    fp4 = Linear4bit.from_linear(linear(), "fp4")
    with pytest.raises(UserError, match=r'packed as .*"fp4".*, this layer\'s as .*"nf4".*: quantise the model alike'):
        Linear4bit.from_linear(linear()).load_state_dict(fp4.state_dict())
    with pytest.raises((RuntimeError, UserError)):
        Linear8bit.from_linear(linear()).load_state_dict(fp4.state_dict())


def test_pack_fills_an_empty_layer(pack: Maker) -> None:
    dense = linear()
    empty = pack(nn.Linear(37, 21, bias=False, device="meta", dtype=torch.bfloat16))
    assert (empty.dtype, empty.weight.is_meta) == (torch.bfloat16, True)
    empty.pack(dense.weight)
    full = pack(dense)
    assert all(torch.equal(tensor, full.packed()[name]) for name, tensor in empty.packed().items())
    assert empty.dtype == torch.float32
    with pytest.raises(UserError, match=r"shape \(37, 21\) for a layer of shape \(21, 37\)"):
        empty.pack(dense.weight.t())


def test_new_layers_hold_zeros() -> None:
    for layer in (Linear4bit(6, 4), Linear4bit(7, 3, bias=False, kind="fp4", double_quant=False), Linear8bit(6, 4)):
        x = inputs(2, layer.in_features)
        assert (layer(x) == 0).all()
        assert (layer.bias is None) == (layer.in_features == 7)
    assert Linear4bit(6, 4, dtype=torch.bfloat16).bias.dtype == torch.bfloat16
    with pytest.raises(UserError, match="block size 3"):
        Linear4bit(6, 4, block_size=3)


def test_copies_are_whole(pack: Maker) -> None:
    layer, x = pack(linear()), inputs(2, 37)
    layer.workspace = Workspace()
    y = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), y)
        assert other.workspace is not layer.workspace


def test_to_linear_copies_the_bias(pack: Maker) -> None:
    layer = pack(linear())
    dense = layer.to_linear(torch.bfloat16)
    assert (dense.weight.dtype, dense.bias.dtype) == (torch.bfloat16, torch.bfloat16)
    assert layer.bias.dtype == torch.float32
    assert torch.equal(dense.weight, layer.dequantize(torch.bfloat16))
    with torch.no_grad():
        layer.to_linear().bias.add_(1)
    assert torch.equal(layer.bias, linear().bias)


def test_print_names_the_settings() -> None:
    assert "in_features=37, out_features=21, bias=True, kind=nf4, block_size=64" in repr(
        Linear4bit.from_linear(linear())
    )
    assert "kind=int8, compute_dtype=torch.float16" in repr(Linear8bit.from_linear(linear(), torch.float16))
