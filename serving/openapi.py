"""What the OpenAPI document says of the routes that generate text. Their bodies are parsed by hand,
in one pass from bytes to a validated request, so that FastAPI does not know them.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from greenlight.serving.http_schemas import ErrorResponse, GenerateRequest
from greenlight.serving.openai import ChatRequest, CompletionRequest


def describe_text_route(
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


def describe_bodies(app: FastAPI) -> None:
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
