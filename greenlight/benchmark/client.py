"""A streaming client for POST /generate, and for chats OpenAI's route, that costs little and stamps
every event when it arrives.

Built on http.client, whose `read1` hands over one chunk of the body as soon as it is there.
(Locust's FastHttpUser waits for blocks of 1,024 bytes, requests' `iter_lines` costs several times
as much.) Parsing waits until the stream has ended, so that it delays no stamp. Under gevent, which
Locust switches on, many clients run in one process.
"""

import http.client
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from greenlight.benchmark.prompts import Prompt

HEADERS = {"Content-Type": "application/json", "Accept": "text/event-stream"}
if _key := os.environ.get("GREENLIGHT_API_KEY"):  # of servers that want one
    HEADERS["X-API-Key"] = _key
CHUNK = 65536
DETAIL = 200  # characters kept of an error
# a machine that is there accepts at once; one that is gone, such as a pod that was deleted, never
# says so
CONNECT_SECONDS = 5.0


@dataclass(slots=True)
class Reply:
    """One answered or failed request. Times are seconds on the clock of `time.perf_counter`.

    Attributes:
        sent: just before the first byte was written. A new connection is made before that.
        status: HTTP status, 0 when there was none.
        error: kind of the failure, empty for success: connect, timeout, broken, http, protocol,
            server, cut, tokens.
        stamps: arrival of each output token. Tokens of one event, and events of one chunk, arrive
            together. OpenAI's events do not say how many tokens
            they hold: each counts as one, and what the usage says beyond that as arrived with the
            last, so that means and totals are right.
        ended: the last byte, or the failure.
    """

    sent: float
    status: int = 0
    error: str = ""
    detail: str = ""
    stamps: list[float] = field(default_factory=list)
    ended: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    release: str = ""


class Client:
    """One user's connection to one endpoint. It is kept alive between requests."""

    def __init__(self, endpoint: str, timeout: float) -> None:
        parts = urlsplit(endpoint)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self.connection = kind(parts.hostname or "", parts.port, timeout=timeout)
        self.root = parts.path.rstrip("/")
        self.timeout = timeout

    def generate(self, prompt: Prompt, max_tokens: int, seed: int) -> Reply:
        """Stream an answer of exactly `max_tokens` tokens. Never raises for what the server or the
        network does.
        """
        path, body = self._request(prompt, max_tokens, seed)
        reply = Reply(sent=perf_counter())
        chunks: list[tuple[float, bytes]] = []
        connected = False
        try:
            self._connect()
            connected, reply.sent = True, perf_counter()
            self._exchange(path, body, reply, chunks)
        except (OSError, http.client.HTTPException) as error:
            reply.ended = perf_counter()
            reply.error = (
                "connect"
                if not connected
                else "timeout"
                if isinstance(error, TimeoutError)
                else "broken"
            )
            reply.detail = f"{type(error).__name__}: {error}"[:DETAIL]
            self.connection.close()
        if reply.status == 200:
            _read_events(chunks, reply, max_tokens)
        elif reply.status and not reply.error:
            reply.error, reply.detail = (
                "http",
                b"".join(data for _, data in chunks)[:DETAIL].decode(errors="replace"),
            )
        return reply

    def close(self) -> None:
        self.connection.close()

    def _request(self, prompt: Prompt, max_tokens: int, seed: int) -> tuple[str, bytes]:
        order = {"temperature": 0, "seed": seed, "stream": True, "ignore_eos": True}
        if isinstance(prompt, str):
            return (
                self.root + "/generate",
                json.dumps(order | {"prompt": prompt, "max_length": max_tokens}).encode(),
            )
        chat = {
            "messages": prompt,
            "max_tokens": max_tokens,
            "stream_options": {"include_usage": True},
        }
        return self.root + "/v1/chat/completions", json.dumps(order | chat).encode()

    def _connect(self) -> None:
        """Connect, unless a connection is open that the server has not closed meanwhile."""
        sock = self.connection.sock
        if sock is not None:
            sock.settimeout(0)
            try:
                sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:  # nothing to read: open and silent, as it should be
                sock.settimeout(self.timeout)
                return
            except OSError:
                pass
            self.connection.close()
        self.connection.timeout = min(CONNECT_SECONDS, self.timeout)
        self.connection.connect()
        self.connection.sock.settimeout(self.timeout)

    def _exchange(
        self, path: str, body: bytes, reply: Reply, chunks: list[tuple[float, bytes]]
    ) -> None:
        deadline = reply.sent + self.timeout
        sock = self.connection.sock  # http.client forgets it when the server says Connection: close
        self.connection.request("POST", path, body, HEADERS)
        response = self.connection.getresponse()
        reply.status = response.status
        reply.release = response.getheader("X-Release-Id", "")
        while True:
            left = deadline - perf_counter()
            if left <= 0:
                raise TimeoutError(f"no end within {self.timeout:g} s")
            sock.settimeout(left)
            data = response.read1(CHUNK)
            now = perf_counter()
            if not data:
                break
            chunks.append((now, data))
        # http.client does so by itself only for chunked bodies; the connection stays open
        response.close()
        reply.ended = chunks[-1][0] if chunks else now


