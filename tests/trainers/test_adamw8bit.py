"""8-bit AdamW: codes and updates against bitsandbytes, against AdamW in fp32, and through a checkpoint."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.models import ModelConfig, build_model
from groundup.trainers import checkpoint as ck
from groundup.trainers.adamw8bit import BLOCK, SMALLEST, AdamW8bit, code_map
from groundup.trainers.optimizers import (
    build_optimizer,
    load_state_by_name,
    parameter_groups,
    set_learning_rate,
    state_by_name,
)
from torch import Tensor, nn

CPU = torch.device("cpu")
RATES: dict[str, Any] = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-8}


def spread(*shape: int, seed: int = 0) -> Tensor:
    """Numbers of many magnitudes, as gradients are."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 10 ** (-4 * torch.rand(shape, generator=generator))
    return torch.randn(shape, generator=generator) * sizes


class Net(nn.Module):
    """A matrix whose numbers fill no whole number of blocks, a square one, and vectors too small for codes."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.wide, self.square, self.norm = nn.Linear(67, 71), nn.Linear(71, 71, bias=False), nn.LayerNorm(71)

    def set_gradients(self, seed: int) -> None:
        for i, p in enumerate(self.parameters()):
            p.grad = spread(*p.shape, seed=100 * seed + i).to(p.device)


def optimizer_of(net: nn.Module, name: Any = "adamw_8bit", decay: float = 0.1, **changes: Any) -> torch.optim.Optimizer:
    return build_optimizer(name, parameter_groups(net, decay), **RATES | changes)


# --- codes


@pytest.mark.parametrize("signed", [True, False])
def test_every_value_takes_the_nearest_of_bitsandbytes_numbers(signed: bool) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    numbers = functional.create_dynamic_map(signed=signed)
    numbers_here = code_map(signed, CPU)
    assert torch.equal(numbers_here.numbers, numbers)
    middles = (numbers[:-1] + numbers[1:]) / 2
    near = [middles, middles.nextafter(torch.tensor(2.0)), middles.nextafter(torch.tensor(-2.0)), numbers]
    values = torch.cat([*near, spread(5000).clamp(-1, 1) if signed else spread(5000).clamp(-1, 1).abs()])
    ones = torch.ones(len(values), 1)  # a 1 in each block makes its maximum 1, so that nothing is rounded before
    blocks = torch.cat([ones, values[:, None], torch.zeros(len(values), BLOCK - 2)], -1)
    codes, maxima = numbers_here.encode(blocks.flatten())
    assert torch.equal(maxima, torch.ones(len(values)))
    codes = codes.view(-1, BLOCK)[:, 1].long()
    distance = (values.double()[:, None] - numbers.double()).abs()  # (n, 256)
    if not signed:
        distance[values > 0, 0] = torch.inf  # what is not 0 does not become 0
    chosen = distance.gather(1, codes[:, None])[:, 0]
    torch.testing.assert_close(chosen, distance.min(1).values, rtol=3e-5, atol=0)  # middles are rounded to fp32


def test_decoding_undoes_encoding_block_by_block() -> None:
    values = spread(3 * BLOCK + 17) * torch.logspace(-30, 20, 3 * BLOCK + 17)
    values[:BLOCK] = 0
    numbers = code_map(True, CPU)
    codes, maxima = numbers.encode(values)
    assert (codes.dtype, codes.shape, maxima.shape) == (torch.uint8, values.shape, (4,))
    for i in range(4):
        block = values[i * BLOCK : (i + 1) * BLOCK]
        assert maxima[i] == block.abs().max()
        expected = numbers.numbers[codes[i * BLOCK : (i + 1) * BLOCK].long()] * maxima[i]
        assert torch.equal(numbers.decode(codes, maxima)[i * BLOCK : (i + 1) * BLOCK], expected)
        assert (expected - block).abs().max() <= 0.0071 * maxima[i]  # half of the widest gap between numbers
    assert torch.equal(numbers.decode(codes, maxima)[:BLOCK], torch.zeros(BLOCK))


# --- updates


def test_codes_and_updates_are_those_of_bitsandbytes() -> None:
    """Eight steps from the same gradients, against its plain-torch kernel, which its other ones are tested with."""
    kernels = pytest.importorskip("bitsandbytes.backends.triton.kernels_optim")
    functional = pytest.importorskip("bitsandbytes.functional")
    maps = [functional.create_dynamic_map(signed=signed) for signed in (True, False)]
    p = nn.Parameter(spread(40, 130, seed=1))
    theirs, n = p.detach().clone(), p.numel()
    states = [torch.zeros(n, dtype=torch.uint8).view(p.shape) for _ in range(2)]
    maxima = [torch.zeros(-(-n // BLOCK)) for _ in range(2)]
    optimizer = AdamW8bit([{"params": [p], "names": ["p"], "weight_decay": 0.1, "lr_scale": 1.0}], **RATES)
    for step in range(1, 9):
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(step)) + 3 * p.detach()
        kernels.optimizer_update_8bit_blockwise_pytorch(
            theirs, p.grad, *states, 0.9, 0.95, 0.0, 0.0, 1e-8, step, 1e-2, *maps, *maxima, 0.1, 1.0, False,
            optimizer_name="adam",
        )  # fmt: skip
        optimizer.step()
        torch.testing.assert_close(p.detach(), theirs, rtol=1e-5, atol=1e-6)
        ours = optimizer.state[p]
        for name, codes, largest in zip(("exp_avg", "exp_avg_sq"), states, maxima, strict=True):
            torch.testing.assert_close(ours[f"{name}_max"], largest, rtol=1e-5, atol=0)
            apart = (ours[name].int() - codes.int()).abs()
            assert apart.max() <= 1
            assert (apart > 0).float().mean() < 2e-3  # a share at the middle of two numbers, rounded otherwise


def test_small_tensors_are_updated_as_by_adamw() -> None:
    ours, theirs = Net(), Net()
    pair = [(ours, optimizer_of(ours)), (theirs, optimizer_of(theirs, "adamw"))]
    for step in range(4):
        for net, optimizer in pair:
            net.set_gradients(step)
            set_learning_rate(optimizer, 0.01 / (step + 1))
            optimizer.step()
    small = [name for name, p in ours.named_parameters() if p.numel() < SMALLEST]
    assert small == ["wide.bias", "norm.weight", "norm.bias"]
    for name in small:
        torch.testing.assert_close(ours.get_parameter(name), theirs.get_parameter(name), rtol=1e-6, atol=1e-7)
    for name in ("wide.weight", "square.weight"):  # within an update's length of each other, and apart from the start
        start, mine, adamw = Net().get_parameter(name), ours.get_parameter(name), theirs.get_parameter(name)
        assert (mine - adamw).norm() < 0.15 * (adamw - start).norm()


def test_the_first_update_is_adamw_s_whatever_the_codes() -> None:
    """Moments of 0 are exact, so the first step is; with and without bias correction."""
    for correct in (True, False):
        ours, theirs = Net(), Net()
        for net, name in ((ours, "adamw_8bit"), (theirs, "adamw")):
            net.set_gradients(1)
            optimizer_of(net, name, correct_bias=correct).step()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_a_small_gradient_beside_a_large_one_is_not_divided_by_nothing() -> None:
    """Its second moment is below the least number but 0: as 0 it would make the next update a thousandfold."""
    p = nn.Parameter(torch.zeros(SMALLEST))
    optimizer = AdamW8bit([{"params": [p], "names": ["p"], "lr_scale": 1.0}], lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    gradient = torch.full((SMALLEST,), 1e-4)
    gradient[0] = 1.0
    for factor in (1.0, 1.0, 1e-3, 1e-3, 1e-3):
        before = p.detach().clone()
        p.grad = gradient * factor
        optimizer.step()
        assert (p - before).abs().max() < 0.01


def test_a_large_parameter_is_updated_in_parts_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for chunk in (2**16, 3 * BLOCK):
        monkeypatch.setitem(inspect.getmodule(AdamW8bit)._CHUNK, "cpu", chunk)  # pyright: ignore
        net = Net()
        optimizer = optimizer_of(net)
        for step in range(3):
            net.set_gradients(step)
            optimizer.step()
        results.append({**state_by_name(optimizer), **dict(net.named_parameters())})
    assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])


def test_parameters_in_16_bits_are_updated_in_fp32() -> None:
    full, half = nn.Parameter(spread(80, 80).bfloat16().float()), nn.Parameter(spread(80, 80).bfloat16())
    gradient = spread(80, 80, seed=3).bfloat16()
    for p in (full, half):
        p.grad = gradient.to(p.dtype)
        AdamW8bit([{"params": [p], "names": ["p"], "lr_scale": 1.0, "weight_decay": 0.1}], **RATES).step()
    assert torch.equal(full.bfloat16(), half)


def test_a_parameter_without_gradient_stays() -> None:
    net = Net()
    optimizer = optimizer_of(net)
    net.set_gradients(0)
    net.square.weight.grad = None
    before = net.square.weight.clone()
    optimizer.step()
    assert torch.equal(net.square.weight, before)
    assert optimizer.state[net.square.weight]["step"] == 0


# --- state


def test_state_takes_two_bytes_a_parameter() -> None:
    layer = nn.Linear(512, 512, bias=False)
    state = state_by_name(optimizer_of(layer))
    size = sum(value.nbytes for value in state.values())
    assert 2 * layer.weight.numel() <= size <= 2.04 * layer.weight.numel()
    assert {key: str(value.dtype) for key, value in state.items()} == {
        "weight/step": "torch.float32",
        "weight/exp_avg": "torch.uint8",
        "weight/exp_avg_max": "torch.float32",
        "weight/exp_avg_sq": "torch.uint8",
        "weight/exp_avg_sq_max": "torch.float32",
    }


def test_a_checkpoint_goes_on_bit_for_bit(tmp_path: Path) -> None:
    net = Net()
    optimizer = optimizer_of(net)
    for step in range(3):
        net.set_gradients(step)
        optimizer.step()
    path = ck.save_checkpoint(tmp_path, net, optimizer, {"step": 3}, is_best=False, keep=1)
    other = Net(seed=5)
    resumed = optimizer_of(other)
    other.load_state_dict(net.state_dict())
    ck.load_optimizer(path, resumed)
    for model, each in ((net, optimizer), (other, resumed)):
        for step in range(3, 6):
            model.set_gradients(step)
            each.step()
    old, new = state_by_name(optimizer), state_by_name(resumed)
    assert all(torch.equal(old[key], new[key]) for key in old)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(("was", "now"), [("adamw", "adamw_8bit"), ("adamw_8bit", "adamw")])
def test_the_state_of_another_optimizer_is_refused(was: str, now: str) -> None:
    state = state_by_name(optimizer_of(Net(), was))
    with pytest.raises(
        UserError, match=r"the state of 'wide\.weight'.*another optimizer; resume with the configuration"
    ):
        load_state_by_name(optimizer_of(Net(), now), state, "file")
    del state["norm.bias/exp_avg"]
    with pytest.raises(UserError, match=r"no optimizer state of 'norm\.bias', which this model trains"):
        load_state_by_name(optimizer_of(Net(), was), state, "file")


def test_paged_without_a_gpu_says_so_and_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    states = []
    for name in ("adamw_8bit", "paged_adamw_8bit"):
        net = Net()
        optimizer = optimizer_of(net, name)
        net.set_gradients(0)
        optimizer.step()
        states.append({**state_by_name(optimizer), **dict(net.named_parameters())})
        assert ("behaves as adamw_8bit" in capsys.readouterr().err) == (name == "paged_adamw_8bit")
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.gpu
def test_on_a_gpu_as_on_a_cpu_and_paged_as_not() -> None:
    found: dict[tuple[str, str], dict[str, Tensor]] = {}
    for place, name in (("cpu", "adamw_8bit"), ("cuda", "adamw_8bit"), ("cuda", "paged_adamw_8bit")):
        net = Net().to(place)
        optimizer = optimizer_of(net, name)
        for step in range(3):
            net.set_gradients(step)
            optimizer.step()
        found[place, name] = {**state_by_name(optimizer), **dict(net.named_parameters())}
    gpu, paged = found["cuda", "adamw_8bit"], found["cuda", "paged_adamw_8bit"]
    assert all(torch.equal(gpu[key].cpu(), paged[key].cpu()) for key in gpu)
    assert paged["wide.weight/exp_avg"].is_pinned()
    assert gpu["wide.weight/exp_avg"].is_cuda
    for name, p in found["cpu", "adamw_8bit"].items():
        if "/" not in name:  # a moment at the middle of two codes may take the other one
            apart = (gpu[name].cpu() - p).abs()
            assert (apart > 1e-5).float().mean() < 0.01
            assert apart.max() < 1e-3


@pytest.mark.gpu
def test_paged_state_takes_no_gpu_memory() -> None:
    layer = nn.Linear(2048, 2048, bias=False, device="cuda")
    before = torch.cuda.memory_allocated()
    optimizer = optimizer_of(layer, "paged_adamw_8bit")
    assert torch.cuda.memory_allocated() == before
    layer.weight.grad = torch.randn_like(layer.weight)
    optimizer.step()
    assert torch.cuda.memory_allocated() <= before + layer.weight.nbytes + 2**20  # the gradient, and the tables
    state = state_by_name(optimizer)
    copies = {key: value.clone() for key, value in state.items()}
    load_state_by_name(optimizer, copies, "file")
    assert state_by_name(optimizer)["weight/exp_avg"].is_pinned()


# --- a real run


def test_a_language_model_learns_as_with_adamw() -> None:
    """A byte model on the source of a module of the standard library: the same loss to a few percent."""
    text = torch.frombuffer(bytearray(inspect.getsource(json.decoder).encode()), dtype=torch.uint8).long()
    config = ModelConfig(256, 64, 2, 4, 192, 48, positions="rope", norm="rmsnorm", activation="silu", gated=True)
    losses = {}
    for name in ("adamw", "adamw_8bit"):
        model = build_model(config, seed=0)
        optimizer = optimizer_of(model, name, decay=0.1, lr=3e-3)
        generator = torch.Generator().manual_seed(0)
        curve = []
        for _ in range(120):
            starts = torch.randint(len(text) - 49, (8,), generator=generator)
            rows = torch.stack([text[s : s + 49] for s in starts.tolist()])  # (B, T + 1)
            loss = nn.functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
        losses[name] = sum(curve[-20:]) / 20
    assert losses["adamw"] < 2.6, "it is to learn something"
    assert losses["adamw_8bit"] == pytest.approx(losses["adamw"], rel=0.03)
