"""A constant, bounded load of streams on one URL, in a process of its own: `load.py URL USERS
TOKENS SECONDS OUTPUT`, ended by SIGTERM or after SECONDS.

Half of the users keep their connection alive, as long as the server lets them; half make one for
each request. Each request is a line of OUTPUT:
    sent, first, ended   times (seconds since the epoch) of the request, of the first byte of its
    answer, and of its last
    kept                 whether the user keeps connections alive; `turn` counts the requests on
                         this connection
    release              which release answered
    result               whole | cut (a stream that ended before its last token) | lost (no answer,
                         or another than 200)
"""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

ANSWER_SECONDS = 60.0
PAUSE = 0.05  # after a loss, so that a dead endpoint does not make millions


class User:
    def __init__(self, url: str, number: int, tokens: int, output: TextIO) -> None:
        parts = urlsplit(url)
        self.host, self.port, self.number, self.tokens, self.output = (
            parts.hostname or "",
            parts.port or 80,
            number,
            tokens,
            output,
        )
        self.keeps = number % 2 == 0
        body = json.dumps(
            {
                "prompt": f"Case {number}",
                "max_length": tokens,
                "stream": True,
                "ignore_eos": True,
                "temperature": 0,
            }
        ).encode()
        close = b"" if self.keeps else b"Connection: close\r\n"
        self.request = (
            b"POST /generate HTTP/1.1\r\nHost: load\r\n%bContent-Length: %d\r\n\r\n%b"
            % (close, len(body), body)
        )
        self.connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.turn = 0

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            row: dict[str, Any] = {
                "sent": time.time(),
                "user": self.number,
                "kept": self.keeps,
                "result": "lost",
                "release": "",
                "first": 0.0,
                "why": "",
            }
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._ask(row)
            except (
                OSError,
                asyncio.IncompleteReadError,
                asyncio.LimitOverrunError,
                TimeoutError,
                ValueError,
            ) as error:
                row["why"] = f"{type(error).__name__}: {error}"[:200]
                row["result"] = "cut" if row["first"] else "lost"
                self._leave()
            row["ended"], row["turn"] = time.time(), self.turn
            self.output.write(json.dumps(row) + "\n")
            if row["result"] != "whole":
                await asyncio.sleep(PAUSE)
        self._leave()

    async def _ask(self, row: dict[str, Any]) -> None:
        if self.connection is None:
            self.connection, self.turn = (
                await asyncio.open_connection(self.host, self.port, limit=1 << 20),
                0,
            )
        reader, writer = self.connection
        self.turn += 1
        row["sent"] = time.time()
        writer.write(self.request)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        except (asyncio.IncompleteReadError, ConnectionError):
            if self.turn == 1:
                raise
            # The server closed an idle kept-alive connection as the request was on its way: HTTP
            # clients send it again on a new one, and so does this one.
            self._leave()
            row["why"] = "sent again"
            return await self._ask(row)
        row["first"] = time.time()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        row["release"] = fields.get("x-release-id", "")
        body = await _body(reader, fields)
        status = head.split(" ", 2)[1]
        counted = sum(
            json.loads(line[6:]).get("tokens", 0)
            for line in body.splitlines()
            if line.startswith(b"data: {")
        )
        whole = body.endswith(b"data: [DONE]\n\n") and counted == self.tokens
        row["result"] = "lost" if status != "200" else "whole" if whole else "cut"
        if row["result"] != "whole":
            row["why"] = f"{status} {body[-150:].decode(errors='replace')}"
        if not self.keeps or fields.get("connection") == "close":
            self._leave()
        return None

    def _leave(self) -> None:
        if self.connection:
            self.connection[1].close()
        self.connection = None


async def _body(reader: asyncio.StreamReader, fields: dict[str, str]) -> bytes:
    if "content-length" in fields:
        return await reader.readexactly(int(fields["content-length"]))
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


async def main(url: str, users: int, tokens: int, seconds: float, output: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.call_later(seconds, stop.set)
    with open(output, "w", buffering=1) as file:
        await asyncio.gather(
            *(User(url, number, tokens, file).run(stop) for number in range(users))
        )


if __name__ == "__main__":
    asyncio.run(
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
    )
