"""models/kernels/swiglu.py against act(gate) * up."""

from __future__ import annotations

import pytest
import torch
from groundup.models.feedforward import ACTIVATIONS
from outcomes import compare, outcome

pytestmark = pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # of numpy, which interprets


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["silu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("shape", [(1,), (3, 5, 7), (2, 1031), (0, 4)], ids=str)
def test_equals_its_twin(shape, kind: str, dtype, device: torch.device) -> None:
    from groundup.models.kernels.swiglu import gated

    torch.manual_seed(0)
    gate, up = ((torch.randn(shape, device=device) * 4).to(dtype) for _ in range(2))
    expected = outcome(lambda gate, up: ACTIVATIONS[kind](gate) * up, gate, up)  # type: ignore[index]
    ours = outcome(lambda gate, up: gated(gate, up, kind), gate, up)
    compare(ours, expected)
    if kind == "silu" and dtype == torch.bfloat16 and ours[0].numel() > 1000:  # rounded where the twin rounds
        assert (ours[0] != expected[0]).sum() <= 0.02 * ours[0].numel()


def test_halves_of_one_tensor(device: torch.device) -> None:
    from groundup.models.kernels.swiglu import gated

    torch.manual_seed(0)
    gate, up = torch.randn(5, 26, device=device).chunk(2, -1)
    compare(outcome(gated, gate, up), outcome(lambda gate, up: ACTIVATIONS["silu"](gate) * up, gate, up))


@pytest.mark.parametrize("kind", ["silu", "gelu", "gelu_tanh"])
def test_far_from_zero(kind: str, device: torch.device) -> None:
    from groundup.models.kernels.swiglu import gated

    gate = torch.tensor([-1e4, -100.0, -20.0, -5.0, 0.0, 5.0, 100.0, 1e4], device=device)
    up = torch.linspace(-1, 1, 8, device=device)
    expected = outcome(lambda gate, up: ACTIVATIONS[kind](gate) * up, gate, up)  # type: ignore[index]
    for a, b in zip(outcome(lambda gate, up: gated(gate, up, kind), gate, up), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
