"""The stable endpoint as a client sees it."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from greenlight.core.records import Instance, Release
from greenlight.rollout.local.proxy import Follower
from greenlight.rollout.local.store import Store
from greenlight.rollout.local.target import LocalTarget
from greenlight.rollout.state import ServiceState
from tests.rollout.stage import TIMINGS, free_port


class Upstream(BaseHTTPRequestHandler):
    """Echoes, streams, or dies in the middle; counts who asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        if self.path.startswith("/cut"):
            self.head({"Transfer-Encoding": "chunked"})
            self.wfile.write(b"4\r\nhalf\r\n")
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif self.path.startswith("/endless"):
            self.head({"Transfer-Encoding": "chunked"})
            try:
                while True:
                    self.wfile.write(b"4\r\nmore\r\n")
                    time.sleep(0.02)
            except OSError:
                self.server.seen.append("left")  # type: ignore[attr-defined]
                self.close_connection = True
        else:
            echo = json.dumps(
                {"body": body.decode(), "headers": dict(self.headers), "path": self.path}
            ).encode()
            self.head({"Content-Length": str(len(echo)), "X-Own": "1", "Set-Cookie": "a=b"})
            self.wfile.write(echo)

    do_GET = do_POST

    def head(self, headers: dict[str, str]) -> None:
        self.send_response(201)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None: ...


class Endpoint:
    def __init__(self, target: LocalTarget) -> None:
        self.target = target
        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), Upstream) for _ in range(2)]
        for server in self.servers:
            server.seen = []  # type: ignore[attr-defined]
            server.daemon_threads = True
            Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.urls = [f"http://127.0.0.1:{server.server_port}" for server in self.servers]

    def seen(self, number: int) -> list[str]:
        return self.servers[number].seen  # type: ignore[attr-defined]

    def live(self, *urls: str) -> None:
        self.target.commit(self.target.read().filled(release(*urls)).having(live="blue"))

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.target.port, timeout=10)

    def ask(
        self,
        method: str = "POST",
        path: str = "/generate",
        body: str | None = "hi",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict, bytes]:
        connection = self.connect()
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return (
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )


def release(*urls: str) -> Release:
    return Release(
        release_id="r-1",
        color="blue",
        service="llm",
        model_uri="m",
        digest="d",
        source="s",
        commit="c",
        method="none",
        bits=16,
        engine="quick",
        instances=[Instance(name=f"blue-{number}", url=url) for number, url in enumerate(urls)],
    )


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    target = LocalTarget(
        "llm", "default", str(tmp_path_factory.mktemp("home")), free_port(), TIMINGS
    )
    target.open_endpoint()
    made = Endpoint(target)
    yield made
    target.close_endpoint()
    for server in made.servers:
        server.shutdown()
        server.server_close()


def test_nothing_live_is_503(endpoint: Endpoint) -> None:
    endpoint.target.commit(endpoint.target.read().having(live=None))
    status, _, body = endpoint.ask()
    assert status == 503 and json.loads(body)["error"]["type"] == "nothing_live"


def test_passes_the_request_on_and_names_the_color(endpoint: Endpoint) -> None:
    endpoint.live(endpoint.urls[0])
    status, headers, body = endpoint.ask(
        path="/a%20b/c?x=1&y=%2F",
        headers={
            "X-Mine": "2",
            "Connection": "keep-alive, X-Hop",
            "X-Hop": "no",
            "Host": "me.test",
        },
    )
    echo = json.loads(body)
    assert status == 201 and echo["body"] == "hi" and echo["path"] == "/a%20b/c?x=1&y=%2F"
    assert (
        echo["headers"]["X-Mine"] == "2"
        and echo["headers"]["Host"] == "me.test"
        and echo["headers"]["X-Forwarded-For"] == "127.0.0.1"
    )
    assert "X-Hop" not in echo["headers"]
    assert (headers["x-greenlight-color"], headers["x-greenlight-release"]) == ("blue", "r-1")
    assert headers["x-own"] == "1" and headers["content-length"] == str(len(body))


