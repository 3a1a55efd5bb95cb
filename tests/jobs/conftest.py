"""A server that speaks the hub's API, and serves single files, as far as `mien fetch` needs it."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Server:
    """Repositories and files, and what goes wrong with them.

    Attributes:
        repositories: Files by name of the repository; `*.safetensors` are large files there.
        files: Content of single files by path.
        gated: Repositories whose terms were not accepted.
        cuts: After how many bytes of its answer a path's connections break, one after the other;
            a negative one is refused instead.
        wrong: Paths that are answered with other bytes than announced.
        statuses: Answers of paths, one after the other, before they are served.
        redirects: Where paths lead.
        ranges: Whether a part of a file can be asked for.
        asked: Paths that were asked for (GET), with their range.
        token: That a client sent last.
    """

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    token: str | None = None
    address: str = ""

    def etag(self, name: str, data: bytes) -> str:
        large = name.endswith(".safetensors")
        return hashlib.sha256(data).hexdigest() if large else git_hash(data)

    def tree(self, files: dict[str, bytes]) -> list[dict]:
        entries = []
        for name, data in files.items():
            entry: dict = {"type": "file", "path": name, "size": len(data), "oid": git_hash(data)}
            if name.endswith(".safetensors"):
                oid = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 134}
            entries.append(entry)
        return entries

    def info(self, name: str, files: dict[str, bytes]) -> dict:
        siblings = []
        for entry in self.tree(files):
            sibling = {"rfilename": entry["path"], "size": entry["size"], "blobId": entry["oid"]}
            if "lfs" in entry:
                lfs = entry["lfs"]
                sibling["lfs"] = {
                    "sha256": lfs["oid"],
                    "size": lfs["size"],
                    "pointerSize": lfs["pointerSize"],
                }
            siblings.append(sibling)
        gated = "auto" if name in self.gated else False
        return {"id": name, "sha": COMMIT, "siblings": siblings, "gated": gated, "tags": []}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        self.serve(body=False)

    def do_GET(self) -> None:
        self.served.asked.append((unquote(urlsplit(self.path).path), self.headers.get("Range")))
        self.serve(body=True)

    def serve(self, *, body: bool) -> None:
        served = self.served
        served.token = self.headers.get("Authorization")
        path = unquote(urlsplit(self.path).path)
        waiting = served.statuses.get(path, [])
        if body and waiting:
            return self.refuse(waiting.pop(0))
        if body and min(served.cuts.get(path, [])[:1], default=0) < 0:
            served.cuts[path].pop(0)
            return self.refuse(403)
        if path in served.redirects:
            self.send_response(302)
            self.send_header("Location", served.redirects[path])
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if path in served.files:
            data = served.files[path]
            return self.send(path, data, f'"{hashlib.md5(data).hexdigest()}"', body=body)
        api = re.fullmatch(r"/api/models/(.+?)/(revision|tree)/([^/]+)", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = api or file
        if not found or found[1] not in served.repositories:
            return self.refuse(404 if not found else 401, "RepoNotFound")
        files = served.repositories[found[1]]
        revision = api[3] if api else file[2] if file else ""
        if revision not in ("main", COMMIT):
            return self.refuse(404, "RevisionNotFound")
        if api:
            known = served.tree(files) if api[2] == "tree" else served.info(api[1], files)
            return self.send(path, json.dumps(known).encode(), None, body=body)
        assert file
        if file[1] in served.gated and self.headers.get("Authorization") != "Bearer accepted":
            return self.refuse(403, "GatedRepo")
        if file[3] not in files:
            return self.refuse(404, "EntryNotFound")
        data = files[file[3]]
        return self.send(path, data, f'"{served.etag(file[3], data)}"', body=body)

    def refuse(self, status: int, code: str | None = None) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, path: str, data: bytes, etag: str | None, *, body: bool) -> None:
        start, asked = 0, self.headers.get("Range")
        same = self.headers.get("If-Range", etag) == etag
        if asked and self.served.ranges and same:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        part = data[start:]
        self.send_header("Content-Length", str(len(part)))
        self.send_header("X-Repo-Commit", COMMIT)
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        if not body:
            return None
        if path in self.served.wrong:
            part = bytes(byte ^ 1 for byte in part)
        waiting = self.served.cuts.get(path, [])
        if waiting:
            self.wfile.write(part[: waiting.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(part)
        return None


@pytest.fixture
def server() -> Iterator[Server]:
    """A hub on this machine."""
    served = Server()
    handler = type("Handling", (Handler,), {"served": served})
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    served.address = f"http://127.0.0.1:{listening.server_port}"
    yield served
    listening.shutdown()
    listening.server_close()
    thread.join()
