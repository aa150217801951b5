"""Our own servers are reached, whatever proxies the environment names."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from greenlight.core.errors import NoAnswerError
from greenlight.core.http import call

PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers what it was sent; at /elsewhere it redirects."""

    def do_GET(self) -> None:
        self.send_response(302 if self.path == "/elsewhere" else 200)
        self.send_header("Location", "/")
        self.end_headers()
        self.wfile.write(self.headers.get("X-API-Key", "none").encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in PROXIES:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_address[1]}"
        made.shutdown()


def test_a_proxy_of_the_environment_is_not_asked(server: str) -> None:
    assert call("GET", server, 5, headers={"X-API-Key": "secret"}).text == "secret"
    assert call("POST", server, 5, {"a": 1}).json() == {"a": 1}


def test_a_redirect_is_not_followed(server: str) -> None:
    assert call("GET", f"{server}/elsewhere", 5).status_code == 302


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/version", "http://[broken", "nothing"])
def test_no_answer(url: str) -> None:
    with pytest.raises(NoAnswerError, match="did not answer within 5 s"):
        call("GET", url, 5)
