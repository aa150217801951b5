"""One request from admission to the last piece of its text, whichever API asked for it."""

import time
from collections.abc import AsyncGenerator

from greenlight.serving.detokenizer import TextStream
from greenlight.serving.engine_process import (
    EngineFailedError,
    EngineProcess,
    RequestRefusedError,
    TokenStream,
)
from greenlight.serving.http_schemas import ApiError, Chunk
from greenlight.serving.metrics import Metrics


class AbandonedError(Exception):
    """Nobody waits for this text any more."""


class RunningRequest:
    """Reads a request's tokens and gives pieces of text.

    Attributes:
        prompt_tokens: length of the prompt.
        text: counts the tokens that the text took.
    """

    __slots__ = ("_engine", "_metrics", "_started", "_stream", "prompt_tokens", "text")

    def __init__(
        self,
        engine: EngineProcess,
        stream: TokenStream,
        text: TextStream,
        prompt_tokens: int,
        metrics: Metrics,
        started: float,
    ) -> None:
        self._engine, self._stream, self._metrics, self._started = engine, stream, metrics, started
        self.text, self.prompt_tokens = text, prompt_tokens

    async def pieces(self) -> AsyncGenerator[Chunk]:
        """The text as it comes. The last piece has the finish reason.

        Raises:
            ApiError: the engine failed, refused the request, or the server has to end before it is
                done.
            AbandonedError: the client is gone.
        """
        stream, text, itl = self._stream, self.text, self._metrics.itl
        before, latest = 0, 0.0
        try:
            while True:
                tokens, finish = await stream.get()
                new = text.push(tokens)
                if not stream.held:
                    if latest and tokens:
                        itl.observe((stream.arrived - latest) / len(tokens), len(tokens))
                    elif not latest:
                        self._metrics.ttft.observe(stream.arrived - self._started)
                    latest = stream.arrived
                count, before = text.tokens - before, text.tokens
                if text.stopped:
                    yield Chunk(new, count, "stop")
                    return
                if finish is not None:
                    rest = text.finish()
                    yield Chunk(new + rest, count, "stop" if text.stopped else finish)
                    return
                yield Chunk(new, count)
        except EngineFailedError as fault:
            raise ApiError(
                500,
                f"The engine failed while it generated: {fault}",
                "engine_error",
                code="engine_failed",
            ) from None
        except RequestRefusedError as refusal:
            raise ApiError(
                500,
                f"The engine could not finish this request: {refusal}",
                "engine_error",
                code="request_refused",
            ) from None
        finally:
            self._engine.cancel(stream)
            self._metrics.output_tokens.inc(text.tokens)

    async def whole(self) -> tuple[str, str]:
        """All of the text at once, and the finish reason. Raises as `pieces` does."""
        parts, finish = [], "length"
        async for chunk in self.pieces():
            parts.append(chunk.text)
            finish = chunk.finish_reason or finish
        return "".join(parts), finish

    def abandon(self) -> None:
        """The client is gone: free the request's place now."""
        self._end(AbandonedError())

    def cut(self, reason: str) -> None:
        """End with an error that the client gets."""
        self._end(ApiError(503, reason, "service_unavailable", code="shutting_down"))

    def expire(self, seconds: float) -> None:
        """It has taken too long: end with an error that the client gets."""
        self._end(
            ApiError(
                408,
                f"The text was not done within REQUEST_TIMEOUT of this server, {seconds:g} s. Ask"
                " for fewer tokens.",
                code="request_timeout",
            )
        )

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def _end(self, error: Exception) -> None:
        self._engine.cancel(self._stream)
        self._stream.put([], error)