def test_a_path_cannot_name_another_host(endpoint: Endpoint) -> None:
    endpoint.live(endpoint.urls[0])
    before = len(endpoint.seen(0)) + len(endpoint.seen(1))
    for path in (f"@127.0.0.1:{endpoint.servers[1].server_port}/", endpoint.urls[1] + "/", "*"):
        with socket.create_connection(("127.0.0.1", endpoint.target.port), timeout=5) as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
            )
            assert b" 400 " in connection.makefile("rb").readline()
    assert len(endpoint.seen(0)) + len(endpoint.seen(1)) == before


def test_instances_take_turns(endpoint: Endpoint) -> None:
    endpoint.live(*endpoint.urls)
    before = [len(endpoint.seen(0)), len(endpoint.seen(1))]
    for _ in range(6):
        endpoint.ask()
    assert [len(endpoint.seen(0)) - before[0], len(endpoint.seen(1)) - before[1]] == [3, 3]


def test_an_instance_that_refuses_is_passed_over(endpoint: Endpoint) -> None:
    endpoint.live(f"http://127.0.0.1:{free_port()}", endpoint.urls[0])
    assert {endpoint.ask()[0] for _ in range(4)} == {201}


def test_a_live_color_that_is_down_is_502(endpoint: Endpoint) -> None:
    endpoint.live(f"http://127.0.0.1:{free_port()}")
    status, headers, body = endpoint.ask()
    assert status == 502 and json.loads(body)["error"]["type"] == "live_color_down"
    assert headers["x-greenlight-color"] == "blue" and headers["retry-after"] == "1"


def test_an_answer_that_breaks_off_is_not_made_to_look_whole(endpoint: Endpoint) -> None:
    endpoint.live(*endpoint.urls)
    before = sum(path == "/cut" for number in (0, 1) for path in endpoint.seen(number))
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        endpoint.ask(path="/cut")
    after = sum(path == "/cut" for number in (0, 1) for path in endpoint.seen(number))
    assert after - before == 1, "what was sent is not sent again"


def test_bytes_come_through_as_they_come_and_end_with_the_client(endpoint: Endpoint) -> None:
    endpoint.live(endpoint.urls[0])
    connection = endpoint.connect()
    connection.request("POST", "/endless", "hi")
    response = connection.getresponse()
    assert response.read(8) == b"moremore"
    assert "left" not in endpoint.seen(0)
    response.close()
    connection.close()
    deadline = time.monotonic() + 5
    while "left" not in endpoint.seen(0):
        assert time.monotonic() < deadline, "the generation of a client that left goes on"
        time.sleep(0.02)


def test_a_kept_connection_follows_the_switch(endpoint: Endpoint) -> None:
    connection = endpoint.connect()
    before = [len(endpoint.seen(0)), len(endpoint.seen(1))]
    for turn in range(10):
        endpoint.live(endpoint.urls[turn % 2])
        connection.request("POST", "/generate", "hi")
        connection.getresponse().read()
    assert [len(endpoint.seen(0)) - before[0], len(endpoint.seen(1)) - before[1]] == [5, 5]


def test_says_who_it_is(endpoint: Endpoint) -> None:
    endpoint.live(endpoint.urls[0])
    about = json.loads(endpoint.ask("GET", "/-/greenlight", None)[2])
    assert (
        about["service"] == "llm"
        and about["folder"] == str(endpoint.target.folder)
        and about["release_id"] == "r-1"
    )


def test_opening_it_again_changes_nothing(endpoint: Endpoint) -> None:
    before = endpoint.target.processes.find("proxy")
    assert endpoint.target.open_endpoint() == endpoint.target.endpoint
    assert [running.instance for running in endpoint.target.processes.find("proxy")] == [
        running.instance for running in before
    ]


def test_the_follower_keeps_the_last_good_state(tmp_path: Path) -> None:
    store, good = Store(tmp_path, "llm"), release("http://a")
    follower = Follower(store)
    assert follower.live() is None
    store.commit(ServiceState(service="llm").filled(good).having(live="blue"))
    assert follower.live() == good
    broken = tmp_path / "broken"
    broken.write_text("{")
    broken.rename(store.path)
    assert follower.live() == good
    store.path.unlink()
    assert follower.live() == good
