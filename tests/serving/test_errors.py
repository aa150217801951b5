"""Whatever a client sends, it gets a 4xx in OpenAI's shape that names the field, and the server
stays well.
"""

import json
import socket

import pytest

from tests.serving.server_process import Server

OK = {"prompt": "What is await?", "max_length": 2, "temperature": 0}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (OK | {"prompt": 5}, "prompt"),
        (OK | {"prompt": ""}, "prompt"),
        (OK | {"prompt": None}, "prompt"),
        ({"max_length": 5}, "prompt"),
        (OK | {"prompt": "word " * 2000}, "prompt"),
        (OK | {"prompt": "word " * 30_000}, "prompt"),
        (OK | {"max_length": 0}, "max_length"),
        (OK | {"max_length": -1}, "max_length"),
        (OK | {"max_length": 2000}, "max_length"),
        (OK | {"max_length": 10**400}, "max_length"),
        (OK | {"max_length": 2.5}, "max_length"),
        (OK | {"max_length": "5"}, "max_length"),
        (OK | {"max_length": True}, "max_length"),
        (OK | {"temperature": -0.1}, "temperature"),
        (OK | {"temperature": 1e300}, "temperature"),
        (OK | {"temperature": "hot"}, "temperature"),
        (OK | {"top_p": 0}, "top_p"),
        (OK | {"top_p": 1.1}, "top_p"),
        (OK | {"top_k": -1}, "top_k"),
        (OK | {"top_k": 2**70}, "top_k"),
        (OK | {"seed": -1}, "seed"),
        (OK | {"seed": 2**63}, "seed"),
        (OK | {"stop": ""}, "stop"),
        (OK | {"stop": [""]}, "stop"),
        (OK | {"stop": ["x"] * 17}, "stop"),
        (OK | {"stop": "x" * 257}, "stop"),
        (OK | {"stop": [["x"]]}, "stop"),
        (OK | {"stream": "yes"}, "stream"),
        (OK | {"max_lengh": 5}, "max_lengh"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_field_is_named(server: Server, body: object, param: str) -> None:
    answer = server.post(body)
    assert answer.status == 400
    error = answer.json["error"]
    assert (
        error["type"] == "invalid_request_error"
        and error["param"] == param
        and param in error["message"]
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"prompt": "\xff"}',
        b'{"prompt": "a\x00b"}',
        b'{"prompt": "a\nb"}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "\\udfff tail", "stop": "x"}',
        b'{"prompt": "x", "temperature": NaN}',
        b'{"prompt": "x", "temperature": Infinity}',
        b'{"prompt": "x", "temperature": 1e999}',
        b'{"prompt": "x", "max_length": 1' + b"0" * 10_000 + b"}",
        b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"prompt": "x", "y": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_malformed_bodies(server: Server, body: bytes) -> None:
    answer = server.post(body)
    assert answer.status == 400 and answer.json["error"]["type"] == "invalid_request_error"


def test_odd_but_legal_texts(server: Server) -> None:
    for prompt in (
        "\u0000",
        "a\u0000b\u001f\u007f",
        "\U0010ffff",
        "\ufffe\uffff",
        "e" + "\u0301" * 200,
        "<|im_end|>",
        "\ufeff",
    ):
        answer = server.post(OK | {"prompt": prompt, "stop": "\u0000"})
        assert answer.status == 200, prompt


def test_too_long_a_body_is_413_with_and_without_a_length(server: Server) -> None:
    body = b'{"prompt": "' + b"x" * (4 << 20) + b'"}'
    assert server.post(body).status == 413
    connection = server.connect()
    connection.request(
        "POST",
        "/generate",
        iter([body[:1000], body[1000:]]),
        encode_chunked=True,
        headers={"Transfer-Encoding": "chunked"},
    )
    answer = connection.getresponse()
    assert answer.status == 413 and json.loads(answer.read())["error"]["code"] == "body_too_long"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/generate", 405),
        ("POST", "/nowhere", 404),
        ("GET", "/", 404),
        ("DELETE", "/health", 405),
    ],
)
def test_wrong_paths_and_methods(server: Server, method: str, path: str, status: int) -> None:
    connection = server.connect()
    connection.request(method, path)
    answer = connection.getresponse()
    assert answer.status == status and "message" in json.loads(answer.read())["error"]


def test_a_body_that_never_ends_harms_nobody(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b'POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"prompt"')
        assert server.post(OK).status == 200


def test_errors_are_counted_and_nothing_is_left_running(server: Server) -> None:
    assert server.metric("greenlight_requests_total", route="/generate", status="400") > 0
    assert server.metric("greenlight_errors_total", kind="invalid_request_error") > 0
    assert server.metric("greenlight_running_requests") == 0
    assert server.get("/ready").status == 200
