"""An inference server with known timing, for tests: run as a process of its own, prints its port.

Tokens are sent at planned times; when they really left is written to `--log`, a JSON line a
request, on the clock of `time.perf_counter` (CLOCK_MONOTONIC, the same in all processes), so that a
test knows the truth to a few microseconds.
"""

import argparse
import asyncio
import itertools
import json
import os
import signal
import time
from time import perf_counter


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ttft", type=float, default=0.005, help="Seconds before the first token.")
    parser.add_argument(
        "--itl", type=float, default=0.002, help="Seconds between tokens. 0: as fast as possible."
    )
    parser.add_argument("--release", default="rel")
    parser.add_argument("--digest", default="sha")
    parser.add_argument("--log", default="")
    parser.add_argument(
        "--fail-every", type=int, default=0, help="Every n-th request is answered 500."
    )
    parser.add_argument(
        "--cut-every", type=int, default=0, help="Every n-th stream breaks off in the middle."
    )
    parser.add_argument("--short", action="store_true", help="Streams end one token early.")
    parser.add_argument(
        "--die-after",
        type=int,
        default=0,
        help="The process kills itself in the middle of the n-th request.",
    )
    parser.add_argument(
        "--slots",
        type=int,
        default=10_000,
        help="Requests that are worked on at the same time; others wait.",
    )
    parser.add_argument(
        "--stall-at",
        type=int,
        default=0,
        help="The whole server stands still at the n-th request, for --stall seconds.",
    )
    parser.add_argument("--stall", type=float, default=0.5)
    parser.add_argument("--group", type=int, default=1, help="Tokens an event.")
    return parser.parse_args()


def response(body: bytes, status: str = "200 OK") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length:"
        f" {len(body)}\r\n\r\n".encode()
        + body
    )


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(text: str, tokens: int, chat: bool) -> dict:
    """A chat's events do not say how many tokens they hold."""
    return (
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        if chat
        else {"text": text, "tokens": tokens}
    )


class Server:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.numbers = itertools.count(1)
        self.slots = asyncio.Semaphore(options.slots)
        self.log = open(options.log, "a") if options.log else None  # noqa: SIM115

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-length")
                    ),
                    0,
                )
                body = await reader.readexactly(length)
                if head.startswith(b"GET /version"):
                    writer.write(
                        response(
                            json.dumps(
                                {
                                    "release_id": self.options.release,
                                    "model_digest": self.options.digest,
                                    "pid": os.getpid(),
                                }
                            ).encode()
                        )
                    )
                elif head.startswith((b"GET /v1/models", b"GET /health")):
                    writer.write(
                        response(b'{"object":"list","data":[{"id":"stub","object":"model"}]}')
                    )
                elif not await self.generate(
                    json.loads(body),
                    perf_counter(),
                    head.startswith(b"POST /v1/chat/completions"),
                    writer,
                ):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async def generate(
        self, request: dict, arrived: float, chat: bool, writer: asyncio.StreamWriter
    ) -> bool:
        async with self.slots:
            return await self.answer(request, arrived, perf_counter(), chat, writer)

    async def answer(
        self, request: dict, arrived: float, begun: float, chat: bool, writer: asyncio.StreamWriter
    ) -> bool:
        options, number = self.options, next(self.numbers)
        if number == options.stall_at:
            time.sleep(options.stall)
            begun = perf_counter()
        if options.fail_every and number % options.fail_every == 0:
            writer.write(response(b'{"error":"asked to fail"}', "500 Internal Server Error"))
            return True
        count = (
            request.get("max_tokens") or request["max_completion_tokens"]
            if chat
            else request["max_length"]
        ) - options.short
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding:"
            b" chunked\r\nX-Release-Id: %s\r\n\r\n" % options.release.encode()
        )
        left = []
        for index in range(0, count, options.group):
            due = begun + options.ttft + index * options.itl
            while options.itl and (wait := due - perf_counter()) > 0:
                await asyncio.sleep(wait)
            if writer.is_closing():  # the client has gone
                return False
            tokens = min(options.group, count - index)
            writer.write(
                chunk(b"data: " + json.dumps(event("a" * tokens, tokens, chat)).encode() + b"\n\n")
            )
            left += [perf_counter()] * tokens
            if index * 2 >= count and options.die_after == number:
                os.kill(os.getpid(), signal.SIGKILL)
            if index * 2 >= count and options.cut_every and number % options.cut_every == 0:
                return False
            if not options.itl:
                await writer.drain()
        usage = {"prompt_tokens": 3, "completion_tokens": count}
        last = {"text": "", "tokens": 0, "finish_reason": "length", "usage": usage}
        if chat:
            writer.write(
                chunk(
                    b"data: "
                    + json.dumps(
                        event("", 0, chat) | {"choices": [{"delta": {}, "finish_reason": "length"}]}
                    ).encode()
                    + b"\n\n"
                )
            )
            last = {"choices": [], "usage": usage}
        writer.write(
            chunk(b"data: " + json.dumps(last).encode() + b"\n\n")
            + chunk(b"data: [DONE]\n\n")
            + b"0\r\n\r\n"
        )
        if self.log:
            self.log.write(
                json.dumps(
                    {
                        "arrived": arrived,
                        "left": left,
                        "prompt": request.get("prompt", ""),
                        "messages": request.get("messages"),
                    }
                )
                + "\n"
            )
            self.log.flush()
        return True


async def main() -> None:
    server = await asyncio.start_server(Server(parse()).serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
