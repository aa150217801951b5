"""A streamed answer of a server, with its times."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import httpx

from greenlight.core.errors import GreenlightError
from greenlight.core.http import client

TIMEOUT = httpx.Timeout(120, connect=5)


@dataclass
class Times:
    """Times of one answer, in seconds since the request was sent, and its tokens as the server
    counted them, 0 where it does not.
    """

    ttft: float | None = None
    seconds: float = 0.0
    tokens: int = 0

    @property
    def tokens_per_second(self) -> float | None:
        """The rate after the first token, as a reader sees it."""
        if self.ttft is None or self.tokens < 2 or self.seconds <= self.ttft:
            return None
        return (self.tokens - 1) / (self.seconds - self.ttft)


def answer(
    url: str, messages: list[dict[str, str]], max_tokens: int, times: Times
) -> Iterator[str]:
    """The pieces of the answer as they arrive; `times` is filled meanwhile.

    Raises:
        GreenlightError: the server cannot be reached, refuses, or ends the stream early. The
            message has the URL and what the server answered.
    """
    body = {
        "model": "",
        "messages": messages,
        "max_completion_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
    }
    connection, key = _client(), os.environ.get("GREENLIGHT_API_KEY", "")
    began = time.perf_counter()
    try:
        with connection.stream(
            "POST",
            f"{url}/v1/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {key}"} if key else {},
        ) as reply:
            if reply.status_code != httpx.codes.OK:
                raise GreenlightError(
                    f"{url} answered {reply.status_code}: {_message(reply.read())}"
                )
            for line in reply.iter_lines():
                event = line.removeprefix("data: ")
                if not line.startswith("data: ") or event == "[DONE]":
                    continue
                content = json.loads(event)
                times.seconds = time.perf_counter() - began
                if content.get("error"):
                    raise GreenlightError(
                        f"{url} broke off: {content['error'].get('message', content['error'])}"
                    )
                if usage := content.get("usage"):
                    times.tokens = usage["completion_tokens"]
                if text := "".join(
                    choice["delta"].get("content") or "" for choice in content["choices"]
                ):
                    times.ttft = times.ttft if times.ttft is not None else times.seconds
                    yield text
    except httpx.HTTPError as error:
        raise GreenlightError(
            f"{url} cannot be reached or broke off ({type(error).__name__}). Is it up? `greenlight"
            " status` says."
        ) from None


@cache
def _client() -> httpx.Client:
    """One client for all answers. Making one takes a third of a second, which would count as time
    to first token.
    """
    return client(timeout=TIMEOUT)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:200]
