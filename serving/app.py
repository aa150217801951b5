"""The HTTP side: routes, and how a text is written to a client."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from greenlight.serving.admission import Service
from greenlight.serving.api import (
    ApiError,
    BrowserEvents,
    ErrorResponse,
    Events,
    GenerateEvents,
    GenerateRequest,
    GenerateResponse,
    Order,
    VersionResponse,
    parse,
)
from greenlight.serving.generation import AbandonedError, Generation
from greenlight.serving.logs import log
from greenlight.serving.openai import ChatEvents, ChatRequest, CompletionEvents, CompletionRequest

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
        self, service: Service, generation: Generation, events: Events, stream: bool, route: str
    ) -> None:
        self.service, self.generation, self.events, self.stream, self.route = (
            service,
            generation,
            events,
            stream,
            route,
        )
        self.background = None  # Starlette looks for it

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        generation, service = self.generation, self.service
        # ends when the client does, or with the response
        leaving = asyncio.ensure_future(receive())  # type: ignore[arg-type]
        leaving.add_done_callback(lambda _: generation.abandon())
        service.generations.add(generation)
        expiry = asyncio.get_running_loop().call_later(
            service.settings.request_timeout, generation.expire, service.settings.request_timeout
        )
        status = 200
        try:
            await (self._events(send) if self.stream else self._whole(send))
        except AbandonedError:
            status = 499  # nginx's number for a client that closed the request
            service.metrics.failed("client_gone")
        except ApiError as error:  # before the first byte
            status = error.status
            service.metrics.failed(error.kind)
            headers = [
                (name.lower().encode(), value.encode()) for name, value in error.headers.items()
            ]
            await self._respond(send, error.status, error.body, headers)
        finally:
            service.generations.discard(generation)
            expiry.cancel()
            leaving.cancel()
            service.metrics.ended(self.route, status)
            if log.isEnabledFor(10):
                fields = {
                    "route": self.route,
                    "status": status,
                    "prompt_tokens": generation.prompt_tokens,
                    "tokens": generation.text.tokens,
                }
                log.debug(
                    "request", extra={"fields": fields | {"seconds": round(generation.seconds, 4)}}
                )

    async def _whole(self, send: Send) -> None:
        generation = self.generation
        text, finish = await generation.whole()
        await self._respond(
            send,
            200,
            self.events.whole(text, finish, generation.prompt_tokens, generation.text.tokens),
            [],
        )

    async def _events(self, send: Send) -> None:
        generation, events = self.generation, self.events
        begun = False
        try:
            async with contextlib.aclosing(generation.pieces()) as pieces:
                async for chunk in pieces:
                    # only now, so that a request that fails before its first token gets a status
                    # that says so
                    if not begun:
                        begun = True
                        await send(
                            {
                                "type": "http.response.start",
                                "status": 200,
                                "headers": [*EVENT_HEADERS, self.service.release_header],
                            }
                        )
                    data = events.piece(chunk)
                    if chunk.finish_reason:
                        data += events.last(
                            chunk.finish_reason, generation.prompt_tokens, generation.text.tokens
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
            self.service.metrics.failed(error.kind)
            await send(
                {"type": "http.response.body", "body": events.error(error), "more_body": False}
            )

    async def _respond(self, send: Send, status: int, body: bytes, headers: Headers) -> None:
        length = (b"content-length", str(len(body)).encode())
        headers = [
            (b"content-type", b"application/json"),
            length,
            self.service.release_header,
            *headers,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


class ClosesConnections:
    """The outermost layer: adds `Connection: close` to every response while the service wants its
    clients to leave.
    """

    def __init__(self, app: FastAPI, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self.service.closing:
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


def create_app(service: Service) -> FastAPI:
    """The routes of one service."""
    app = FastAPI(
        title="Greenlight inference server",
        description="Serves one release of a language model.",
        version=service.settings.release_id or "0",
    )
    _describe_bodies(app)
    if service.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.cors_origins.split(","),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
        )

    def authorize(request: Request) -> None:
        # An API server that passes a request on to a pod takes `Authorization` for itself.
        service.check_key(
            request.headers.get("authorization") or request.headers.get("x-api-key", "")
        )

    async def body_of(request: Request) -> bytes:
        authorize(request)
        return await read_body(request, service.settings.max_body_bytes)

    async def answer(order: Order, events: Events, request: Request) -> Response:
        return TextResponse(
            service, await service.admit(order), events, order.stream, request.url.path
        )

    @app.post("/generate", **_texts(GenerateRequest, GenerateResponse))
    async def generate(request: Request) -> Response:
        """Continue a prompt. With `stream`, events `{"text", "tokens"}`, the last with
        `finish_reason` and `usage`, then `[DONE]`.
        """
        content = parse(GenerateRequest, await body_of(request))
        return await answer(
            content.order(service.settings.streaming_mode),
            GenerateEvents(service.settings.release_id),
            request,
        )

    @app.get("/generate", **_texts(GenerateRequest, query=True))
    async def generate_events(request: Request) -> Response:
        """The same for a browser's EventSource: the fields are in the query, and it streams. It
        connects again at the end, and is answered 204.
        """
        await body_of(request)  # empty; the next message is that the client leaves
        if "last-event-id" in request.headers:
            return Response(status_code=204)
        content = parse(GenerateRequest, dict(request.query_params))
        return await answer(
            content.order(True), BrowserEvents(service.settings.release_id), request
        )

    @app.post("/v1/completions", **_texts(CompletionRequest))
    async def completions(request: Request) -> Response:
        """OpenAI's completions."""
        content = parse(CompletionRequest, await body_of(request))
        return await answer(
            content.completion_order(),
            CompletionEvents(service.model, content.include_usage),
            request,
        )

    @app.post("/v1/chat/completions", **_texts(ChatRequest))
    async def chat(request: Request) -> Response:
        """OpenAI's chat, through the model's own chat template."""
        content = parse(ChatRequest, await body_of(request))
        prompt = service.chat_prompt([message.plain for message in content.messages])
        return await answer(
            content.chat_order(prompt), ChatEvents(service.model, content.include_usage), request
        )

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        """The one model that is served."""
        authorize(request)
        model = {
            "id": service.model,
            "object": "model",
            "created": int(service.started),
            "owned_by": "greenlight",
            "max_model_len": service.artifact.context,
        }
        return {"object": "list", "data": [model]}

    @app.get("/health", response_class=PlainTextResponse)
    async def health() -> str:
        """The process is alive."""
        return "ok"

    @app.get(
        "/ready",
        response_class=PlainTextResponse,
        responses={503: {"description": "Not ready; the body says why."}},
    )
    async def ready() -> Response:
        """The model is loaded, the engine answers, and the server is not draining."""
        reason = service.unready()
        return PlainTextResponse(reason or "ready", 503 if reason else 200)

    @app.get("/version")
    async def version() -> VersionResponse:
        """What is served here."""
        return VersionResponse(
            release_id=service.settings.release_id,
            model_digest=service.artifact.digest or service.settings.model_digest,
            engine=service.engine_name,
            precision=service.settings.precision,
            model_id=service.model,
            pid=os.getpid(),
            started=service.started,
        )

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus."""
        return Response(
            service.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        service.metrics.ended(request.url.path, error.status)
        service.metrics.failed(error.kind)
        return Response(error.body, error.status, error.headers, "application/json")

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return Response(
            ApiError(error.status_code, str(error.detail), code="not_found").body,
            error.status_code,
            error.headers,
            "application/json",
        )

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> Response:
        return Response(
            ApiError(400, "The request is not valid.").body, 400, media_type="application/json"
        )

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("unexpected_error", exc_info=error, extra={"fields": {"path": request.url.path}})
        return Response(
            ApiError(500, "The server failed on this request.", "server_error").body,
            500,
            media_type="application/json",
        )

    return app


def _texts(
    request: type[BaseModel], answer: type[BaseModel] | None = None, query: bool = False
) -> dict[str, Any]:
    """How a route that generates text is documented. Its request is parsed by hand, in one pass
    from bytes to a validated request.
    """
    if query:
        schema = request.model_json_schema()
        properties = schema["properties"].items()
        extra: dict[str, Any] = {
            "parameters": [
                {
                    "name": name,
                    "in": "query",
                    "required": name in schema["required"],
                    "schema": field,
                }
                for name, field in properties
            ]
        }
    else:
        extra = {
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {"$ref": f"#/components/schemas/{request.__name__}"}
                    }
                },
            }
        }
    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorResponse} for status in (400, 401, 408, 413, 429, 500, 503)
    }
    good: dict[str, Any] = {"content": {"text/event-stream": {"schema": {"type": "string"}}}} | (
        {"model": answer} if answer else {}
    )
    return {
        "responses": {200: good, **problems},
        "openapi_extra": extra,
        "response_class": Response,
    }


def _describe_bodies(app: FastAPI) -> None:
    """Add the schemas of the bodies that are parsed by hand to the OpenAPI document."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        document = original()
        models = [
            (model, "validation") for model in (GenerateRequest, CompletionRequest, ChatRequest)
        ]
        _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
        document["components"]["schemas"] |= schemas["$defs"]
        return document

    app.openapi = openapi  # type: ignore[method-assign]
