"""The routes of the server."""

import os
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from greenlight.serving.admission import Admission
from greenlight.serving.http_schemas import (
    ApiError,
    BrowserEvents,
    Events,
    GenerateEvents,
    GenerateRequest,
    GenerateResponse,
    TextRequest,
    VersionResponse,
    parse,
)
from greenlight.serving.logs import log
from greenlight.serving.openai import ChatEvents, ChatRequest, CompletionEvents, CompletionRequest
from greenlight.serving.openapi import describe_bodies, describe_text_route
from greenlight.serving.text_response import TextResponse, read_body


def create_app(admission: Admission) -> FastAPI:
    """The routes of one admission."""
    app = FastAPI(
        title="Greenlight inference server",
        description="Serves one release of a language model.",
        version=admission.settings.release_id or "0",
    )
    describe_bodies(app)
    if admission.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=admission.settings.cors_origins.split(","),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
        )

    def authorize(request: Request) -> None:
        # An API server that passes a request on to a pod takes `Authorization` for itself.
        admission.check_key(
            request.headers.get("authorization") or request.headers.get("x-api-key", "")
        )

    async def body_of(request: Request) -> bytes:
        authorize(request)
        return await read_body(request, admission.settings.max_body_bytes)

    async def answer(wanted: TextRequest, events: Events, request: Request) -> Response:
        return TextResponse(
            admission, await admission.admit(wanted), events, wanted.stream, request.url.path
        )

    @app.post("/generate", **describe_text_route(GenerateRequest, GenerateResponse))
    async def generate(request: Request) -> Response:
        """Continue a prompt. With `stream`, events `{"text", "tokens"}`, the last with
        `finish_reason` and `usage`, then `[DONE]`.
        """
        content = parse(GenerateRequest, await body_of(request))
        return await answer(
            content.text_request(admission.settings.streaming_mode),
            GenerateEvents(admission.settings.release_id),
            request,
        )

    @app.get("/generate", **describe_text_route(GenerateRequest, query=True))
    async def generate_events(request: Request) -> Response:
        """The same for a browser's EventSource: the fields are in the query, and it streams. It
        connects again at the end, and is answered 204.
        """
        await body_of(request)  # empty; the next message is that the client leaves
        if "last-event-id" in request.headers:
            return Response(status_code=204)
        content = parse(GenerateRequest, dict(request.query_params))
        return await answer(
            content.text_request(True), BrowserEvents(admission.settings.release_id), request
        )

    @app.post("/v1/completions", **describe_text_route(CompletionRequest))
    async def completions(request: Request) -> Response:
        """OpenAI's completions."""
        content = parse(CompletionRequest, await body_of(request))
        return await answer(
            content.completion_request(),
            CompletionEvents(admission.model, content.include_usage),
            request,
        )

    @app.post("/v1/chat/completions", **describe_text_route(ChatRequest))
    async def chat(request: Request) -> Response:
        """OpenAI's chat, through the model's own chat template."""
        content = parse(ChatRequest, await body_of(request))
        prompt = admission.chat_prompt([message.plain for message in content.messages])
        return await answer(
            content.chat_request(prompt),
            ChatEvents(admission.model, content.include_usage),
            request,
        )

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        """The one model that is served."""
        authorize(request)
        model = {
            "id": admission.model,
            "object": "model",
            "created": int(admission.started),
            "owned_by": "greenlight",
            "max_model_len": admission.artifact.context,
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
        reason = admission.unready()
        return PlainTextResponse(reason or "ready", 503 if reason else 200)

    @app.get("/version")
    async def version() -> VersionResponse:
        """What is served here."""
        return VersionResponse(
            release_id=admission.settings.release_id,
            model_digest=admission.artifact.digest or admission.settings.model_digest,
            engine=admission.engine_name,
            precision=admission.settings.precision,
            model_id=admission.model,
            pid=os.getpid(),
            started=admission.started,
        )

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus."""
        return Response(
            admission.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        admission.metrics.ended(request.url.path, error.status)
        admission.metrics.failed(error.kind)
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
