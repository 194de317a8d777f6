from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiktoken
from groundup.errors import UserError
from groundup.tokenizers import tiktoken_
from groundup.tokenizers.load import TIKTOKEN_NAMES, load_tokenizer


@pytest.mark.parametrize("name", TIKTOKEN_NAMES)
def test_ids_are_tiktoken_s_own(name: str, texts: list[str], tiktoken_cache: Path) -> None:
    tokenizer, theirs = load_tokenizer(name), tiktoken.get_encoding(name)
    expected = theirs.encode_ordinary_batch(texts)
    assert tokenizer.encode_batch(texts) == expected
    assert [tokenizer.encode(text) for text in texts] == expected
    assert [tokenizer.decode(ids) for ids in expected] == texts
    assert (tokenizer.vocab_size, tokenizer.eos_id) == (theirs.n_vocab, theirs.eot_token)


def test_gpt2_s_known_ids(tiktoken_cache: Path) -> None:
    tokenizer = load_tokenizer("GPT-2")
    assert tokenizer.encode("Hello world") == [15496, 995]
    assert tokenizer.vocab_size == 50257
    assert tokenizer.encode("<|endoftext|>") == [27, 91, 437, 1659, 5239, 91, 29]
    assert tokenizer.decode([tokenizer.mask_id or 0]) == "_"


def test_a_lone_surrogate_becomes_the_replacement_character(tiktoken_cache: Path) -> None:
    tokenizer = load_tokenizer("gpt2")
    assert tokenizer.encode_batch(["a\ud800b", "x"]) == tiktoken.get_encoding("gpt2").encode_ordinary_batch(
        ["a\ud800b", "x"]
    )


def test_a_run_of_white_space_that_makes_tiktoken_panic(tiktoken_cache: Path) -> None:
    with pytest.raises(UserError, match="white-space characters in a row, from character 1 on"):
        load_tokenizer("gpt2").encode("x" + " " * 1_000_001 + "x")


@pytest.mark.parametrize("name", ["gpt2", "o200k_base"])
def test_saved_and_loaded_without_tiktoken_s_cache(
    name: str, texts: list[str], tiktoken_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = load_tokenizer(name)
    tokenizer.save(tmp_path / "saved")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "nothing"))
    again = load_tokenizer(tmp_path / "saved")
    assert again.fingerprint == tokenizer.fingerprint
    assert (again.name, again.eos_id, again.vocab_size) == (name, tokenizer.eos_id, tokenizer.vocab_size)
    assert again.encode_batch(texts[:300]) == tokenizer.encode_batch(texts[:300])


def test_fingerprints_tell_encodings_apart(tiktoken_cache: Path) -> None:
    prints = {name: load_tokenizer(name).fingerprint for name in ("gpt2", "p50k_base", "cl100k_base")}
    assert len(set(prints.values())) == 3


# --- the files it needs ------------------------------------------------------------------------------------------


def test_offline_the_missing_file_is_named(tmp_path: Path) -> None:
    """In a process of its own, at the proxy of a closed port: one sentence, soon, and no stack."""
    program = (
        "from groundup.tokenizers.load import load_tokenizer\n"
        "from groundup.errors import UserError\n"
        "try: load_tokenizer('p50k_base')\n"
        "except UserError as error: print(error, '|', error.__cause__, error.__suppress_context__)\n"
    )
    closed = "http://127.0.0.1:9"
    env = {**os.environ, "TIKTOKEN_CACHE_DIR": str(tmp_path), "HTTPS_PROXY": closed, "https_proxy": closed}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60)
    sha1 = hashlib.sha1(b"https://openaipublic.blob.core.windows.net/encodings/p50k_base.tiktoken").hexdigest()
    assert "needs the file p50k_base.tiktoken, which is not cached here" in done.stdout
    assert f"put it as {tmp_path / sha1}" in done.stdout
    assert f"set TIKTOKEN_CACHE_DIR to a folder that holds {sha1}" in done.stdout
    assert done.stdout.strip().endswith("| None True")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on localhost that gives out the files of a folder."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}", folder
    httpd.shutdown()
    httpd.server_close()


def test_a_missing_file_is_fetched_whole_into_the_cache(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = server
    (folder / "ranks").write_bytes(b"content")
    cache = tmp_path / "cache"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
    tiktoken_._provide("x", f"{url}/ranks", hashlib.sha256(b"content").hexdigest())
    name = hashlib.sha1(f"{url}/ranks".encode()).hexdigest()
    assert [(path.name, path.read_bytes()) for path in cache.iterdir()] == [(name, b"content")]
    (folder / "ranks").unlink()  # a second time nothing is asked for
    tiktoken_._provide("x", f"{url}/ranks", hashlib.sha256(b"content").hexdigest())


def test_a_server_that_refuses_or_gives_something_else(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = server
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="404"):
        tiktoken_._provide("x", f"{url}/ranks", "0" * 64)
    (folder / "ranks").write_bytes(b"a login page")
    with pytest.raises(UserError, match="its SHA-256 differs"):
        tiktoken_._provide("x", f"{url}/ranks", "0" * 64)
    assert not (tmp_path / "cache").exists()


def test_a_damaged_file_is_named_as_such(tiktoken_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(tiktoken_cache, cache)
    for path in cache.iterdir():
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:1000])
    cache.chmod(0o700)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"vocab\.bpe, which is damaged here"):
        load_tokenizer("gpt2")
