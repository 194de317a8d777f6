"""A hub on localhost that speaks what `huggingface_hub` asks for, and a fresh process that asks it.

The library reads HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE when it is imported, hence the process.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT, OLDER = "a" * 40, "b" * 40

# Each step fetches a repository ("model", "tokenizer") and prints one line of JSON.
PROGRAM = """
import json, sys, time
import groundup.hub, huggingface_hub.constants
from groundup.errors import UserError
from groundup.models.hf.hub import fetch_checkpoint
from groundup.tokenizers.hub import fetch_tokenizer
groundup.hub.TIMEOUT = 0.7
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 1000
time.sleep = lambda seconds: None  # the library waits between its tries
for what, repo, revision in json.loads(sys.argv[1]):
    fetch = {"model": fetch_checkpoint, "tokenizer": fetch_tokenizer}[what]
    try:
        folder = fetch(repo, revision=revision)
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        print(json.dumps({"folder": str(folder), "files": names}))
    except UserError as error:
        print(json.dumps({"error": str(error)}))
"""


@dataclass
class Repo:
    """`revisions` names commits; each has its files. `behave` may answer a request in the hub's place (True: done)."""

    files: dict[str, bytes]
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    older: dict[str, bytes] = field(default_factory=dict)
    behave: Callable[[Handler], bool] = lambda handler: False

    def commit(self, revision: str) -> str | None:
        return revision if revision in self.revisions.values() else self.revisions.get(revision)


@dataclass(frozen=True)
class Request:
    method: str
    repo: str
    file: str  # "" for what is asked of the API
    token: str | None
    bytes: str | None


class Handler(http.server.BaseHTTPRequestHandler):
    repos: dict[str, Repo]
    asked: list[Request]
    file = ""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        api = parts[:2] == ["api", "models"]
        owner, name, verb, revision, *rest = [*(parts[2:] if api else parts), "", "", "", ""]
        self.repo, self.file = f"{owner}/{name}", "" if api else "/".join(rest).strip("/")
        token, wanted = self.headers.get("Authorization"), self.headers.get("Range")
        self.asked.append(Request(self.command, self.repo, self.file, token, wanted))
        repo = self.repos.get(self.repo)
        if repo is None:
            return self.refuse(404, "RepoNotFound")
        if repo.behave(self):
            return None
        commit = repo.commit(revision or "main")
        if commit is None:
            return self.refuse(404, "RevisionNotFound")
        files = repo.older if commit == OLDER else repo.files
        if verb == "tree":
            tree = [{"type": "file", "path": p, "size": len(b), "oid": etag(b)} for p, b in files.items()]
            return self.answer(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})
        if api:
            info = {"id": self.repo, "sha": commit, "siblings": [{"rfilename": path} for path in files]}
            return self.answer(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
        if self.file not in files:
            return self.refuse(404, "EntryNotFound")
        return self.send(files[self.file], commit)

    def send(self, body: bytes, commit: str, upto: int | None = None) -> None:
        """A file, or the range of it that is asked for; only its first `upto` bytes where the line is to break."""
        start = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
        headers = {"ETag": f'"{etag(body)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.answer(206 if start else 200, body[start:], headers, None if upto is None else upto - start)

    def refuse(self, status: int, code: str, message: str = "") -> None:
        self.answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": message})

    def answer(self, status: int, body: bytes, headers: dict[str, str], upto: int | None = None) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body)), "Connection": "close"}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body if upto is None else body[: max(upto, 0)])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # who asked has given up


def etag(body: bytes) -> str:
    return hashlib.sha1(body).hexdigest()


@dataclass
class Hub:
    url: str
    home: Path
    repos: dict[str, Repo]
    asked: list[Request]

    def files_asked(self) -> list[str]:
        """The files whose contents were sent since the last call."""
        names = sorted({request.file for request in self.asked if request.method == "GET" and request.file})
        self.asked.clear()
        return names

    def run(self, program: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """A Python program in a process of its own, whose hub this is."""
        settings = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(self.home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_ETAG_TIMEOUT": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "HF_TOKEN": "",
        }
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            env={**os.environ, **settings, **env},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def fetch(self, *steps: tuple[str, str, str | None], **env: str) -> list[dict[str, Any]]:
        """What comes of fetching ("model" or "tokenizer", repository, revision), one after the other."""
        done = self.run(PROGRAM, json.dumps(steps), **env)
        self.stderr = done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def open_hub(home: Path) -> tuple[Hub, Server]:
    """A hub without repositories, and the server to shut down. Put some into `hub.repos`."""
    repos: dict[str, Repo] = {}
    asked: list[Request] = []
    handler = type("OneHub", (Handler,), {"repos": repos, "asked": asked})
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return Hub(f"http://127.0.0.1:{server.server_port}", home, repos, asked), server


def wait(seconds: float) -> Callable[[Handler], bool]:
    """A hub that takes its time."""

    def behave(handler: Handler) -> bool:
        time.sleep(seconds)
        return False

    return behave
