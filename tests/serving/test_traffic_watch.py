"""A server that lost the traffic lets its clients go, and keeps them when it has the traffic
again.
"""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from greenlight.core.errors import InputError
from greenlight.serving.settings import Settings
from tests.serving.server_process import Server, eventually

SHORT = {"prompt": "What is await?", "max_length": 2, "temperature": 0}


class Stable(HTTPServer):
    """What the stable endpoint says about who is live. None: nobody answers."""

    release: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Stable

    def do_GET(self) -> None:
        self.send_response(200 if self.server.release else 503)
        self.end_headers()
        self.wfile.write(json.dumps({"release_id": self.server.release}).encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def stable() -> Iterator[Stable]:
    with Stable(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_connections_follow_the_traffic(start: Callable[..., Server], stable: Stable) -> None:
    server = start(release_id="mine", stable_url=stable.url)

    def closes() -> bool:
        return server.get("/health").headers["connection"] == "close"

    stable.release = "theirs"
    assert not eventually(closes, 1.2), (
        "one that never had the traffic is a candidate under test, not a demoted release"
    )
    stable.release = "mine"
    assert not eventually(closes, 1.2)
    kept = server.connect()
    assert server.open(SHORT, connection=kept).read()

    stable.release = "theirs"
    assert eventually(closes, 2)
    last = server.open(SHORT, connection=kept)
    assert last.status == 200 and last.headers["connection"] == "close" and last.read()
    assert server.get("/ready").status == 200, "it stays warm for a rollback"
    stable.release = None
    assert not eventually(lambda: not closes(), 0.5), (
        "an endpoint that does not answer says nothing"
    )
    stable.release = "mine"
    assert eventually(lambda: not closes(), 2)


@pytest.mark.parametrize("url", ["https://a", "llm-inference", "http://a b"])
def test_the_url_is_checked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ID", "m")
    monkeypatch.setenv("STABLE_URL", url)
    with pytest.raises(InputError, match="STABLE_URL"):
        Settings.from_environment()
