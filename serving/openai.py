"""OpenAI's completions and chat API: what it takes, what it answers, and what it refuses because no
engine here does it.
"""

import secrets
import time
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from greenlight.serving.http_schemas import DONE, ApiError, Chunk, Stops, TextRequest, stop_strings

TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class StreamOptions(BaseModel):
    include_usage: bool | None = False


class OpenAIRequest(BaseModel):
    """What both routes share. Unknown fields are ignored, as clients send many; fields that would
    change the answer are refused.
    """

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    model: str | None = Field(
        None, description="Ignored: one model is served. Its name is in the answer."
    )
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=1_000_000, description="Beyond OpenAI: 0 is off.")
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Stops | None = None
    ignore_eos: bool | None = Field(
        False, description="Beyond OpenAI: go on after the model's end token."
    )
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = 1

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, values: Any) -> Any:
        """Fields that no engine here honours must not be passed over in silence."""
        if isinstance(values, dict):
            for name in UNSUPPORTED:
                if values.get(name) not in (None, False, 0, [], {}, *ALLOWED.get(name, ())):
                    raise PydanticCustomError(
                        "unsupported", "is not supported here, leave it out", {"field": name}
                    )
        return values

    def text_request(
        self, prompt: str | list[int], special: bool, length_field: str, length: int | None
    ) -> TextRequest:
        return TextRequest(
            prompt=prompt,
            special=special,
            length_field=length_field,
            max_new_tokens=length,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            seed=None if self.seed is None else self.seed % 2**63,
            stops=stop_strings(self.stop),
            ignore_eos=bool(self.ignore_eos),
            stream=bool(self.stream),
        )

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


UNSUPPORTED = (
    *(
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "presence_penalty",
        "frequency_penalty",
        "best_of",
        "echo",
        "suffix",
    ),
    *(
        "tools",
        "tool_choice",
        "functions",
        "function_call",
        "response_format",
        "modalities",
        "audio",
        "prediction",
    ),
)
ALLOWED: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}


class CompletionRequest(OpenAIRequest):
    """Body of POST /v1/completions."""

    prompt: str | TokenIds | Annotated[list[str | TokenIds], Field(min_length=1, max_length=1)] = (
        Field(description="One text, or one list of token ids.")
    )

    @field_validator("prompt", mode="before")
    @classmethod
    def _one_prompt(cls, prompt: Any) -> Any:
        if (
            isinstance(prompt, list)
            and len(prompt) > 1
            and not all(isinstance(item, int) for item in prompt)
        ):
            raise PydanticCustomError(
                "one_prompt",
                "one prompt per request is taken; send the others in requests of their own",
            )
        return prompt

    def completion_request(self) -> TextRequest:
        prompt = (
            self.prompt[0]
            if isinstance(self.prompt, list) and not isinstance(self.prompt[0], int)
            else self.prompt
        )
        # one list at most was taken off
        return self.text_request(prompt, True, "max_tokens", self.max_tokens)


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    name: str | None = None

    @property
    def plain(self) -> dict[str, Any]:
        """As chat templates read it."""
        content = (
            self.content
            if isinstance(self.content, str)
            else [part.model_dump() for part in self.content]
        )
        return {"role": "system" if self.role == "developer" else self.role, "content": content} | (
            {"name": self.name} if self.name else {}
        )


class ChatRequest(OpenAIRequest):
    """Body of POST /v1/chat/completions."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=4096)
    max_completion_tokens: int | None = Field(None, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (
            self.max_tokens
            and self.max_completion_tokens
            and self.max_tokens != self.max_completion_tokens
        ):
            raise PydanticCustomError(
                "lengths",
                "differs from max_tokens, give one of them",
                {"field": "max_completion_tokens"},
            )
        return self

    def chat_request(self, prompt: str) -> TextRequest:
        return self.text_request(
            prompt,
            False,
            "max_completion_tokens" if self.max_completion_tokens else "max_tokens",
            self.max_completion_tokens or self.max_tokens,
        )


class CompletionEvents:
    """How /v1/completions writes a text. One object per request."""

    kind, chunk_kind, prefix = "text_completion", "text_completion", "cmpl-"

    def __init__(self, model: str, include_usage: bool) -> None:
        self._head = {
            "id": self.prefix + secrets.token_hex(12),
            "object": self.chunk_kind,
            "created": int(time.time()),
            "model": model,
        }
        self._include_usage = include_usage
        more = {"usage": None} if include_usage else {}
        before, after = orjson.dumps(
            {**self._head, **more, "choices": [self._choice("\0", None)]}
        ).split(b'"\\u0000"')
        self._before, self._after = b"data: " + before, after + b"\n\n"

    def piece(self, chunk: Chunk) -> bytes:
        """An event, made from a template: only the text differs. Nothing for tokens that have no
        text.
        """
        return self._before + orjson.dumps(chunk.text) + self._after if chunk.text else b""

    def last(self, finish_reason: str, prompt_tokens: int, completion_tokens: int) -> bytes:
        more = {"usage": None} if self._include_usage else {}
        end = b"data: %b\n\n" % orjson.dumps(
            {**self._head, **more, "choices": [self._end(finish_reason)]}
        )
        if self._include_usage:
            end += b"data: %b\n\n" % orjson.dumps(
                {**self._head, "choices": [], "usage": _usage(prompt_tokens, completion_tokens)}
            )
        return end + DONE

    def error(self, error: ApiError) -> bytes:
        return b"data: %b\n\n" % error.body + DONE

    def whole(
        self, text: str, finish_reason: str, prompt_tokens: int, completion_tokens: int
    ) -> bytes:
        usage = _usage(prompt_tokens, completion_tokens)
        return orjson.dumps(
            {
                **self._head,
                "object": self.kind,
                "choices": [self._answer(text, finish_reason)],
                "usage": usage,
            }
        )

    def _choice(self, text: str, finish_reason: str | None) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}

    def _end(self, finish_reason: str) -> dict[str, Any]:
        return self._choice("", finish_reason)

    def _answer(self, text: str, finish_reason: str) -> dict[str, Any]:
        return self._choice(text, finish_reason)


class ChatEvents(CompletionEvents):
    """How /v1/chat/completions writes a text: the first event names the role."""

    kind, chunk_kind, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl-"

    def __init__(self, model: str, include_usage: bool) -> None:
        super().__init__(model, include_usage)
        role = {
            "index": 0,
            "delta": {"role": "assistant", "content": ""},
            "logprobs": None,
            "finish_reason": None,
        }
        more = {"usage": None} if include_usage else {}
        self._opening = b"data: %b\n\n" % orjson.dumps({**self._head, **more, "choices": [role]})

    def piece(self, chunk: Chunk) -> bytes:
        opening, self._opening = self._opening, b""
        return opening + super().piece(chunk)

    def _choice(self, text: str, finish_reason: str | None) -> dict[str, Any]:
        return {
            "index": 0,
            "delta": {"content": text},
            "logprobs": None,
            "finish_reason": finish_reason,
        }

    def _end(self, finish_reason: str) -> dict[str, Any]:
        return {"index": 0, "delta": {}, "logprobs": None, "finish_reason": finish_reason}

    def _answer(self, text: str, finish_reason: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