def _split_events(chunks: list[tuple[float, bytes]]) -> Iterator[tuple[float, str]]:
    """The data of each server-sent event, with the time at which it was whole."""
    rest = b""
    for stamp, data in chunks:
        rest = (rest + data).replace(b"\r\n", b"\n")
        while (end := rest.find(b"\n\n")) >= 0:
            lines, rest = rest[:end], rest[end + 2 :]
            yield (
                stamp,
                "\n".join(
                    line[5:].strip().decode()
                    for line in lines.split(b"\n")
                    if line.startswith(b"data:")
                ),
            )


def _read_events(chunks: list[tuple[float, bytes]], reply: Reply, max_tokens: int) -> None:
    """Fill in tokens and stamps. A stream is whole when it has usage, a finish reason and [DONE],
    and the counts agree.
    """
    usage: dict[str, Any] = {}
    finish, done, error, detail = "", False, "", ""
    try:
        for stamp, data in _split_events(chunks):
            if data == "[DONE]":
                done = True
            elif data:
                event = json.loads(data)
                choice = event["choices"][0] if event.get("choices") else event
                reply.stamps += [stamp] * (
                    bool(choice["delta"].get("content"))
                    if "delta" in choice
                    else int(event.get("tokens", 0))
                )
                usage, finish = event.get("usage") or usage, choice.get("finish_reason") or finish
                if "choices" in event and event.get("usage"):
                    reply.stamps += [reply.stamps[-1] if reply.stamps else stamp] * (
                        int(usage["completion_tokens"]) - len(reply.stamps)
                    )
                if event.get("error"):
                    error, detail = "server", str(event["error"])
        reply.tokens_in, reply.tokens_out = (
            int(usage.get("prompt_tokens", 0)),
            int(usage.get("completion_tokens", len(reply.stamps))),
        )
    except (ValueError, TypeError, LookupError, AttributeError) as problem:
        error, detail = "protocol", f"{type(problem).__name__}: {problem}"
    if not error and not (done and usage and finish):
        error, detail = (
            "cut",
            (
                f"the stream ended after {len(reply.stamps)} tokens without usage, finish reason or"
                " [DONE]"
            ),
        )
    elif not error and not reply.tokens_out == len(reply.stamps) == max_tokens:
        error, detail = (
            "tokens",
            (
                f"asked for {max_tokens} tokens, got {len(reply.stamps)}, and usage says"
                f" {reply.tokens_out} ({finish})"
            ),
        )
    if error and not reply.error:  # what broke the stream comes first
        reply.error, reply.detail = error, detail[:DETAIL]
