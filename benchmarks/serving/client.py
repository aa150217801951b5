"""The load client: a process of its own that keeps `concurrency` requests in flight and costs next
to nothing.

One epoll loop writes prepared requests on kept-alive connections. On the hot path it reads what has
come, takes one time stamp and counts the ends of events in the bytes; nothing is parsed. When a
request has ended, its bytes are checked once: status 200, `[DONE]` where the API has it, and the
number of tokens in its `usage`. A request that is cut, refused or of the wrong length ends the run
with the reason. At the end of the window no new request is sent, and those in flight are read to
their end and checked like the others.

`python -m benchmarks.serving.client` reads a Job as JSON from stdin and writes a Load as JSON to
stdout.
"""

import gc
import json
import re
import resource
import select
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from itertools import cycle, pairwise

from greenlight.core.errors import GreenlightError

STALL_SECONDS = 60  # a server that sends nothing for so long is stuck
USAGE = re.compile(rb'"completion_tokens": ?(\d+)')


class LoadFailedError(GreenlightError):
    """A request was not answered whole."""


@dataclass(frozen=True)
class Job:
    """What to send.

    Attributes:
        bodies: JSON bodies, sent one after the other and again from the first.
        tokens: new tokens that each answer must have.
        stream: the answer is a stream of events; else it is one JSON object.
        done: the stream ends with `data: [DONE]`.
        warmup: seconds of load before the window.
        seconds: length of the window that is measured.
    """

    port: int
    path: str
    bodies: list[str]
    tokens: int
    stream: bool
    done: bool
    concurrency: int
    warmup: float
    seconds: float


@dataclass(frozen=True)
class Load:
    """What was seen. Milliseconds and microseconds; times per token are of the window.

    Attributes:
        tokens_per_second: tokens that arrived in the window. An event counts as the average tokens
            of an event: servers may put more than one in it.
        itl_p50, itl_p95: time between two arrivals of a stream, not divided by the tokens that came
            together. 0 without streams.
        total_tokens: of all requests, the warm-up and those that ended after the window included.
        client_us_per_event: CPU of this process for each event, all requests.
    """

    tokens_per_second: float
    requests: int
    total_tokens: int
    events_per_token: float
    ttft_p50: float
    itl_p50: float
    itl_p95: float
    client_us_per_event: float


@dataclass(slots=True)
class Exchange:
    """One request and its answer on one connection."""

    connection: socket.socket
    sent: float = 0.0
    received: bytearray = field(default_factory=bytearray)
    arrivals: list[tuple[float, int]] = field(default_factory=list)  # when, and how many events

    def send(self, request: bytes) -> None:
        self.received, self.arrivals = bytearray(), []
        self.sent = time.perf_counter()
        self.connection.sendall(request)


def drive(job: Job) -> Load:
    """Run the client in a process of its own. Raises LoadFailedError."""
    timeout = job.warmup + job.seconds + 4 * STALL_SECONDS
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if done.returncode:
        raise LoadFailedError(done.stderr.strip())
    return Load(**json.loads(done.stdout))


