"""The local hub of `local_hub.py`, which also takes what is uploaded: it speaks what `huggingface_hub` posts."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from typing import Any

from local_hub import COMMIT, Handler, Hub, Repo, Server


class UploadHandler(Handler):
    """`private` says how each repository was made; `refuse_with` answers every post with a status."""

    private: dict[str, bool]
    objects: dict[str, bytes]
    refuse_with: list[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.refuse_with:
            return self.reply(self.refuse_with[0], {"error": "no"})
        if self.headers.get("Authorization") != "Bearer hf_local":
            return self.reply(401, {"error": "Invalid credentials"})
        path = self.path.partition("?")[0]
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.reply(200, {"errors": [], "warnings": []})
        if path.endswith("/info/lfs/objects/batch"):
            found = json.loads(body)["objects"]
            url = f"http://127.0.0.1:{self.server.server_port}/objects/"  # pyright: ignore
            objects = [{**one, "actions": {"upload": {"href": url + one["oid"]}}} for one in found]
            return self.reply(200, {"transfer": "basic", "objects": objects})
        repo = "/".join(path.split("/")[3:5])
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
        repo = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if repo in self.repos:
            return self.reply(409, {"error": "exists", "url": f"http://127.0.0.1/{repo}"})
        self.repos[repo] = Repo({})
        self.private[repo] = asked["private"] if "private" in asked else asked.get("visibility") == "private"
        return self.reply(200, {"url": f"http://127.0.0.1:{self.server.server_port}/{repo}"})  # pyright: ignore

    def commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.repos[repo].files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.repos[repo].files[value["path"]] = self.objects[value["oid"]]
        self.reply(200, {"commitUrl": f"http://127.0.0.1/{repo}/commit/{COMMIT}", "commitOid": COMMIT})

    def reply(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def open_upload_hub(home: Path) -> tuple[Hub, Server, type[UploadHandler]]:
    """A hub without repositories that takes uploads with the token hf_local, its server, and what it was given."""
    space = {"repos": {}, "asked": [], "private": {}, "objects": {}, "refuse_with": []}
    handler = type("OneUploadHub", (UploadHandler,), space)
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return Hub(f"http://127.0.0.1:{server.server_port}", home, handler.repos, handler.asked), server, handler
