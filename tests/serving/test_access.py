"""Who may ask, what they may ask for, and how a browser asks."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.serving.server_process import LONG, Answer, Server

ASK = {"prompt": "What is await?", "max_length": 4, "temperature": 0, "ignore_eos": True}


def get(server: Server, query: dict[str, object], **headers: str) -> Answer:
    connection = server.connect()
    connection.request("GET", "/generate?" + urlencode(query), headers=headers)
    return Answer(connection.getresponse())


@pytest.fixture(scope="module")
def guarded(openvino_model: Path) -> Iterator[Server]:
    """Two keys, one origin, streams by default, small limits."""
    settings = {
        "api_keys": "first-key, zweiter-schlüssel",
        "cors_origins": "https://app.example",
        "streaming_mode": True,
        "max_new_tokens": 16,
    }
    running = Server(model_id=openvino_model, default_temperature=0, **settings).wait_ready()
    yield running
    running.stop()


def ask(
    server: Server, path: str, key: str = "first-key", method: str = "POST", **fields: object
) -> Answer:
    connection = server.connect()
    body = json.dumps(ASK | fields) if method == "POST" else None
    connection.request(
        method, path, body, {"Authorization": f"Bearer {key}".encode()} if key else {}
    )
    return Answer(connection.getresponse())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/generate"),
        ("GET", "/generate?prompt=x"),
        ("POST", "/v1/completions"),
        ("GET", "/v1/models"),
    ],
)
@pytest.mark.parametrize("key", ["", "first-ke", "first-key2", "zweiter-schl\udc80"])
def test_without_a_key_nothing_is_answered(
    guarded: Server, method: str, path: str, key: str
) -> None:
    connection = guarded.connect()
    connection.request(
        method,
        path,
        json.dumps(ASK),
        {"Authorization": b"Bearer " + os.fsencode(key)} if key else {},
    )
    answer = Answer(connection.getresponse())
    assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert answer.json["error"]["code"] == "invalid_api_key"
    assert "first-key" not in str(guarded.log_lines)


def test_every_key_opens_and_probes_need_none(guarded: Server) -> None:
    assert ask(guarded, "/generate").status == 200
    assert ask(guarded, "/generate", "zweiter-schlüssel").status == 200
    assert ask(guarded, "/v1/models", method="GET").status == 200
    assert [guarded.get(path).status for path in ("/health", "/ready", "/metrics", "/version")] == [
        200
    ] * 4


def test_keys_and_tokens_do_not_reach_the_engine(openvino_model: Path) -> None:
    server = Server(model_id=openvino_model, api_keys="a-key", hf_token="a-token").wait_ready()
    try:
        environment = Path(f"/proc/{server.engine_pid}/environ").read_text()
        assert "a-key" not in environment and "a-token" not in environment
    finally:
        server.stop()


def test_streaming_mode_is_the_default_of_generate_alone(guarded: Server) -> None:
    assert ask(guarded, "/generate").headers["content-type"].startswith("text/event-stream")
    assert ask(guarded, "/generate", stream=False).headers["content-type"] == "application/json"


def test_the_most_new_tokens(guarded: Server) -> None:
    refused = ask(guarded, "/generate", max_length=17)
    assert (
        refused.status == 400
        and refused.json["error"]["param"] == "max_length"
        and "16" in refused.json["error"]["message"]
    )
    connection = guarded.connect()
    connection.request(
        "POST",
        "/generate",
        json.dumps({"prompt": "x", "ignore_eos": True, "stream": False}),
        {"X-API-Key": "first-key"},
    )
    assert Answer(connection.getresponse()).json["usage"]["completion_tokens"] == 16


def test_a_web_page_of_a_known_origin_may_read_answers(guarded: Server) -> None:
    def preflight(origin: str) -> Answer:
        connection = guarded.connect()
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        connection.request("OPTIONS", "/generate", headers=headers)
        return Answer(connection.getresponse())

    assert (
        preflight("https://app.example").headers["access-control-allow-origin"]
        == "https://app.example"
    )
    assert "access-control-allow-origin" not in preflight("https://other.example").headers


def test_a_text_that_takes_too_long_is_cut(start: Callable[..., Server]) -> None:
    server = start(request_timeout=0.2, max_running=1)
    whole = server.post(LONG | {"stream": False})
    assert (
        whole.status == 408
        and "REQUEST_TIMEOUT" in whole.json["error"]["message"]
        and whole.json["error"]["code"] == "request_timeout"
    )
    streamed = server.post(LONG).events
    assert streamed[0]["text"] and streamed[-1]["error"]["code"] == "request_timeout"
    assert server.metric("greenlight_running_requests") == 0
    assert server.post(ASK).status == 200
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_get_is_for_event_sources(server: Server) -> None:
    query = {"prompt": "What is await?", "max_length": 12, "temperature": 0, "ignore_eos": "true"}
    streamed = get(server, query)
    assert streamed.status == 200 and streamed.headers["content-type"].startswith(
        "text/event-stream"
    )
    events = streamed.body.decode().split("\n\n")
    text = "".join(
        json.loads(event.split("data: ", 1)[1])["text"] for event in events if '"text"' in event
    )
    assert text == server.post(ASK | {"max_length": 12}).json["text"]
    assert events[0].startswith("id: ") and events[-2] == "data: [DONE]"
    again = get(server, query, **{"Last-Event-ID": "0"})
    assert again.status == 204 and again.body == b""


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({}, "prompt"),
        ({"prompt": "x", "max_length": "many"}, "max_length"),
        ({"prompt": "x", "temperatur": 1}, "temperatur"),
    ],
    ids=str,
)
def test_a_bad_query_is_named(server: Server, query: dict[str, object], param: str) -> None:
    answer = get(server, query)
    assert answer.status == 400 and answer.json["error"]["param"] == param
