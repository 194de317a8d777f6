"""Fixtures that every test may use."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from local_hub import Hub

ROOT = Path(__file__).resolve().parent.parent

# Nothing in the tests may reach the network; code that talks to the hub is tested against localhost.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if not Path("/dev/nvidiactl").exists():
    # Where there is no GPU, Triton interprets its kernels: it reads this when it is imported, by whatever imports it.
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data sets and vocabularies; tests that need it skip where there is none."""
    folder = Path(os.environ.get("GROUNDUP_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}: set GROUNDUP_SHARED to the folder that holds data/")
    return folder


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A Hugging Face hub on localhost, without repositories."""
    from local_hub import open_hub

    hub, server = open_hub(tmp_path / "home")
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """checkpoint("gpt2"): the folder of a tiny model, made once; a test that changes it copies it before."""

    @functools.cache
    def make(name: str) -> Path:
        from checkpoints import save_checkpoint

        return save_checkpoint(name, tmp_path_factory.mktemp("checkpoints") / name)

    return make


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are skipped, with the reason, where there is no CUDA device."""
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
