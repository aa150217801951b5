"""Which requests are taken: the limits, the keys, the queue, and whether the server is ready."""

import asyncio
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from typing import Any

import psutil

from greenlight.serving.artifact import Artifact
from greenlight.serving.chat import ChatTemplate
from greenlight.serving.detokenizer import Vocabulary
from greenlight.serving.engine_process import ANSWER_SECONDS, EngineProcess
from greenlight.serving.http_schemas import ApiError, TextRequest
from greenlight.serving.metrics import Metrics
from greenlight.serving.running_request import RunningRequest
from greenlight.serving.settings import Settings

SMALLEST = 1e-6  # of temperature and top_p: engines compute in 32 bits, where less may become 0
LONG_PROMPT = (
    20_000  # characters that are tokenized beside the event loop, so that no stream stalls
)


GAUGES = {
    "running_requests": "Requests that have a place in the engine",
    "queued_requests": "Requests that wait for a place",
    "ready": "Whether /ready answers 200",
}
"""Of /metrics, without greenlight_ before them."""


class Admission:
    """Takes requests within the limits, and says whether this server wants any. The routes share
    one.

    Attributes:
        draining: the server ends soon; it is not ready, and finishes what it has.
        refusing: it ends now; new requests are refused.
        demoted: it lost the traffic and stays warm; its clients should go to the live color.
        taken: when the latest request was taken, as time.monotonic().
        running: requests that wait or generate.
    """

    def __init__(
        self, settings: Settings, artifact: Artifact, engine_name: str, engine: EngineProcess
    ) -> None:
        self.settings, self.artifact, self.engine_name, self.engine = (
            settings,
            artifact,
            engine_name,
            engine,
        )
        self.vocabulary = Vocabulary(artifact.folder, artifact.vocabulary)
        self.chat = ChatTemplate.open(artifact.folder)
        self.model = os.path.basename(os.path.normpath(settings.model_id))
        self.started = psutil.Process().create_time()
        self.draining = self.refusing = self.demoted = False
        self.taken = 0.0
        self.running: set[RunningRequest] = set()
        self.release_header = (b"x-release-id", settings.release_id.encode())
        self._keys = [
            _digest(key.strip().encode())
            for key in settings.api_keys.get_secret_value().split(",")
            if key.strip()
        ]
        self.longest_prompt = min(
            settings.max_prompt_tokens or artifact.context, artifact.context - 1
        )
        read: dict[str, Callable[[], float]] = {
            "running_requests": lambda: min(engine.requests, settings.max_running),
            "queued_requests": lambda: max(0, engine.requests - settings.max_running),
            "ready": lambda: float(not self.unready()),
        }
        self.metrics = Metrics(
            settings.release_id,
            self.model,
            {name: (GAUGES[name], read[name]) for name in GAUGES},
            lambda: engine.process.pid,
        )

    @property
    def closing(self) -> bool:
        """Whether responses end their connection, so that clients connect anew, to whoever is live
        then.
        """
        return self.draining or self.demoted

    def unready(self) -> str:
        """Why requests should not be sent here; empty when they should."""
        if self.engine.fault:
            return f"engine failed: {self.engine.fault}"
        if not self.engine.ready:
            return "the model is loading"
        if self.draining:
            return "draining"
        if (silent := self.engine.silent_seconds()) > ANSWER_SECONDS:
            return f"the engine has not answered for {silent:.0f} s"
        return ""

    async def admit(self, request: TextRequest) -> RunningRequest:
        """Check a request against the limits and hand it to the engine. Raises ApiError."""
        started = time.perf_counter()
        self._check_open()
        tokens = await self._encode(request)
        count, room = len(tokens), self.artifact.context - len(tokens)
        if not tokens or count > self.longest_prompt:
            message = f"prompt: has {count} tokens, from 1 to {self.longest_prompt} are possible"
            raise ApiError(400, message, param="prompt", code="context_length_exceeded")
        longest = self.settings.max_new_tokens or self.artifact.context
        if request.max_new_tokens is not None and request.max_new_tokens > longest:
            message = (
                f"{request.length_field}: is {request.max_new_tokens}, and this server gives"
                f" {longest} tokens at most"
            )
            raise ApiError(400, message, param=request.length_field, code="too_many_tokens")
        if request.max_new_tokens is not None and request.max_new_tokens > room:
            message = (
                f"is {request.max_new_tokens}, but the prompt's {count} tokens leave {room} of the"
                f" context of {self.artifact.context}"
            )
            raise ApiError(
                400,
                f"{request.length_field}: {message}",
                param=request.length_field,
                code="context_length_exceeded",
            )
        self._check_open()  # the queue may have filled while a long prompt was tokenized
        temperature = (
            self.settings.default_temperature
            if request.temperature is None
            else request.temperature
        )
        stream = self.engine.submit(
            tokens,
            hold=not (request.stream or request.stops),
            max_new_tokens=request.max_new_tokens
            or min(self.settings.default_max_length, longest, room),
            temperature=temperature if temperature >= SMALLEST else 0.0,
            top_p=max(request.top_p or 1.0, SMALLEST),
            top_k=request.top_k or 0,
            seed=secrets.randbits(63) if request.seed is None else request.seed,
            ignore_eos=request.ignore_eos,
        )
        self.taken = time.monotonic()
        self.metrics.prompt_tokens.inc(count)
        return RunningRequest(
            self.engine,
            stream,
            self.vocabulary.stream(tokens, request.stops),
            count,
            self.metrics,
            started,
        )

    def check_key(self, authorization: str) -> None:
        """Where keys are set, a request must bear one. Every key is compared, and in constant time.
        Raises ApiError.
        """
        if not self._keys:
            return
        # the bytes of the header
        given = _digest(authorization.removeprefix("Bearer ").encode("latin-1"))
        if not sum([hmac.compare_digest(given, key) for key in self._keys]):
            raise ApiError(
                401,
                "Send `Authorization: Bearer KEY` with a key of this server.",
                code="invalid_api_key",
            )

    def chat_prompt(self, messages: list[dict[str, Any]]) -> str:
        """The prompt for a conversation. Raises ApiError."""
        if not self.chat:
            raise ApiError(
                400,
                "messages: this model has no chat template; use /v1/completions",
                param="messages",
                code="no_chat_template",
            )
        try:
            return self.chat.render(messages)
        except ValueError as error:
            raise ApiError(
                400,
                f"messages: the model's chat template refuses them: {error}",
                param="messages",
                code="invalid_value",
            ) from None

    def _check_open(self) -> None:
        if self.engine.fault or not self.engine.ready or self.refusing:
            reason = "the server is shutting down" if self.refusing else self.unready()
            raise ApiError(
                503, f"Not ready: {reason}", "service_unavailable", code="not_ready", retry_after=1
            )
        limit = self.settings.max_running + self.settings.max_queue
        if self.engine.requests >= limit:
            raise ApiError(
                429,
                f"The queue is full: {limit} requests are running or waiting. Try again later.",
                "rate_limit_error",
                code="queue_full",
                retry_after=1,
            )

    async def _encode(self, request: TextRequest) -> list[int]:
        prompt = request.prompt
        if not isinstance(prompt, str):
            if max(prompt) >= self.vocabulary.size:
                raise ApiError(
                    400,
                    f"prompt: has a token id beyond the vocabulary of {self.vocabulary.size}",
                    param="prompt",
                    code="invalid_value",
                )
            return prompt
        tokens = (
            self.vocabulary.encode(prompt, request.special)
            if len(prompt) < LONG_PROMPT
            else await asyncio.get_running_loop().run_in_executor(
                None, self.vocabulary.encode, prompt, request.special
            )
        )
        if tokens and max(tokens) >= self.vocabulary.size:
            raise ApiError(
                400,
                "prompt: has a token that was added to the tokenizer, and for which the model has"
                f" no weights (id {max(tokens)} of {self.vocabulary.size})",
                param="prompt",
                code="invalid_value",
            )
        return tokens


def _digest(key: bytes) -> bytes:
    """Keys are compared by their digests, which are equally long."""
    return hashlib.sha256(key).digest()
