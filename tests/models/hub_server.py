"""A hub on 127.0.0.1 that speaks what huggingface_hub needs, and that can be told to misbehave."""

import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
PIECE = 16384


@dataclass
class Asked:
    path: str
    range: str
    token: str


@dataclass
class HubServer:
    """Serves one repository, `org/name` on the branch `main`."""

    files: dict[str, bytes]
    token: str = ""  # when set, nothing without it
    gated: bool = False
    # bytes after which the next answers for a file are cut
    cut_after: dict[str, list[int]] = field(default_factory=dict)
    # how many of the next answers for a file have a wrong byte
    spoil: dict[str, int] = field(default_factory=dict)
    bytes_per_second: float = 0  # of each answer; 0: as fast as it goes
    ignore_ranges: bool = False
    asked: list[Asked] = field(default_factory=list)
    looked_at: list[tuple[str, str]] = field(default_factory=list)  # parts, with their ranges

    def __enter__(self) -> "HubServer":
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_GET

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def fetched(self) -> list[Asked]:
        """Requests for files to their end: not for parts that are only looked at."""
        return [
            asked
            for asked in self.asked
            if "/resolve/" in asked.path and not re.fullmatch(r"bytes=\d+-\d+", asked.range)
        ]

    def downloads(self, name: str) -> list[Asked]:
        return [asked for asked in self.fetched if asked.path.endswith(f"/{name}")]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        self.asked.append(
            Asked(path, request.headers.get("Range", ""), request.headers.get("Authorization", ""))
        )
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _fail(request, 401, "RepoNotFound")
        if match := re.fullmatch(r"/api/models/org/name(?:/revision/(.+))?", path):
            if match[1] not in (None, "main", COMMIT):
                return _fail(request, 404, "RevisionNotFound")
            return _send(request, json.dumps(self._listing()).encode())
        if match := re.fullmatch(rf"/org/name/resolve/{COMMIT}/(.+)", path):
            if self.gated:
                return _fail(request, 403, "GatedRepo")
            return self._send_file(request, match[1])
        return _fail(request, 404, "RepoNotFound")

    def _listing(self) -> dict:
        siblings = []
        for name, data in self.files.items():
            entry: dict = {
                "rfilename": name,
                "size": len(data),
                "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
            }
            if name.endswith((".safetensors", ".bin")):
                entry["lfs"] = {
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "size": len(data),
                    "pointerSize": 134,
                }
            siblings.append(entry)
        return {
            "id": "org/name",
            "sha": COMMIT,
            "private": False,
            "gated": "auto" if self.gated else False,
            "tags": [],
            "downloads": 0,
            "siblings": siblings,
        }

    def _send_file(self, request: BaseHTTPRequestHandler, name: str) -> None:
        if name not in self.files:
            return _fail(request, 404, "EntryNotFound")
        data = self.files[name]
        wanted = request.headers.get("Range", "")
        if match := re.fullmatch(r"bytes=(\d+)-(\d+)", wanted):  # a look at a part of it
            self.looked_at.append((name, wanted))
            if self.ignore_ranges:
                return _send(request, data)
            return _send(request, data, int(match[1]), end=int(match[2]) + 1)
        if self.spoil.get(name, 0) > 0:
            self.spoil[name] -= 1
            data = data[:-1] + bytes([data[-1] ^ 1])
        start = 0
        if (match := re.fullmatch(r"bytes=(\d+)-", wanted)) and not self.ignore_ranges:
            start = int(match[1])
        cuts = self.cut_after.get(name, [])
        _send(request, data, start, cuts.pop(0) if cuts else None, self.bytes_per_second)


def _send(
    request: BaseHTTPRequestHandler,
    data: bytes,
    start: int = 0,
    cut: int | None = None,
    bytes_per_second: float = 0,
    end: int | None = None,
) -> None:
    body = data[start:end]
    partial = bool(start) or end is not None
    request.send_response(206 if partial else 200)
    request.send_header("Content-Length", str(len(body)))
    if partial:
        request.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(data)}")
    request.end_headers()
    for offset in range(0, len(body) if cut is None else cut, PIECE):
        request.wfile.write(body[offset : min(offset + PIECE, len(body) if cut is None else cut)])
        if bytes_per_second:
            time.sleep(PIECE / bytes_per_second)
    if cut is not None:
        request.wfile.flush()
        request.close_connection = True


def _fail(request: BaseHTTPRequestHandler, status: int, code: str) -> None:
    request.send_response(status)
    request.send_header("X-Error-Code", code)
    request.send_header("X-Error-Message", "refused by the test")
    request.send_header("Content-Length", "0")
    request.end_headers()


def folder_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
