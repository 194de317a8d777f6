"""Files of weights: what is found, what is refused with which sentence, and that mapped memory is given back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from groundup.errors import UserError
from groundup.models.hf import weights
from groundup.models.hf.weights import Weights
from safetensors.torch import save_file

A, B = torch.randn(30, 4), torch.randn(5)


def index(folder: Path, name: str, **places: str) -> None:
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": places}), encoding="utf-8")


def test_one_file(tmp_path: Path) -> None:
    save_file({"a": A, "b": B}, tmp_path / "model.safetensors")
    found = Weights(tmp_path)
    assert found.place == dict.fromkeys(("a", "b"), tmp_path / "model.safetensors")
    assert torch.equal(found.tensor("a"), A)
    assert torch.equal(found.borrow("b", 20), B)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_several_files(suffix: str, tmp_path: Path) -> None:
    save = save_file if suffix == "safetensors" else torch.save
    save({"a": A}, tmp_path / f"one.{suffix}")
    save({"b": B}, tmp_path / f"two.{suffix}")
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    index(tmp_path, f"{stem}.{suffix}.index.json", a=f"one.{suffix}", b=f"two.{suffix}")
    found = Weights(tmp_path)
    assert {key: path.name for key, path in found.place.items()} == {"a": f"one.{suffix}", "b": f"two.{suffix}"}
    for key, tensor in {"a": A, "b": B}.items():
        assert torch.equal(found.tensor(key), tensor)
        assert torch.equal(found.borrow(key, 1), tensor)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle(zipped: bool, tmp_path: Path) -> None:
    """Of today and, unmapped, of torch before 1.6."""
    torch.save({"a": A, "b": B}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    found = Weights(tmp_path)
    assert torch.equal(found.tensor("a"), A)
    assert torch.equal(found.borrow("b", 1), B)


def test_safetensors_before_pickles(tmp_path: Path) -> None:
    save_file({"a": A}, tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"not even looked at")
    assert list(Weights(tmp_path).place) == ["a"]


class Code:
    """Runs on unpickling."""

    def __reduce__(self) -> tuple:
        return (print, ("run",))


def refused(folder: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Weights(folder)
    assert "\n" not in str(caught.value)


def test_no_weights(tmp_path: Path) -> None:
    refused(tmp_path, r"no weights in it: model\.safetensors or pytorch_model\.bin is needed")
    (tmp_path / "tf_model.h5").touch()
    refused(tmp_path, r"no weights in it, only tf_model\.h5")
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    refused(tmp_path, r"holds model-00001-of-00002\.safetensors but no model\.safetensors\.index\.json")


def test_code_in_a_pickle_is_not_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": Code()}, tmp_path / "pytorch_model.bin")
    refused(tmp_path, r"pytorch_model\.bin: damaged, or more than weights")
    assert "run" not in capfd.readouterr().out


def test_a_pickle_of_something_else(tmp_path: Path) -> None:
    for value in ([A], {"a": A, "step": 3}):
        torch.save(value, tmp_path / "pytorch_model.bin")
        refused(tmp_path, r"pytorch_model\.bin: holds more than tensors by name")
    (tmp_path / "pytorch_model.bin").write_bytes(b"nonsense")
    refused(tmp_path, r"pytorch_model\.bin: damaged")


def test_a_pickle_under_an_old_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": A}, tmp_path / "pytorch_model.bin")
    monkeypatch.setattr(torch, "__version__", "2.5.1+cu121")
    refused(tmp_path, r"torch 2\.5\.1\+cu121 cannot read safely.* convert it once")


@pytest.mark.parametrize("length", [3, 40, -8])
def test_a_file_cut_short(length: int, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": A}, path)
    path.write_bytes(path.read_bytes()[:length])
    refused(tmp_path, r"model\.safetensors: cut short or damaged .*fetch it again")


def test_a_damaged_header(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": A}, path)
    path.write_bytes(path.read_bytes().replace(b'"dtype"', b'"dtypo"'))
    refused(tmp_path, r"model\.safetensors: cut short or damaged")


def test_an_index_that_is_wrong(tmp_path: Path) -> None:
    name = "model.safetensors.index.json"
    save_file({"a": A}, tmp_path / "one.safetensors")
    save_file({"a": A, "b": B}, tmp_path / "both.safetensors")
    index(tmp_path, name, a="one.safetensors", b="two.safetensors")
    refused(tmp_path, r"two\.safetensors: missing, though model\.safetensors\.index\.json names it")
    index(tmp_path, name, a="one.safetensors", b="one.safetensors")
    refused(tmp_path, r"one\.safetensors: does not hold 'b', which the index says it does")
    index(tmp_path, name, a="one.safetensors", b="both.safetensors")
    refused(tmp_path, r"one\.safetensors: holds 'a', and so does both\.safetensors")
    index(tmp_path, name, a="../one.safetensors")
    refused(tmp_path, "lies outside its directory")
    for text in ("{", '{"weight_map": 3}', "[]", "{}"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        refused(tmp_path, r"model\.safetensors\.index\.json: not an index of weights")


def resident(path: Path) -> int:
    """Bytes of a mapped file that are in this process's memory."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_what_is_borrowed_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 MB are copied from, 2 of them at a time in memory; what is only looked at costs next to nothing."""
    megabyte = 2**20
    monkeypatch.setattr(weights, "_BORROWED", 2 * megabyte)
    path = tmp_path / "model.safetensors"
    save_file({str(i): torch.randn(megabyte // 4) for i in range(16)}, path)
    found = Weights(tmp_path)
    looked_at = [found.tensor(str(i)) for i in range(16)]
    assert resident(path) < 4 * megabyte  # the system reads a little around what is touched
    most = 0
    for i in range(16):
        found.borrow(str(i), megabyte).sum()
        most = max(most, resident(path))
    assert megabyte <= most <= 7 * megabyte
    found.give_back()
    assert resident(path) < 4 * megabyte
    assert torch.equal(looked_at[3], found.tensor("3"))
