"""Which device a run uses."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from groundup.configs.devices import best_device, check_name, device_type, require_device, usable_device
from groundup.configs.schema import load_config
from groundup.errors import UserError


@pytest.mark.parametrize("name", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:12", " CUDA "])
def test_names(name: str):
    assert check_name(name, "here") == name.strip().lower()


@pytest.mark.parametrize(
    ("name", "meant"),
    [("gpu", "cuda"), ("gpu0", "cuda"), ("cud", "cuda"), ("cuda:", "cuda"), ("cuda:x", "cuda"), ("cpu:0", "cpu")],
)
def test_names_of_no_device(name: str, meant: str):
    with pytest.raises(UserError, match=rf"^here: '{name}' is no device\. Did you mean '{meant}'\?$"):
        check_name(name, "here")


def test_types():
    assert [device_type(name) for name in ("cuda:3", "cuda", "mps", "cpu")] == ["cuda", "cuda", "mps", "cpu"]


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_best_there_is(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, best: str):
    monkeypatch.setattr("glob.glob", lambda pattern: ["/dev/nvidia0"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device() == best


def test_linux_without_a_gpu_file_does_not_ask_torch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("glob.glob", lambda pattern: [])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("torch was asked"))
    assert best_device() == "cpu"


def test_a_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    require_device("cpu")
    with pytest.raises(UserError, match="torch finds no CUDA GPU"):
        require_device("cuda")
    with pytest.raises(UserError, match="no Apple GPU"):
        require_device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    require_device("cuda:1")
    with pytest.raises(UserError, match=r"there is no cuda:2, only 2 GPU"):
        require_device("cuda:2")


def test_a_run_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("glob.glob", lambda pattern: ["/dev/nvidia0"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert usable_device("cpu") == "cpu"
    assert capsys.readouterr().err == ""
    assert usable_device("mps") == "cpu"
    assert "general.device mps: this machine has no Apple GPU, so it falls back to cpu" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert usable_device("mps") == "cuda"
    assert usable_device("cuda:0") == "cuda:0"
    with pytest.raises(UserError, match="there is no cuda:3"):
        usable_device("cuda:3")


def test_values_by_device_are_those_of_the_device_it_falls_back_to(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text("model: gpt2\ndevice: mps\ntrainer: {batch_size: {mps: 8, cpu: 2}}\n")
    assert load_config(path).trainer.batch_size == 8
    run = load_config(path, usable=lambda device: "cpu")
    assert (run.general.device, run.trainer.batch_size) == ("cpu", 2)
