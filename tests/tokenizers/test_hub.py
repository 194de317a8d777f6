"""The hub is a server on localhost here; each case runs in a process of its own, since the library reads HF_ENDPOINT
when it is imported."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import sys
from groundup.errors import UserError
from groundup.tokenizers.load import load_tokenizer
try:
    tokenizer = load_tokenizer(sys.argv[1])
    print(tokenizer.name, tokenizer.encode("hello world"), tokenizer.eos_id)
except UserError as error:
    print("error:", error)
"""
COMMIT = "a" * 40


def load(name: str, home: Path, **env: str) -> str:
    """What a fresh process makes of a name, in one line."""
    settings = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", **env}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout.count("\n") == 1
    return done.stdout


@pytest.fixture
def hub(shared: Path) -> Iterator[str]:
    """A hub with one repository, facebook/opt-1.3b, one that wants a login, and nothing else."""
    files = {name: (shared / "tokenizers/opt" / name).read_bytes() for name in ("vocab.json", "merges.txt")}

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            parts = self.path.split("?")[0].strip("/").split("/")
            if "gated" in parts:
                self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
            elif "opt-1.3b" not in parts:
                self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif parts[0] == "api":
                names = [*files, "model.bin"]
                found: Any = {"id": "facebook/opt-1.3b", "sha": COMMIT}
                found["siblings"] = [{"rfilename": name} for name in names]
                if "tree" in parts:
                    found = [{"type": "file", "path": name, "size": 1, "oid": "b" * 40} for name in names]
                self.answer(200, json.dumps(found).encode(), {"Content-Type": "application/json"})
            elif parts[-1] in files:
                self.answer(200, files[parts[-1]], {"ETag": f'"{parts[-1]}"', "X-Repo-Commit": COMMIT})
            else:
                self.answer(500, b"", {})  # model.bin was asked for

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_name_is_fetched_once_and_then_needs_no_network(hub: str, tmp_path: Path) -> None:
    expected = "opt_50k [42891, 232] 2\n"
    assert load("opt_50k", tmp_path, HF_ENDPOINT=hub) == expected
    assert load("OPT-50k", tmp_path, HF_HUB_OFFLINE="1") == expected


@pytest.mark.slow
def test_offline_is_one_sentence(tmp_path: Path) -> None:
    said = load("mistral_32k", tmp_path, HF_HUB_OFFLINE="1")
    assert said.startswith(
        "error: the tokenizer mistral_32k (mistralai/Mistral-7B-v0.1 on the Hugging Face hub) is not"
    )
    assert "HF_HUB_OFFLINE is set" in said
    said = load("llama_32k", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert "huggyllama/llama-7b" in said
    assert "the hub cannot be reached: fetch its tokenizer.json" in said


@pytest.mark.slow
def test_repositories_that_are_not_there_or_want_a_login(hub: str, tmp_path: Path) -> None:
    assert "there is no some/thing on the Hugging Face hub" in load("some/thing", tmp_path, HF_ENDPOINT=hub)
    assert "given out after a login only" in load("some/gated", tmp_path, HF_ENDPOINT=hub)
