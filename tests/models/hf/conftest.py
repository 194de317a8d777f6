"""Models of transformers and ours, made once for all the tests of a process."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from parity import Pair, make_pair
from parity_cases import CASES


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """pair(name) -> the model of that name, theirs and ours. Tests leave its weights and its folder as they are."""

    @functools.cache
    def make(name: str) -> Pair:
        return make_pair(CASES[name], tmp_path_factory.mktemp(name))

    return make
