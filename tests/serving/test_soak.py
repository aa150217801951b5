"""10,000 streams at concurrency 32, a tenth of which are left by their client at a random
moment.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.serving.server_process import Server, eventually

pytestmark = pytest.mark.slow

REQUESTS, CONCURRENCY, LEAVING = 10_000, 32, 0.1
WARM = REQUESTS // 5  # by then every cache and allocator has its size
GROWTH = 24e6  # bytes that a process may grow afterwards: allocators keep what peaks needed
LONGEST = 24


async def soak(port: int, first: int, last: int) -> Counter[str]:
    """Ask for the streams `first` to `last`; what became of them."""
    outcomes: Counter[str] = Counter()
    numbers = iter(range(first, last))

    async def user() -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for number in numbers:
            draw = random.Random(number)
            reader, writer = connection or await asyncio.open_connection("127.0.0.1", port)
            fields: dict[str, Any] = {
                "prompt": f"What is {number}?",
                "max_length": draw.randint(1, LONGEST),
                "stream": True,
                "ignore_eos": True,
                "temperature": number % 2,
            }
            body = json.dumps(fields).encode()
            writer.write(
                b"POST /generate HTTP/1.1\r\nHost: soak\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            if draw.random() < LEAVING:
                await reader.read(draw.randint(1, 400))
                writer.transport.abort()
                connection = None
                outcomes["left"] += 1
                continue
            answer = await reader.readuntil(b"0\r\n\r\n")
            whole = (
                answer.startswith(b"HTTP/1.1 200")
                and b"data: [DONE]" in answer
                and b'"completion_tokens":%d}' % fields["max_length"] in answer
            )
            outcomes["whole" if whole else answer[:200].decode(errors="replace")] += 1
            connection = reader, writer
        if connection:
            connection[1].close()

    async with asyncio.timeout(400):
        await asyncio.gather(*(user() for _ in range(CONCURRENCY)))
    return outcomes


@pytest.mark.alone  # an engine's memory grows with the requests that a busy machine leaves waiting
def test_nothing_leaks(start: Callable[..., Server]) -> None:
    server = start(max_running=CONCURRENCY, max_queue=CONCURRENCY)

    def memory() -> list[float]:
        return [
            server.metric(name)
            for name in ("process_resident_memory_bytes", "greenlight_engine_resident_memory_bytes")
        ]

    outcomes = asyncio.run(soak(server.port, 0, WARM))
    before = memory()
    outcomes += asyncio.run(soak(server.port, WARM, REQUESTS))
    assert (
        outcomes["whole"] + outcomes["left"] == REQUESTS and outcomes["left"] > 0.05 * REQUESTS
    ), outcomes
    assert eventually(
        lambda: (
            server.metric("greenlight_running_requests")
            + server.metric("greenlight_queued_requests")
            == 0
        )
    )
    assert not any(
        server.metric("greenlight_errors_total", kind=kind)
        for kind in ("engine_error", "server_error", "rate_limit_error")
    )
    grown = [after - earlier for after, earlier in zip(memory(), before, strict=True)]
    assert max(grown) < GROWTH, (
        f"the HTTP process grew by {grown[0] / 1e6:.1f} MB, the engine's by {grown[1] / 1e6:.1f} MB"
    )
    print(f"{dict(outcomes)}; memory grew by {grown[0] / 1e6:.1f} and {grown[1] / 1e6:.1f} MB")
    assert server.get("/ready").status == 200
