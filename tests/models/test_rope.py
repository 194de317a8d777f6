"""models/rope.py: against rotations of complex numbers, in double precision."""

from __future__ import annotations

import math

import pytest
import torch
from groundup.models.config import RopeConfig, RopeScaling
from groundup.models.rope import amplitude, apply_rope, inverse_frequencies, is_long, rope_tables
from torch import Tensor

CPU = torch.device("cpu")
LONG = RopeScaling("longrope", 4.0, 16, short_factor=(1.0, 1.5, 2.0, 3.0), long_factor=(1.0, 4.0, 9.0, 16.0))


def rotate(x: Tensor, positions: Tensor, frequencies: list[float], factor: float = 1.0) -> Tensor:
    """x (B, H, T, D) with pair i, i + R/2 as one complex number times factor * exp(1j * position * frequency_i)."""
    half = len(frequencies)
    x, rest = x.double()[..., : 2 * half], x.double()[..., 2 * half :]
    turns = positions.double()[..., None] * torch.tensor(frequencies, dtype=torch.float64)
    turns = turns[:, None] if turns.dim() == 3 else turns
    z = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.full_like(turns, factor), turns)
    return torch.cat([z.real, z.imag, rest], -1)


def plain_frequencies(theta: float, rotated: int) -> list[float]:
    return [theta ** (-2 * i / rotated) for i in range(rotated // 2)]


@pytest.mark.parametrize(("head_dim", "fraction", "rotated"), [(8, 1.0, 8), (6, 1.0, 6), (10, 0.4, 4), (32, 0.25, 8)])
@pytest.mark.parametrize("per_row", [False, True])
def test_is_a_rotation_of_pairs(head_dim, fraction, rotated, per_row) -> None:
    torch.manual_seed(0)
    rope = RopeConfig(500.0, fraction)
    positions = torch.randint(0, 40, (3, 7)) if per_row else torch.arange(7) + 5
    x = torch.randn(3, 2, 7, head_dim, requires_grad=True)
    y = apply_rope(x, rope_tables(rope, head_dim, positions))
    double = x.detach().double().requires_grad_()
    expected = rotate(double, positions, plain_frequencies(500.0, rotated))
    torch.testing.assert_close(y, expected.float(), atol=2e-6, rtol=1e-5)
    weight = torch.randn_like(x)
    (grad,) = torch.autograd.grad((y * weight).sum(), x)
    (expected_grad,) = torch.autograd.grad((expected * weight).sum(), double)
    torch.testing.assert_close(grad, expected_grad.float(), atol=4e-6, rtol=1e-5)
    assert torch.equal(y[..., rotated:], x[..., rotated:])


def test_scores_depend_on_distance_alone() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)

    def score(i: int, j: int) -> Tensor:
        a, b = (apply_rope(x, rope_tables(RopeConfig(), 16, torch.tensor([p]))) for x, p in ((q, i), (k, j)))
        return (a * b).sum()

    torch.testing.assert_close(score(5, 3), score(105, 103), atol=1e-4, rtol=0)
    assert (score(5, 3) - score(5, 4)).abs() > 0.01


def test_linear_scaling_divides_positions() -> None:
    scaled = rope_tables(RopeConfig(scaling=RopeScaling("linear", 4.0)), 8, torch.arange(12))
    plain = rope_tables(RopeConfig(), 8, torch.arange(12) / 4)
    torch.testing.assert_close(scaled, plain, atol=1e-6, rtol=0)


def test_llama3_scaling_by_wavelength() -> None:
    rope = RopeConfig(500_000.0, scaling=RopeScaling("llama3", 8.0, 8192, 1.0, 4.0))
    expected = []
    for frequency in plain_frequencies(500_000.0, 128):
        wavelength = 2 * math.pi / frequency
        if wavelength < 8192 / 4.0:
            expected.append(frequency)
        elif wavelength > 8192 / 1.0:
            expected.append(frequency / 8.0)
        else:
            smooth = (8192 / wavelength - 1.0) / (4.0 - 1.0)
            expected.append((1 - smooth) * frequency / 8.0 + smooth * frequency)
    kept, divided = expected[0] == 1.0, expected[-1] * 8.0 == plain_frequencies(500_000.0, 128)[-1]
    assert kept
    assert divided
    ours = inverse_frequencies(rope, 128, 10, CPU)
    torch.testing.assert_close(ours, torch.tensor(expected), atol=0, rtol=1e-5)


@pytest.mark.parametrize(("length", "list_used"), [(16, LONG.short_factor), (17, LONG.long_factor)])
def test_longrope_takes_its_list_by_length_and_one_amplitude(length, list_used) -> None:
    rope = RopeConfig(scaling=LONG)
    assert is_long(rope, length) == (length > 16)
    frequencies = [f / divisor for f, divisor in zip(plain_frequencies(10_000.0, 8), list_used, strict=True)]
    positions = torch.arange(length)
    x = torch.randn(1, 1, length, 8)
    factor = math.sqrt(1 + math.log(4.0) / math.log(16))
    for given in (length, None):  # None: measured from the positions
        y = apply_rope(x, rope_tables(rope, 8, positions, given))
        expected = rotate(x, positions, frequencies, factor).float()
        torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)


def test_amplitude() -> None:
    assert amplitude(RopeConfig()) == 1.0
    assert amplitude(RopeConfig(scaling=RopeScaling("linear", 4.0))) == 1.0
    published = RopeScaling("longrope", 32.0, 4096, short_factor=(1.0,), long_factor=(1.0,))
    assert amplitude(RopeConfig(scaling=published)) == pytest.approx(1.190238, abs=1e-6)  # Phi-3 mini 128k
    given = RopeScaling("longrope", 32.0, 4096, short_factor=(1.0,), long_factor=(1.0,), attention_factor=1.5)
    assert amplitude(RopeConfig(scaling=given)) == 1.5


def test_angles_stay_fp32_whatever_the_input() -> None:
    """bf16 has no 257: tables of bf16 positions would turn tokens 256 and 257 alike."""
    x = torch.randn(1, 1, 1, 8)
    with torch.autocast("cpu", torch.bfloat16):
        tables = rope_tables(RopeConfig(), 8, torch.tensor([4097]))
        assert tables.cos.dtype == tables.sin.dtype == torch.float32
        y = apply_rope(x.bfloat16(), tables)
    assert y.dtype == torch.bfloat16
    exact = rotate(x.bfloat16(), torch.tensor([4097]), plain_frequencies(10_000.0, 8))
    torch.testing.assert_close(y, exact.bfloat16(), atol=1e-3, rtol=2**-8)  # one rounding, at the end
