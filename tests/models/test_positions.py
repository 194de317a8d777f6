"""models/positions.py: by examples, and sinusoids by their formula."""

from __future__ import annotations

import math

import pytest
import torch
from groundup.models.positions import position_ids, sincos_table

IDS = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, 8, 9]])
LEFT = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
RIGHT = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def test_plain_text_shares_one_row() -> None:
    assert position_ids(IDS).tolist() == [0, 1, 2, 3, 4]
    assert position_ids(IDS[:, :2], past=7).tolist() == [7, 8]


def test_padding_is_not_counted() -> None:
    assert position_ids(IDS, LEFT).tolist() == [[0, 1, 2, 3, 4], [0, 0, 0, 1, 2]]
    assert position_ids(IDS, RIGHT)[1, :3].tolist() == [0, 1, 2]
    assert position_ids(IDS, LEFT.bool()).tolist() == position_ids(IDS, LEFT).tolist()


def test_padding_is_not_counted_in_a_cache() -> None:
    assert position_ids(IDS[:, 3:], LEFT, past=3).tolist() == [[3, 4], [1, 2]]


def test_each_document_starts_at_zero() -> None:
    segments = torch.tensor([[0, 0, 1, 1, 1], [4, 5, 5, 5, 6]])
    assert position_ids(IDS, segment_ids=segments).tolist() == [[0, 1, 0, 1, 2], [0, 0, 1, 2, 0]]
    assert position_ids(IDS, LEFT, segments).tolist() == [[0, 1, 0, 1, 2], [0, 0, 1, 2, 0]]


def test_ids_are_counted_where_padding_has_a_row_of_its_own() -> None:
    ids = torch.tensor([[5, 6, 7, 1, 1], [5, 1, 7, 8, 9]])
    assert position_ids(ids, pad_token_id=1).tolist() == [[0, 1, 2, -1, -1], [0, -1, 1, 2, 3]]
    assert position_ids(ids, RIGHT, pad_token_id=1).tolist() == [[0, 1, 2, -1, -1], [0, -1, 1, 2, 3]]


@pytest.mark.parametrize("width", [2, 6, 34])
def test_sinusoids(width) -> None:
    positions = torch.tensor([[0, 1, 2], [500, 1023, 7]])
    table = sincos_table(positions, width)
    assert table.dtype == torch.float32
    expected = torch.empty(2, 3, width, dtype=torch.float64)
    for row in range(2):
        for column in range(3):
            for i in range(width // 2):
                angle = positions[row, column].item() / 10_000 ** (2 * i / width)
                expected[row, column, 2 * i] = math.sin(angle)
                expected[row, column, 2 * i + 1] = math.cos(angle)
    torch.testing.assert_close(table, expected.float(), atol=1e-4, rtol=0)  # an fp32 angle of 1000 is good to 6e-5
    torch.testing.assert_close(sincos_table(positions[0], width), expected[0].float(), atol=1e-6, rtol=0)
