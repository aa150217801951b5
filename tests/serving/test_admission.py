"""What operators see, and how the server behaves when it is full or its clients leave."""

import json
import re
import socket
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from greenlight.serving.http_schemas import GenerateRequest
from tests.serving.server_process import LONG, Server, eventually

SHORT = {"prompt": "What is await?", "max_length": 4, "temperature": 0}


def test_probes_and_version(server: Server) -> None:
    assert (server.get("/health").status, server.get("/ready").status) == (200, 200)
    version = server.get("/version").json
    assert version["release_id"] == "test-release" and version["model_digest"] == "sha256:given"
    assert version["pid"] == server.process.pid and abs(version["started"] - time.time()) < 3600
    assert version["precision"] == "fast"
    assert version["engine"] in ("openvino", "transformers") and "/" not in version["model_id"]


def test_every_answer_names_the_release(server: Server) -> None:
    for body in (SHORT, SHORT | {"stream": True}):
        assert server.post(body).headers["x-release-id"] == "test-release"


def test_openapi_describes_the_bodies_and_its_references_resolve(server: Server) -> None:
    answer = server.get("/openapi.json")
    schemas = answer.json["components"]["schemas"]
    assert set(schemas["GenerateRequest"]["properties"]) == set(GenerateRequest.model_fields)
    references = re.findall(r'"\$ref":\s*"#/components/schemas/(\w+)"', answer.body.decode())
    assert (
        {"GenerateRequest", "CompletionRequest", "ChatRequest", "ChatMessage"}
        <= set(references)
        <= set(schemas)
    )


def test_metrics_count(server: Server) -> None:
    def series() -> dict[str, float]:
        text = server.get("/metrics").body.decode()
        samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]
        assert all(
            sample.labels["release"] == "test-release"
            for sample in samples
            if sample.name.startswith("greenlight_")
        )
        ours = {"status": "200", "route": "/generate"}
        plain = [
            sample
            for sample in samples
            if "le" not in sample.labels
            and all(sample.labels.get(key, value) == value for key, value in ours.items())
        ]
        return {sample.name: sample.value for sample in plain}

    before = series()
    server.post(SHORT | {"stream": True, "ignore_eos": True})
    server.post(SHORT | {"ignore_eos": True})
    after = series()
    grown = {
        name: after[name] - before.get(name, 0) for name in after if name.startswith("greenlight_")
    }
    assert grown["greenlight_requests_total"] == 2 and grown["greenlight_output_tokens_total"] == 8
    assert (
        grown["greenlight_time_to_first_token_seconds_count"] == 1
        and grown["greenlight_inter_token_seconds_count"] == 3
    )
    assert after["greenlight_ready"] == 1 and after["greenlight_running_requests"] == 0
    assert (
        after["greenlight_engine_resident_memory_bytes"] > 50e6
        and after["process_resident_memory_bytes"] > 20e6
    )


def test_nothing_but_json_lines_on_stderr_and_no_prompt_in_them(server: Server) -> None:
    secret = "a secret that must not be logged"
    server.post(SHORT | {"prompt": secret})
    server.post(SHORT | {"prompt": secret, "max_length": "x"})
    server.wait_for_log("request")  # reading a line that is not JSON fails
    assert secret not in str(server.log_lines)


def test_a_full_queue_is_429_and_the_server_recovers(narrow: Server) -> None:
    running = narrow.open(LONG)
    running.read(100)
    queued = narrow.connect()
    queued.request("POST", "/generate", '{"prompt": "What is await?", "max_length": 2}')
    assert eventually(lambda: narrow.metric("greenlight_queued_requests") == 1)
    refused = narrow.post(SHORT)
    assert refused.status == 429 and int(refused.headers["retry-after"]) >= 1
    assert refused.json["error"]["type"] == "rate_limit_error"
    running.read()
    assert queued.getresponse().status == 200
    assert narrow.post(SHORT).status == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_place(narrow: Server, stream: bool) -> None:
    gone = narrow.metric("greenlight_requests_total", status="499")
    connection = narrow.connect()
    if stream:
        narrow.open(LONG, connection=connection).read(200)
    else:
        connection.request("POST", "/generate", json.dumps(LONG | {"stream": False}))
        assert eventually(lambda: narrow.metric("greenlight_running_requests") == 1)
    generated = narrow.metric("greenlight_output_tokens_total")
    assert connection.sock
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    assert eventually(
        lambda: narrow.metric("greenlight_requests_total", status="499") == gone + 1, 1
    )
    assert narrow.metric("greenlight_running_requests") == 0
    assert narrow.post(SHORT).status == 200
    assert narrow.metric("greenlight_output_tokens_total") < generated + 850, (
        "it was cancelled, not decoded to its end"
    )


def test_a_client_that_leaves_the_queue_frees_its_place(narrow: Server) -> None:
    running = narrow.open(LONG)
    running.read(100)
    with socket.create_connection(("127.0.0.1", narrow.port)) as waiting:
        body = b'{"prompt": "What is await?"}'
        waiting.sendall(
            b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        assert eventually(lambda: narrow.metric("greenlight_queued_requests") == 1)
    assert eventually(lambda: narrow.metric("greenlight_queued_requests") == 0, 1)
    running.read()


def test_a_client_that_does_not_read_slows_nobody(server: Server) -> None:
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stalled.connect(("127.0.0.1", server.port))
        body = (
            b'{"prompt": "What is await?", "max_length": 1000, "stream": true, "ignore_eos": true,'
            b' "temperature": 0}'
        )
        stalled.sendall(
            b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        assert all(
            server.post(SHORT | {"stream": True}).events[-1]["finish_reason"] for _ in range(5)
        )
    assert eventually(lambda: server.metric("greenlight_running_requests") == 0, 20)


def test_connections_are_kept_alive(server: Server) -> None:
    connection = server.connect()
    for stream in (True, False, True):
        response = server.open(SHORT | {"stream": stream}, connection=connection)
        assert "connection" not in {name.lower() for name in response.headers}
        response.read()
