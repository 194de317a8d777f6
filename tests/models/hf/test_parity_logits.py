"""Every family and head against transformers: logits and the gradient of every parameter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from parity import Difference, Pair, compare, make_pair, outputs, paddings, their_output
from parity_cases import CASES

PADDED = [(name, padding) for name, case in CASES.items() for padding in paddings(case)]
BF16 = [name for name in CASES if "-" not in name or name in ("electra-generator", "phi3-longrope", "llama-scaled")]


def close(difference: Difference, what: str) -> None:
    """Equal to 1e-5 of the largest number compared (of 1, if all are smaller), and to 1e-4."""
    error, scale = difference
    assert error <= min(1e-4, 1e-5 * max(1.0, scale)), f"{what}: {error:.1e} apart, where numbers go up to {scale:.1f}"


@pytest.mark.parametrize(("name", "padding"), PADDED)
def test_logits_and_gradients(name: str, padding: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    logits, gradients = compare(pair(name), padding, tmp_path)
    close(logits, "logits")
    assert len(gradients) >= 20
    largest = max(difference.scale for difference in gradients.values())
    for parameter, (error, scale) in gradients.items():
        # A key's bias moves all scores of a query alike, so its gradient is 0, computed as a sum of large numbers.
        tolerance = 1e-5 * max(scale, 0.1 * largest)
        assert error <= tolerance, f"gradient of {parameter}: {error:.1e} apart, up to {scale:.1f}"


@pytest.mark.parametrize("length", [15, 16, 17, 40])
def test_both_sides_of_the_longrope_switch(length: int, pair: Callable[[str], Pair]) -> None:
    """What a text of more than 16 tokens reads is another list of divisors, for its first tokens too."""
    for padding in ("none", "left"):
        close(Difference.of(*outputs(pair("phi3-longrope"), padding, length)), f"{length} tokens, padding {padding}")


def test_the_longrope_lists_differ(pair: Callable[[str], Pair]) -> None:
    """The test above could tell if the wrong one were read."""
    ours = pair("phi3-longrope").ours
    ids = torch.arange(3, 20)[None]
    assert (ours(ids)[:, :16] - ours(ids[:, :16])).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["mistral", "phi3", "gemma2", "gemma3"])
@pytest.mark.parametrize("length", [4, 5, 6, 7, 40])
def test_around_the_edge_of_the_window(name: str, length: int, pair: Callable[[str], Pair]) -> None:
    close(Difference.of(*outputs(pair(name), "right" if length > 10 else "none", length)), f"{length} tokens")


def test_far_positions(pair: Callable[[str], Pair]) -> None:
    """Positions that are handed over, beyond those of short texts: what llama3 scaling is about."""
    theirs, ours = pair("llama-scaled").theirs, pair("llama-scaled").ours
    ids, positions = torch.randint(3, 99, (2, 19)), torch.stack([torch.arange(0, 57, 3), torch.arange(30, 49)])
    expected = their_output(theirs, {"input_ids": ids, "position_ids": positions})
    close(Difference.of(ours(ids, position_ids=positions), expected), "logits")
    assert (ours(ids) - expected).abs().max() > 1e-2


@pytest.mark.parametrize("name", BF16)
def test_bf16_is_as_near_the_truth_as_theirs(name: str, tmp_path: Path) -> None:
    """A bf16 checkpoint stays bf16. The truth is their model with the same weights, computed in fp32."""
    pair = make_pair(CASES[name], tmp_path, torch.bfloat16)
    assert {parameter.dtype for parameter in pair.ours.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        ours, theirs = outputs(pair, "right")
        assert ours.dtype == torch.bfloat16
        _, truth = outputs(pair._replace(theirs=pair.theirs.float()), "right")
    our_error, their_error = ((x.float() - truth).square().mean().sqrt() for x in (ours, theirs))
    assert our_error <= 1.25 * their_error, f"off by {our_error:.4f} (rms), transformers by {their_error:.4f}"
    assert our_error <= 0.03 * truth.std()
