"""A checkpoint is there whole or not at all, and says what is wrong with it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from groundup.errors import UserError
from groundup.models import saved
from groundup.trainers import checkpoint as ck
from groundup.trainers.optimizers import build_adamw, parameter_groups
from torch import nn


def small(width: int = 4, seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))
    optimizer = build_adamw(parameter_groups(model, 0.1), lr=0.1, betas=(0.9, 0.99), eps=1e-8)
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def save(folder: Path, step: int, *, best: bool = False, keep: int = 0, width: int = 4) -> Path:
    model, optimizer = small(width)
    return ck.save_checkpoint(folder, model, optimizer, {"step": step}, is_best=best, keep=keep)


def test_round_trip_is_bit_exact(tmp_path: Path) -> None:
    model, optimizer = small(seed=1)
    path = ck.save_checkpoint(tmp_path, model, optimizer, {"step": 7, "x": [1, 2.5]}, is_best=True, keep=2)
    other, fresh = small(seed=2)
    saved.load_weights(path, other)
    ck.load_optimizer(path, fresh)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        for slot in ("exp_avg", "exp_avg_sq", "step"):
            assert torch.equal(optimizer.state[a][slot], fresh.state[b][slot])
    assert saved.read_state(path)["x"] == [1, 2.5]
    assert sorted(p.name for p in path.iterdir()) == ["model.safetensors", "optimizer.safetensors", "state.json"]
    assert (tmp_path / "last").resolve() == path.resolve() == (tmp_path / "best").resolve()


def test_pruning_keeps_the_newest_the_best_and_the_last(tmp_path: Path) -> None:
    for step in range(1, 8):
        save(tmp_path, step, best=step == 2, keep=3)
    assert [int(p.name[5:]) for p in ck.checkpoints(tmp_path)] == [2, 5, 6, 7]
    assert (tmp_path / "best").resolve().name == "step_00000002"
    assert (tmp_path / "last").resolve().name == "step_00000007"


def test_the_same_step_can_be_written_again(tmp_path: Path) -> None:
    save(tmp_path, 3)
    save(tmp_path, 3, best=True)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["best", "last", "step_00000003"]


def test_random_states_return() -> None:
    states = ck.random_states()
    first = torch.rand(5)
    json.dumps(states)
    ck.restore_random_states(states)
    assert torch.equal(first, torch.rand(5))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", ["truncated", "header", "empty", "missing"])
def test_a_damaged_tensor_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    path = save(tmp_path, 1)
    file = path / name
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"truncated": data[:-5], "header": b"\xff" * 20 + data[20:], "empty": b""}[damage])
    model, optimizer = small()
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(UserError, match=name):
        saved.load_weights(path, model) if name.startswith("model") else ck.load_optimizer(path, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    path = save(tmp_path, 1, width=5)
    with pytest.raises(UserError, match=r"another architecture.*'.*\.(weight|bias)' of shape"):
        saved.load_weights(path, small()[0])
    with pytest.raises(UserError, match=r"lacks '2\.bias'"):
        saved.load_weights(path, nn.Sequential(*small(5)[0], nn.Linear(2, 2)))
    with pytest.raises(UserError, match=r"holds '1\.bias', which the model does not have"):
        saved.load_weights(path, nn.Sequential(nn.Linear(3, 5)))


def test_damaged_state_and_later_formats_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    (path / "state.json").write_text('{"step": ')
    with pytest.raises(UserError, match=r"state\.json: cannot be read"):
        saved.read_state(path)
    (path / "state.json").write_text('{"format": 99}')
    with pytest.raises(UserError, match="later version"):
        saved.read_state(path)


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = save(tmp_path, 1, best=True)
    written = {p.name: p.read_bytes() for p in old.iterdir()}

    def full(tensors: dict, path: Path, metadata: dict) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ck, "save_file", full)
    with pytest.raises(UserError, match=r"step_00000002: no space left on device; the previous one, .*step_00000001"):
        save(tmp_path, 2, best=True)
    assert {p.name: p.read_bytes() for p in old.iterdir()} == written
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best", "last", "step_00000001"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk needs root on Linux")
def test_a_really_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        save(disk, 1, width=1000)
        with pytest.raises(UserError, match="no space left on device"):
            fill(disk)
        last = ck.latest_checkpoint(disk)
        assert last is not None
        saved.load_weights(last, small(1000)[0])
        ck.load_optimizer(last, small(1000)[1])
        assert not list(disk.glob(".partial*"))
    finally:
        subprocess.run(["umount", disk], check=True)


def fill(disk: Path) -> None:
    for step in range(2, 20):
        save(disk, step, width=1000)


WRITER = """
import sys, itertools
from pathlib import Path
import torch
from torch import nn
from groundup.trainers.checkpoint import save_checkpoint
from groundup.trainers.optimizers import build_adamw, parameter_groups
model = nn.Linear(600, 600)
optimizer = build_adamw(parameter_groups(model, 0.1), lr=0.1, betas=(0.9, 0.99), eps=1e-8)
for step in itertools.count(1):
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    with torch.no_grad():
        model.bias.fill_(step)
    save_checkpoint(Path(sys.argv[1]), model, optimizer, {"step": step}, is_best=step % 3 == 0, keep=2)
    print(step, flush=True)
"""


def test_whatever_a_kill_leaves_half_done_goes(tmp_path: Path) -> None:
    """Folders, and links that were yet to be moved to their place, to something or to nothing."""
    (tmp_path / ".partial-step_00000004" / "adapter").mkdir(parents=True)
    (tmp_path / "step_00000002").mkdir()
    (tmp_path / ".partial-last").symlink_to("step_00000002")
    (tmp_path / ".partial-best").symlink_to("step_00000004")
    ck.remove_partial(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000002"]


@pytest.mark.slow
def test_kill_9_at_any_moment_of_saving(tmp_path: Path) -> None:
    """Whatever the moment, the newest checkpoint that can be seen is whole and of the step its name says."""
    for attempt in range(6):
        folder = tmp_path / str(attempt)
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.013 * (attempt + 1))
        process.kill()
        process.wait()
        last = ck.latest_checkpoint(folder)
        assert last is not None
        state, model = saved.read_state(last), nn.Linear(600, 600)
        saved.load_weights(last, model)
        assert int(last.name[5:]) == state["step"] == int(model.bias[0])
        for link in ("last", "best"):
            assert not (folder / link).is_symlink() or (folder / link / "state.json").is_file()
        ck.remove_partial(folder)
        assert not list(folder.glob(".partial*"))
