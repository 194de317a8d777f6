"""models/masks.py: every mask against its definition, pair by pair; and no T x T tensor where none is needed."""

from __future__ import annotations

import itertools

import pytest
import torch
from groundup.models.masks import build_masks
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

CPU = torch.device("cpu")
T = 7
LEFT = torch.tensor([[1] * 7, [0, 0, 0, 1, 1, 1, 1]])
RIGHT = torch.tensor([[1] * 7, [1, 1, 1, 1, 1, 0, 0]])
SEGMENTS = torch.tensor([[3, 3, 3, 4, 4, 4, 4], [0, 1, 1, 1, 1, 1, 2]])


def sees(
    causal: bool, window: int | None, mask: Tensor | None, segments: Tensor | None, b: int, q: int, k: int
) -> bool:
    """The definition. q and k count from the first token there is."""
    if causal and k > q:
        return False
    if window is not None and abs(q - k) >= window:
        return False
    if segments is not None and segments[b, q] != segments[b, k]:
        return False
    return mask is None or bool(mask[b, k]) or q == k


CASES = [
    (past, causal, segments)
    for past, causal, segments in itertools.product([0, 3, 6], [True, False], [None, SEGMENTS])
    if past == 0 or (causal and segments is None)  # what the model takes
]


@pytest.mark.parametrize(("past", "causal", "segments"), CASES)
@pytest.mark.parametrize("window", [None, 1, 3, 7, 100])
@pytest.mark.parametrize("padding", [None, LEFT, RIGHT])
def test_every_pair(tiny, past, causal, segments, window, padding) -> None:
    local = {} if window is None else {"window": window, "layer_pattern": ("global", "local")}
    masks = build_masks(tiny(causal=causal, **local), T - past, past, CPU, padding, segments)
    assert list(masks) == ["global"] + ["local"] * (window is not None)
    for kind, mask in masks.items():
        limit = window if kind == "local" else None
        expected = torch.tensor(
            [
                [[sees(causal, limit, padding, segments, b, q, k) for k in range(T)] for q in range(past, T)]
                for b in range(2)
            ]
        )[:, None]
        if mask is None:  # everything, or a triangle within the input
            triangle = causal and T - past > 1
            mask = torch.ones(T - past, T, dtype=torch.bool).tril() if triangle else torch.ones(T - past, T).bool()
        assert mask.dtype == torch.bool
        assert torch.equal(mask.expand(2, 1, T - past, T), expected)
        assert mask.any(-1).all()  # a row without any key would be NaN


@pytest.mark.parametrize(("causal", "past", "n"), [(True, 0, 7), (True, 0, 1), (True, 6, 1), (False, 0, 7)])
def test_none_where_nothing_is_masked(tiny, causal, past, n) -> None:
    wide = tiny(causal=causal, window=7, layer_pattern=("local", "global"))
    assert build_masks(wide, n, past, CPU) == {"global": None, "local": None}


class Shapes(TorchDispatchMode):
    """Records the shape of every tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.seen |= {
            tuple(x.shape) for x in (result if isinstance(result, (tuple, list)) else [result]) if torch.is_tensor(x)
        }
        return result


@pytest.mark.parametrize("positions", ["learned", "rope"])
def test_causal_training_makes_no_tensor_of_t_by_t(build, positions) -> None:
    model = build(positions=positions).train()
    length = 29  # no other size of this model
    with Shapes() as shapes:
        model(torch.randint(0, 37, (2, length))).sum().backward()
    assert (2, length, 24) in shapes.seen
    assert not [shape for shape in shapes.seen if shape[-2:] == (length, length)]


def test_shapes_would_show_a_mask(build) -> None:
    mask = torch.ones(2, 29)
    with Shapes() as shapes:
        build()(torch.randint(0, 37, (2, 29)), mask)
    assert [shape for shape in shapes.seen if shape[-2:] == (29, 29)]
