"""How a generated text is written to a client, and how a request's body is read from one."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from greenlight.serving.admission import Admission
from greenlight.serving.http_schemas import ApiError, Events
from greenlight.serving.logs import log
from greenlight.serving.running_request import AbandonedError, RunningRequest

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

EVENT_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
BODY_SECONDS = 30  # a body that takes longer to arrive is answered 408


class TextResponse(Response):
    """Writes a generated text straight to the ASGI server, as events or whole, and frees its place
    when the client leaves.
    """

    def __init__(
        self,
        admission: Admission,
        request: RunningRequest,
        events: Events,
        stream: bool,
        route: str,
    ) -> None:
        self.admission, self.request, self.events, self.stream, self.route = (
            admission,
            request,
            events,
            stream,
            route,
        )
        self.background = None  # Starlette looks for it

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        request, admission = self.request, self.admission
        # ends when the client does, or with the response
        leaving = asyncio.ensure_future(receive())
        leaving.add_done_callback(lambda _: request.abandon())
        admission.running.add(request)
        expiry = asyncio.get_running_loop().call_later(
            admission.settings.request_timeout, request.expire, admission.settings.request_timeout
        )
        status = 200
        try:
            await (self._events(send) if self.stream else self._whole(send))
        except AbandonedError:
            status = 499  # nginx's number for a client that closed the request
            admission.metrics.failed("client_gone")
        except ApiError as error:  # before the first byte
            status = error.status
            admission.metrics.failed(error.kind)
            headers = [
                (name.lower().encode(), value.encode()) for name, value in error.headers.items()
            ]
            await self._respond(send, error.status, error.body, headers)
        finally:
            admission.running.discard(request)
            expiry.cancel()
            leaving.cancel()
            admission.metrics.ended(self.route, status)
            if log.isEnabledFor(10):
                fields = {
                    "route": self.route,
                    "status": status,
                    "prompt_tokens": request.prompt_tokens,
                    "tokens": request.text.tokens,
                }
                log.debug(
                    "request", extra={"fields": fields | {"seconds": round(request.seconds, 4)}}
                )

    async def _whole(self, send: Send) -> None:
        request = self.request
        text, finish = await request.whole()
        await self._respond(
            send,
            200,
            self.events.whole(text, finish, request.prompt_tokens, request.text.tokens),
            [],
        )

    async def _events(self, send: Send) -> None:
        request, events = self.request, self.events
        begun = False
        try:
            async with contextlib.aclosing(request.pieces()) as pieces:
                async for chunk in pieces:
                    # only now, so that a request that fails before its first token gets a status
                    # that says so
                    if not begun:
                        begun = True
                        await send(
                            {
                                "type": "http.response.start",
                                "status": 200,
                                "headers": [*EVENT_HEADERS, self.admission.release_header],
                            }
                        )
                    data = events.piece(chunk)
                    if chunk.finish_reason:
                        data += events.last(
                            chunk.finish_reason, request.prompt_tokens, request.text.tokens
                        )
                    if data:
                        await send(
                            {
                                "type": "http.response.body",
                                "body": data,
                                "more_body": not chunk.finish_reason,
                            }
                        )
        except ApiError as error:
            if not begun:
                raise
            self.admission.metrics.failed(error.kind)
            await send(
                {"type": "http.response.body", "body": events.error(error), "more_body": False}
            )

    async def _respond(self, send: Send, status: int, body: bytes, headers: Headers) -> None:
        length = (b"content-length", str(len(body)).encode())
        headers = [
            (b"content-type", b"application/json"),
            length,
            self.admission.release_header,
            *headers,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


class ClosesConnections:
    """The outermost layer: adds `Connection: close` to every response while clients should connect
    anew (`Admission.closing`).
    """

    def __init__(self, app: FastAPI, admission: Admission) -> None:
        self.app, self.admission = app, admission

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self.admission.closing:
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        # A stream lives long: the drain may begin between the request and its first byte.
        await self.app(scope, receive, closing if scope["type"] == "http" else send)


async def read_body(request: Request, limit: int) -> bytes:
    """The body of a request. Raises ApiError when it is longer than `limit` bytes or takes too
    long.
    """
    too_long = ApiError(413, f"The body is longer than {limit} bytes.", code="body_too_long")
    if int(request.headers.get("content-length") or 0) > limit:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise too_long
    except TimeoutError:
        raise ApiError(
            408, f"The body did not arrive within {BODY_SECONDS} s.", code="body_timeout"
        ) from None
    return bytes(body)
