from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from local_hub import COMMIT, OLDER, Handler, Hub, Repo, wait

TINY = {
    "config.json": b"{}",
    "generation_config.json": b'{"a": 1}',
    "model.safetensors": b"weights" * 1000,
    "tokenizer.json": b'{"b": 1}',
    "tokenizer_config.json": b'{"c": 1}',
}
BESIDE = {
    "README.md": b"r",
    "pytorch_model.bin": b"never both",
    "tf_model.h5": b"t",
    "flax_model.msgpack": b"f",
    "vocab.txt": b"v",
    "tokenizer.model": b"m",
    "consolidated.safetensors": b"c",
    "onnx/model.onnx": b"o",
    "original/consolidated.00.pth": b"p",
    "original/config.json": b"[]",
}
START = "Failed to load model from HuggingFace: "


def steps(*wanted: tuple[str, str | None]) -> list[tuple[str, str, str | None]]:
    return [("model", repo, revision) for repo, revision in wanted]


def errors(results: list[dict[str, Any]]) -> list[str]:
    for result in results:
        assert "\n" not in result["error"]
    return [result["error"] for result in results]


@pytest.mark.slow
def test_only_what_is_needed_and_only_once(hub: Hub) -> None:
    hub.repos["org/tiny"] = Repo({**TINY, **BESIDE})
    (first,) = hub.fetch(*steps(("org/tiny", None)), HF_TOKEN="hf_secret")
    assert first["files"] == sorted(TINY)
    assert {request.token for request in hub.asked} == {"Bearer hf_secret"}
    assert hub.files_asked() == sorted(TINY)
    assert "%|" in hub.stderr  # the progress bar
    assert (Path(first["folder"]) / "model.safetensors").read_bytes() == TINY["model.safetensors"]
    again, tokenizer = hub.fetch(("model", "org/tiny", None), ("tokenizer", "org/tiny", None))
    assert again == first == tokenizer
    assert not any(request.file for request in hub.asked)  # which commit it is, nothing else
    assert {request.token for request in hub.asked} == {None}
    hub.asked.clear()
    offline = hub.fetch(*steps(("org/tiny", None), ("org/tiny", COMMIT)), HF_HUB_OFFLINE="1")
    assert offline == [first, first]
    assert not hub.asked


@pytest.mark.slow
def test_shards_and_bin(hub: Hub) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    shards = {name: name.encode() for name in index["weight_map"].values()}
    sharded = {"config.json": b"{}", "model.safetensors.index.json": json.dumps(index).encode(), **shards}
    beside = {"model-00003-of-00002.safetensors": b"x", "pytorch_model.bin.index.json": b"{}"}
    hub.repos["org/sharded"] = Repo({**sharded, **beside})
    hub.repos["org/bin"] = Repo({"config.json": b"{}", "pytorch_model.bin": b"b", "vocab.txt": b"v"})
    of_shards, of_bin = hub.fetch(*steps(("org/sharded", None), ("org/bin", None)))
    assert of_shards["files"] == sorted(sharded)
    assert of_bin["files"] == ["config.json", "pytorch_model.bin", "vocab.txt"]


@pytest.mark.slow
def test_revisions(hub: Hub) -> None:
    older = {"config.json": b"{}", "model.safetensors": b"older", "vocab.txt": b"older"}
    hub.repos["org/tiny"] = Repo(TINY, {"main": COMMIT, "v1": OLDER, "refs/pr/1": OLDER}, older)
    tag, commit, request, main, none = hub.fetch(
        *steps(*(("org/tiny", revision) for revision in ("v1", OLDER, "refs/pr/1", "main", "v2")))
    )
    assert tag["folder"] == commit["folder"] == request["folder"] != main["folder"]
    assert tag["files"] == sorted(older)
    assert (Path(tag["folder"]) / "model.safetensors").read_bytes() == b"older"
    assert none["error"].startswith(f"{START}'org/tiny' has no branch, tag or commit 'v2': pick one at http://")
    results = hub.fetch(*steps(("org/tiny", "v1"), ("org/tiny", OLDER), ("org/tiny", "v2")), HF_HUB_OFFLINE="1")
    assert results[:2] == [tag, tag]
    assert results[2]["error"].startswith(f"{START}'org/tiny' at revision 'v2' is not cached here, and HF_HUB_OFFLINE")


