"""What /version tells of the servers before and after a benchmark."""

import contextlib
import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from greenlight.benchmark.plan import Side
from greenlight.benchmark.versions import (
    find_change,
    find_mismatch,
    find_unreachable,
    read_versions,
)
from greenlight.core.records import Release

URL = "http://127.0.0.1:1"
VERSION = {"release_id": "new", "model_digest": "sha-new", "pid": 7}
RELEASE = Release(
    release_id="new",
    color="green",
    service="s",
    model_uri="m",
    digest="sha-new",
    source="s",
    commit="c",
    method="none",
    bits=16,
    engine="e",
)


@contextlib.contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "version"),
    [
        (200, b'{"release_id": "new"}', {"release_id": "new"}),
        (404, b"not found", {}),
        (503, b"loading", "/version answers 503"),
        (200, b"<html>", "/version answers '<html>', not JSON"),
        (200, b"[1]", "/version answers '[1]', not an object"),
    ],
)
def test_an_answer_becomes_a_version_or_a_sentence(
    status: int, body: bytes, version: dict[str, str] | str
) -> None:
    with answering(status, body) as url:
        found = read_versions([Side(role="candidate", endpoints=(url,))])
    assert found == {url: url + version if isinstance(version, str) else version}
    assert find_unreachable(found) == (found[url] if isinstance(version, str) else "")


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
    found = read_versions([Side(role="live", endpoints=(url,))])
    assert url in find_unreachable(found)


def test_another_release_or_digest_is_a_mismatch() -> None:
    assert find_mismatch([URL], RELEASE, {URL: VERSION}) == ""
    other = find_mismatch([URL], RELEASE, {URL: VERSION | {"release_id": "old"}})
    assert other == f"{URL} serves release_id 'old', not 'new', which was deployed"
    assert "model_digest 'x', not 'sha-new'" in find_mismatch(
        [URL], RELEASE, {URL: VERSION | {"model_digest": "x"}}
    )
    assert find_mismatch([URL], RELEASE, {URL: "it is silent"}) == "it is silent"
    assert find_mismatch([URL], RELEASE, {}) == f"{URL} was not asked"


def test_a_process_that_was_replaced_is_a_change() -> None:
    assert find_change({URL: VERSION}, {URL: dict(VERSION)}) == ""
    assert "was replaced during the benchmark" in find_change(
        {URL: VERSION}, {URL: VERSION | {"pid": 8}}
    )
    assert find_change({URL: VERSION}, {URL: "it is silent"}) == "it is silent"