def main() -> int:
    job = Job(**json.load(sys.stdin))
    try:
        load = measure(job)
    except (LoadFailedError, OSError) as error:
        print(f"{job.path}, {job.concurrency} at a time: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(load)))
    return 0


def measure(job: Job) -> Load:
    requests = cycle([_request(job, body.encode()) for body in job.bodies])
    exchanges = {}
    with select.epoll() as poller:
        for _ in range(job.concurrency):
            exchange = Exchange(socket.create_connection(("127.0.0.1", job.port)))
            exchange.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            exchanges[exchange.connection.fileno()] = exchange
            poller.register(exchange.connection, select.EPOLLIN)
        gc.disable()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        start = time.perf_counter() + job.warmup
        end = start + job.seconds
        finished: list[tuple[float, float, list[tuple[float, int]]]] = []  # sent, ended, arrivals
        for exchange in exchanges.values():
            exchange.send(next(requests))
        while exchanges:
            ready = poller.poll(STALL_SECONDS)
            if not ready:
                raise LoadFailedError(
                    f"nothing came for {STALL_SECONDS} s, {len(exchanges)} requests are unanswered"
                )
            for number, _ in ready:
                exchange = exchanges[number]
                data = exchange.connection.recv(1 << 16)
                now = time.perf_counter()
                if not data:
                    raise LoadFailedError(f"the connection was closed {_quote(exchange.received)}")
                exchange.received += data
                if events := data.count(b"\n\n"):
                    exchange.arrivals.append((now, events))
                if not _whole(exchange.received, job.stream):
                    continue
                _check(exchange.received, job)
                finished.append((exchange.sent, now, exchange.arrivals))
                if now < end:
                    exchange.send(next(requests))
                else:
                    poller.unregister(number)
                    exchanges.pop(number).connection.close()
        spent = resource.getrusage(resource.RUSAGE_SELF)
    cpu = spent.ru_utime + spent.ru_stime - usage.ru_utime - usage.ru_stime
    return _load(job, finished, start, end, cpu)


def _request(job: Job, body: bytes) -> bytes:
    head = (
        f"POST {job.path} HTTP/1.1\r\nHost: 127.0.0.1:{job.port}\r\nContent-Type:"
        f" application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _whole(received: bytearray, stream: bool) -> bool:
    """Whether the answer has ended. Only the last chunk of a chunked answer ends like this: events
    end with an empty line.
    """
    if received.endswith(b"\r\n0\r\n\r\n"):
        return True
    if stream and received.startswith(b"HTTP/1.1 200"):
        return False
    head, found, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return bool(found and length) and len(body) >= int(length[1])  # type: ignore[index]


def _check(received: bytearray, job: Job) -> None:
    usage = USAGE.search(received, max(0, len(received) - 1000))
    if not received.startswith(b"HTTP/1.1 200"):
        raise LoadFailedError(f"the request was refused {_quote(received)}")
    if job.done and b"data: [DONE]\n\n" not in received[-100:]:
        raise LoadFailedError(f"a stream ended without [DONE] {_quote(received)}")
    if usage is None or int(usage[1]) != job.tokens:
        raise LoadFailedError(
            f"an answer should have {job.tokens} tokens and has"
            f" {int(usage[1]) if usage else 'an unknown number'} {_quote(received)}"
        )


def _quote(received: bytearray) -> str:
    return (
        f"(received {len(received)} bytes: {bytes(received[:300])!r} … {bytes(received[-300:])!r})"
    )


def _load(
    job: Job,
    finished: list[tuple[float, float, list[tuple[float, int]]]],
    start: float,
    end: float,
    cpu: float,
) -> Load:
    total = len(finished) * job.tokens
    events = sum(count for _, _, arrivals in finished for _, count in arrivals)
    if job.stream:
        seen = (
            sum(count for _, _, arrivals in finished for at, count in arrivals if start <= at < end)
            * total
            / events
        )
    else:  # an answer comes all at once: spread its tokens over the time that it took
        seen = sum(
            job.tokens * max(0.0, min(ended, end) - max(sent, start)) / (ended - sent)
            for sent, ended, _ in finished
        )
    firsts = [
        1e3 * (arrivals[0][0] - sent)
        for sent, _, arrivals in finished
        if arrivals and start <= sent < end
    ]
    gaps = [
        1e3 * (b[0] - a[0])
        for _, _, arrivals in finished
        for a, b in pairwise(arrivals)
        if start <= b[0] < end
    ]
    return Load(
        tokens_per_second=seen / job.seconds,
        requests=len(finished),
        total_tokens=total,
        events_per_token=events / total,
        ttft_p50=_quantile(firsts, 0.5),
        itl_p50=_quantile(gaps, 0.5),
        itl_p95=_quantile(gaps, 0.95),
        client_us_per_event=1e6 * cpu / (events or len(finished)),
    )


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))] if values else 0.0


if __name__ == "__main__":
    sys.exit(main())