@pytest.mark.slow
def test_what_the_hub_refuses(hub: Hub) -> None:
    def refuse(status: int, code: str, message: str = "", api: bool = True) -> Repo:
        def behave(handler: Handler) -> bool:
            if api or handler.file:
                handler.refuse(status, code, message)
            return api or bool(handler.file)

        return Repo(TINY, behave=behave)

    hub.repos |= {
        "org/gated": refuse(403, "GatedRepo", api=False),
        "org/gated-too": refuse(401, "GatedRepo"),
        "org/private": refuse(401, ""),
        "org/forbidden": refuse(403, "", "No."),
        "org/many": refuse(429, ""),
        "org/down": refuse(500, ""),
        "org/nothing": Repo({"README.md": b"r", "tf_model.h5": b"t"}),
        "org/flax": Repo({"config.json": b"{}", "flax_model.msgpack": b"f"}),
        "org/index": Repo({"config.json": b"{}", "model.safetensors.index.json": b"[]"}),
    }
    asked = [*hub.repos, "org/missing", "openai-community/gpt3", "a b"]
    said = dict(zip(asked, errors(hub.fetch(*steps(*((repo, None) for repo in asked)))), strict=True))
    assert all(sentence.startswith(START) for sentence in said.values())
    said = {repo: sentence.removeprefix(START) for repo, sentence in said.items()}
    login = "set HF_TOKEN, or run `hf auth login`"
    terms = f"is gated and no token is set: accept its terms at {hub.url}"
    private = f"or it is private and no token is set: check the spelling, or {login}"
    assert said["org/gated"] == f"'org/gated' {terms}/org/gated, then {login}"
    assert said["org/gated-too"] == f"'org/gated-too' {terms}/org/gated-too, then {login}"
    assert said["org/private"] == f"there is no repository 'org/private', {private}"
    assert said["org/missing"] == f"there is no repository 'org/missing', {private}"
    assert said["openai-community/gpt3"].endswith(f"{private}. Did you mean 'openai-community/gpt2'?")
    assert said["org/forbidden"].startswith("the hub refuses access to 'org/forbidden' (403): ask its owner")
    assert said["org/many"].startswith("the hub asks for fewer requests (429): wait")
    assert said["org/down"] == "the hub answered with an error of its own (500): try again later"
    nothing = "'org/nothing' has no config.json (it holds README.md, tf_model.h5): name the repository of a checkpoint"
    assert said["org/nothing"].startswith(nothing)
    assert said["org/flax"].startswith("'org/flax' has no model.safetensors or pytorch_model.bin (it holds ")
    assert said["org/index"].startswith("'org/index' has a model.safetensors.index.json that cannot be read:")
    assert said["a b"] == "'a b' is no name of a repository: it is written organisation/name"
    hub.repos["org/token"] = refuse(401, "", "Invalid credentials in Authorization header")
    gated, token = errors(hub.fetch(*steps(("org/gated", None), ("org/token", None)), HF_TOKEN="hf_x"))
    assert "is gated and your token may not read it: accept its terms" in gated
    assert (
        token == f"{START}the hub does not accept your token (401): make one at {hub.url}/settings/tokens and {login}"
    )


@pytest.mark.slow
def test_a_line_that_breaks(hub: Hub) -> None:
    """Once: the rest is asked for. Always: a sentence, and no part of the file is ever taken for the whole."""
    cuts: dict[str, int] = {}

    def breaks(times: int) -> Repo:
        def behave(handler: Handler) -> bool:
            if handler.file != "model.safetensors" or handler.command == "HEAD":
                return False
            cuts[handler.repo] = cuts.get(handler.repo, 0) + 1
            if cuts[handler.repo] > times:
                return False
            handler.send(TINY["model.safetensors"], COMMIT, upto=3000)
            return True

        return Repo(TINY, behave=behave)

    hub.repos |= {"org/once": breaks(1), "org/always": breaks(10**6)}
    once, always = hub.fetch(*steps(("org/once", None), ("org/always", None)))
    assert (Path(once["folder"]) / "model.safetensors").read_bytes() == TINY["model.safetensors"]
    resumed = [r.bytes for r in hub.asked if r.repo == "org/once" and r.file == "model.safetensors" and r.bytes]
    assert resumed == ["bytes=3000-"]
    assert always["error"].startswith(f"{START}the download of 'org/always' broke off: run it again (files th")
    said = errors(hub.fetch(*steps(("org/always", None)), HF_HUB_OFFLINE="1"))[0]
    assert "'org/always' is cached here in part only (it has no model.safetensors or pytorch_model.bin" in said
    hub.repos["org/always"] = Repo(TINY)
    hub.asked.clear()
    (whole,) = hub.fetch(*steps(("org/always", None)))
    assert whole["files"] == sorted(TINY)
    assert hub.files_asked() == ["model.safetensors"]


@pytest.mark.slow
def test_no_hub(hub: Hub) -> None:
    """What was fetched before is used, with a note; what was not is a sentence."""
    hub.repos |= {"org/tiny": Repo(TINY), "org/slow": Repo(TINY, behave=wait(2.5))}
    first, slow = hub.fetch(*steps(("org/tiny", None), ("org/slow", None)))
    assert slow["error"].startswith(f"{START}the hub did not answer in time: try again, on a slow line with ")
    closed = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    again, other, tokenizer = hub.fetch(
        ("model", "org/tiny", None), ("model", "org/other", None), ("tokenizer", "org/other", None), **closed
    )
    assert again == first
    assert "note: the hub cannot be reached at http://127.0.0.1:9; what was fetched of 'org/tiny' before" in hub.stderr
    cannot = "the hub cannot be reached at http://127.0.0.1:9: 'org/other' is not cached here, so check the network"
    assert other["error"].startswith(START + cannot)
    assert tokenizer["error"].startswith(f"Failed to load tokenizer from HuggingFace: {cannot}")
    hub.repos["org/tiny"].behave = lambda handler: handler.refuse(503, "") or True
    (kept,) = hub.fetch(*steps(("org/tiny", None)))
    assert kept == first
    assert "note: the hub answered with an error of its own (503); what was fetched" in hub.stderr
    (offline,) = errors(hub.fetch(*steps(("org/other", None)), HF_HUB_OFFLINE="1"))
    assert offline.startswith(f"{START}'org/other' is not cached here, and HF_HUB_OFFLINE is set: unset it, or name")


@pytest.mark.slow
def test_a_cache_that_cannot_be_written(hub: Hub) -> None:
    hub.repos["org/tiny"] = Repo(TINY)
    hub.home.mkdir()
    (hub.home / "hub").write_text("a file is in the way")
    (said,) = errors(hub.fetch(*steps(("org/tiny", None))))
    assert said.startswith(f"{START}the cache at {hub.home}/hub cannot be used (")
    assert said.endswith("): set HF_HOME to a folder that you can write to")
