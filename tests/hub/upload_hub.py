"""The local hub of `local_hub.py`, which also takes what is uploaded: it speaks what `huggingface_hub` posts."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from typing import Any

from local_hub import COMMIT, Handler, Hub, Repo, Server

OWNER, TOKEN = "me", "hf_local"


class UploadHandler(Handler):
    """`private` says how each repository was made; `refuse_with` a status and words, by a part of what is posted to."""

    private: dict[str, bool]
    objects: dict[str, bytes]
    refuse_with: dict[str, tuple[int, str]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"  # pyright: ignore

    @property
    def welcome(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_GET(self) -> None:
        parts = self.path.strip("/").removeprefix("api/models/").split("/")
        if self.private.get("/".join(parts[:2])) and not self.welcome:
            return self.refuse(401, "RepoNotFound")
        return super().do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for part, (status, words) in self.refuse_with.items():
            if part in self.path:
                return self.reply(status, {"error": words} if words else {})
        if not self.welcome:
            return self.reply(401, {"error": "Invalid credentials"})
        path = self.path.partition("?")[0]
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.reply(200, {"errors": [], "warnings": []})
        if path.endswith("/info/lfs/objects/batch"):
            found = json.loads(body)["objects"]
            objects = [{**one, "actions": {"upload": {"href": f"{self.url}/objects/{one['oid']}"}}} for one in found]
            return self.reply(200, {"transfer": "basic", "objects": objects})
        repo = "/".join(path.split("/")[3:5])
        if repo not in self.repos:
            return self.refuse(404, "RepoNotFound")
        if "/preupload/" in path:
            modes = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(body)["files"]
            ]
            return self.reply(200, {"files": modes})
        if "/commit/" in path:
            return self.commit(repo, [json.loads(line) for line in body.splitlines()])
        return self.reply(404, {})

    def do_PUT(self) -> None:
        self.objects[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(200, {})

    def create(self, asked: dict[str, Any]) -> None:
        """As the hub does: one that is there already is said to be, with its address, and nothing of it changes."""
        repo = f"{asked.get('organization') or OWNER}/{asked['name']}"
        if repo in self.repos:
            words = "You already created this model repo"
            return self.reply(409, {"error": words, "url": f"{self.url}/{repo}"})
        self.repos[repo] = Repo({})
        self.private[repo] = asked["private"] if "private" in asked else asked.get("visibility") == "private"
        return self.reply(200, {"url": f"{self.url}/{repo}"})

    def commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
        files = self.repos[repo].files
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.reply(200, {"commitUrl": f"{self.url}/{repo}/commit/{COMMIT}", "commitOid": COMMIT})

    def reply(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def open_upload_hub(home: Path) -> tuple[Hub, Server, type[UploadHandler]]:
    """A hub without repositories that takes uploads with its one token, its server, and what it was given."""
    space = {"repos": {}, "asked": [], "private": {}, "objects": {}, "refuse_with": {}}
    handler = type("OneUploadHub", (UploadHandler,), space)
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return Hub(f"http://127.0.0.1:{server.server_port}", home, handler.repos, handler.asked), server, handler
