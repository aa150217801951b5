"""The client against a server that knows when it sent each token."""

import socket
import statistics
import subprocess
import sys
import threading
from itertools import pairwise

import pytest

from greenlight.benchmark.client import Client, Reply
from tests.benchmark.conftest import StartStub


def ask(url: str, tokens: int = 12, timeout: float = 20, prompt: str = "hello") -> Reply:
    client = Client(url, timeout)
    reply = client.generate(prompt, tokens, seed=1)
    client.close()
    return reply


@pytest.mark.alone
def test_times_are_those_of_the_server(start_stub: StartStub) -> None:
    stub = start_stub(ttft=0.02, itl=0.01)
    client = Client(stub.url, 20)
    replies = [client.generate(str(number), 20, seed=1) for number in range(8)]
    truth = stub.requests(8)
    assert [reply.error for reply in replies] == [""] * 8
    # Each error of the client is at least zero, and other processes only add to it: medians tell
    # the client from the machine.
    late = [
        arrived - left
        for reply, told in zip(replies, truth, strict=True)
        for arrived, left in zip(reply.stamps, told["left"], strict=True)
    ]
    ttft = [
        (reply.stamps[0] - reply.sent) - (told["left"][0] - told["arrived"])
        for reply, told in zip(replies, truth, strict=True)
    ]
    gaps = [(after - before) for reply in replies for before, after in pairwise(reply.stamps)]
    true_gaps = [(after - before) for told in truth for before, after in pairwise(told["left"])]
    assert 0 < statistics.median(late) < 0.001
    assert 0 < statistics.median(ttft) < 0.003
    assert statistics.median(gaps) == pytest.approx(statistics.median(true_gaps), abs=0.001)
    assert all(reply.ended >= reply.stamps[-1] >= reply.stamps[0] > reply.sent for reply in replies)


def test_counts_and_identity(start_stub: StartStub) -> None:
    reply = ask(start_stub(itl=0, release="r7").url, tokens=9)
    assert (
        reply.status,
        reply.error,
        reply.tokens_in,
        reply.tokens_out,
        len(reply.stamps),
        reply.release,
    ) == (200, "", 3, 9, 9, "r7")


def test_tokens_of_one_event_arrive_together(start_stub: StartStub) -> None:
    reply = ask(start_stub(itl=0.005, group=4).url, tokens=8)
    assert reply.error == ""
    assert [after == before for before, after in pairwise(reply.stamps)] == [
        True,
        True,
        True,
        False,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("options", "error", "tokens"),
    [
        ({"fail_every": 1}, "http", 0),
        ({"cut_every": 1}, "broken", 7),
        ({"short": True}, "tokens", 11),
        ({"die_after": 1}, "broken", 7),
    ],
)
def test_failures_are_named_and_keep_what_arrived(
    start_stub: StartStub, options: dict[str, object], error: str, tokens: int
) -> None:
    reply = ask(start_stub(itl=0.002, **options).url)
    assert (reply.error, len(reply.stamps)) == (error, tokens)
    assert reply.detail
    assert reply.ended > reply.sent


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    reply = ask(url)
    assert (reply.status, reply.error, reply.stamps) == (0, "connect", [])


def test_timeout_is_of_the_whole_request(start_stub: StartStub) -> None:
    reply = ask(start_stub(itl=0.05).url, tokens=100, timeout=0.4)
    assert reply.error == "timeout"
    assert 0 < len(reply.stamps) < 100
    assert 0.4 <= reply.ended - reply.sent < 2


def test_a_connection_that_the_server_closed_is_made_anew() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    last = (
        b'{"finish_reason": "length", "tokens": 0, "usage": {"prompt_tokens": 1,'
        b' "completion_tokens": 1}}'
    )
    body = b'data: {"text": "a", "tokens": 1}\n\ndata: ' + last + b"\n\ndata: [DONE]\n\n"
    closed = threading.Event()

    def serve() -> None:
        for _ in range(2):  # one request per connection, and nothing says that it will be closed
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            connection.close()
            closed.set()

    thread = threading.Thread(target=serve)
    thread.start()
    client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", 10)
    first = client.generate("a", 1, seed=1)
    assert closed.wait(10)
    second = client.generate("a", 1, seed=1)
    thread.join()
    listener.close()
    assert (first.error, second.error) == ("", "")


@pytest.mark.alone
def test_keeps_up_with_thousands_of_events_a_second(start_stub: StartStub) -> None:
    """In a process of its own, under gevent as in Locust. CPU time, not wall time: the machine may
    be busy.
    """
    stub = start_stub(itl=0)
    script = f"""
import gevent.monkey; gevent.monkey.patch_all()
import gevent, time
from greenlight.benchmark.client import Client
def user(number):
    client = Client({stub.url!r}, 60)
    for _ in range(10):
        assert not client.generate("a", 128, 1).error
begin = time.process_time()
gevent.joinall([gevent.spawn(user, number) for number in range(8)], raise_error=True)
print((time.process_time() - begin) / (8 * 10 * 128))
"""
    seconds_an_event = float(
        subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True
        ).stdout
    )
    assert seconds_an_event < 1 / 5000
