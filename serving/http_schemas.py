"""Schemas of requests, answers, events, and errors in OpenAI's shape."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Protocol, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

DONE = b"data: [DONE]\n\n"

StopString = Annotated[str, Field(min_length=1, max_length=256)]
Stops = StopString | Annotated[list[StopString], Field(max_length=16)]


@dataclass(frozen=True, slots=True)
class TextRequest:
    """One text to generate, whichever API asked for it. None stands for the server's default.

    Attributes:
        prompt: a text, or token ids.
        special: whether the tokenizer adds the tokens that the model wants around a text.
        length_field: what the API calls `max_new_tokens`, for error messages.
    """

    prompt: str | list[int]
    max_new_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    seed: int | None
    stops: tuple[str, ...]
    ignore_eos: bool
    stream: bool
    special: bool = True
    length_field: str = "max_length"


class GenerateRequest(BaseModel):
    """Body of POST /generate. Null is the same as leaving a field out."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    prompt: str = Field(min_length=1)
    max_length: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Maximum number of new tokens. DEFAULT_MAX_LENGTH when left out.",
    )
    temperature: float | None = Field(
        None, ge=0, le=2, description="0 is greedy. DEFAULT_TEMPERATURE when left out."
    )
    stream: bool | None = Field(
        None, description="Answer with Server-Sent Events. STREAMING_MODE when left out."
    )
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=1_000_000, description="0 is off.")
    seed: int | None = Field(
        None, ge=0, lt=2**63, description="Seed of the sampling. Random when left out."
    )
    stop: Stops | None = Field(None, description="The text ends before the first of these strings.")
    ignore_eos: bool | None = Field(
        False,
        description=(
            "Go on after the model's end token, so that a benchmark's texts are equally long."
        ),
    )

    def text_request(self, streaming_mode: bool) -> TextRequest:
        return TextRequest(
            prompt=self.prompt,
            max_new_tokens=self.max_length,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            seed=self.seed,
            stops=stop_strings(self.stop),
            ignore_eos=bool(self.ignore_eos),
            stream=streaming_mode if self.stream is None else self.stream,
        )


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class GenerateResponse(BaseModel):
    text: str
    finish_reason: Literal["stop", "length"]
    usage: Usage
    release_id: str


class Problem(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """OpenAI's error shape."""

    error: Problem


class VersionResponse(BaseModel):
    release_id: str
    model_digest: str
    engine: str
    precision: str = Field(description="PRECISION of the engine, fast or exact.")
    model_id: str = Field(description="Last part of MODEL_ID.")
    pid: int
    started: float = Field(description="Start of the process in seconds since the epoch.")


class ApiError(Exception):
    """An error that the client gets as its answer.

    Args:
        status: HTTP status.
        kind: `type` of OpenAI's shape, and the label of the error counter.
        param: the field that is at fault.
        retry_after: seconds after which a retry makes sense.
    """

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after: int = 0,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.param, self.code, self.retry_after = (
            status,
            message,
            kind,
            param,
            code,
            retry_after,
        )

    @property
    def body(self) -> bytes:
        return orjson.dumps(
            {
                "error": {
                    "message": self.message,
                    "type": self.kind,
                    "param": self.param,
                    "code": self.code,
                }
            }
        )

    @property
    def headers(self) -> dict[str, str]:
        challenge = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        return challenge | ({"Retry-After": str(self.retry_after)} if self.retry_after else {})


class Chunk(NamedTuple):
    """A piece of a generated text. `tokens` is how many it took; the last piece has a finish
    reason.
    """

    text: str
    tokens: int
    finish_reason: str | None = None


Schema = TypeVar("Schema", bound=BaseModel)


def parse(schema: type[Schema], body: bytes | dict[str, str]) -> Schema:
    """Validate a request's body, or the parameters of its query. Raises ApiError that names the
    field and what is expected, without repeating the value.
    """
    try:
        return (
            schema.model_validate_json(body)
            if isinstance(body, bytes)
            else schema.model_validate_strings(body)
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0]) if first["loc"] else first.get("ctx", {}).get("field")
        message = (
            f"{field}: {first['msg']}"
            if field
            else f"The body is not a JSON object of the right form: {first['msg']}"
        )
        raise ApiError(
            400, message, param=field, code="invalid_value" if field else "invalid_json"
        ) from None


def stop_strings(stop: str | list[str] | None) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}


class Events(Protocol):
    """How an API writes a generated text: as events, or whole. One object per request."""

    def piece(self, chunk: Chunk) -> bytes: ...
    def last(self, finish_reason: str, prompt_tokens: int, completion_tokens: int) -> bytes: ...
    def error(self, error: ApiError) -> bytes: ...
    def whole(
        self, text: str, finish_reason: str, prompt_tokens: int, completion_tokens: int
    ) -> bytes: ...


class GenerateEvents:
    """How POST /generate writes a generated text: as events, or whole."""

    def __init__(self, release_id: str) -> None:
        self.release_id = release_id

    def piece(self, chunk: Chunk) -> bytes:
        return b'data: {"text": %b, "tokens": %d}\n\n' % (orjson.dumps(chunk.text), chunk.tokens)

    def last(self, finish_reason: str, prompt_tokens: int, completion_tokens: int) -> bytes:
        end = {
            "text": "",
            "tokens": 0,
            "finish_reason": finish_reason,
            "usage": usage(prompt_tokens, completion_tokens),
        }
        return b"data: %b\n\n" % orjson.dumps(end) + DONE

    def error(self, error: ApiError) -> bytes:
        return b"data: %b\n\n" % error.body + DONE

    def whole(
        self, text: str, finish_reason: str, prompt_tokens: int, completion_tokens: int
    ) -> bytes:
        answer: dict[str, Any] = {
            "text": text,
            "finish_reason": finish_reason,
            "usage": usage(prompt_tokens, completion_tokens),
            "release_id": self.release_id,
        }
        return orjson.dumps(answer)


class BrowserEvents(GenerateEvents):
    """The same for a browser's EventSource, which connects again when a stream ends. Because its
    events have an id, it then sends that id, and is answered 204, which stops it.
    """

    def piece(self, chunk: Chunk) -> bytes:
        return b"id: 0\n" + super().piece(chunk)
