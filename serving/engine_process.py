"""The HTTP side of the engine's process: starts it, hands it requests, and gives each request its
stream of tokens.
"""

import asyncio
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, cast

import orjson

from greenlight.core.safe_path import safe_environment
from greenlight.serving.engines.base import EngineConfig, Request
from greenlight.serving.engines.registry import HAS_GPU
from greenlight.serving.logs import log
from greenlight.serving.settings import SECRETS

ANSWER_SECONDS = (
    30  # a step over long prompts may take seconds; an engine that is silent for longer is stuck
)


class EngineFailedError(Exception):
    """The engine failed; nothing more is to be had from it."""


class RequestRefusedError(Exception):
    """The engine could not take or finish this one request."""


class TokenStream:
    """The tokens of one request, as far as they have come. Tokens that come while the reader is
    busy are handed over together.
    """

    __slots__ = ("_finish", "_tokens", "_waiter", "arrived", "held", "id")

    def __init__(self, number: int, held: bool) -> None:
        self.id, self.held = number, held
        self.arrived = 0.0  # of the latest tokens, as time.perf_counter()
        self._tokens: list[int] = []
        self._finish: str | Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, tokens: list[int], finish: str | Exception | None) -> None:
        if self._tokens:
            self._tokens += tokens
        else:
            self._tokens = tokens
        self._finish = finish
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> tuple[list[int], str | None]:
        """Tokens since the last call and, with the last of them, `stop` or `length`. Raises
        EngineFailedError or RequestRefusedError.
        """
        if not self._tokens and self._finish is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None
        tokens, self._tokens = self._tokens, []
        if isinstance(self._finish, Exception) and not tokens:
            raise self._finish
        return tokens, None if isinstance(self._finish, Exception) else self._finish


class EngineProcess(asyncio.Protocol):
    """The engine's process as its parent sees it.

    Attributes:
        process: started by the constructor, so that the model loads while the HTTP side is still
            importing.
        ready: the model is loaded.
        fault: why the engine is lost, empty while it is well.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.ready = False
        self.fault = ""
        self.facts: dict[str, Any] = {}
        self.on_ready: Callable[[], None] = lambda: None
        self.on_fault: Callable[[str], None] = lambda reason: None
        self._streams: dict[int, TokenStream] = {}
        self._numbers = itertools.count(1)
        self._received = b""
        self._unanswered = 0.0  # when the ping that is out was sent
        self._transport: asyncio.Transport | None = None
        self._socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "greenlight.serving.engine_worker",
                    str(theirs.fileno()),
                    str(os.getpid()),
                    json.dumps(asdict(config)),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={
                    name: value for name, value in os.environ.items() if name.lower() not in SECRETS
                }
                | safe_environment()
                | _quiet(config.threads),
            )

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=self._socket)

    @property
    def requests(self) -> int:
        """Requests that the engine has not finished."""
        return len(self._streams)

    def submit(self, tokens: list[int], hold: bool, **sampling: Any) -> TokenStream:
        """Hand a request to the engine; `sampling` holds the other fields of a Request. With `hold`
        all tokens come together at the end.
        """
        stream = TokenStream(next(self._numbers), hold)
        self._streams[stream.id] = stream
        self._send("add", asdict(Request(id=stream.id, tokens=tokens, **sampling)), hold)
        return stream

    def cancel(self, stream: TokenStream) -> None:
        """Free the request's place. Safe to call when it has ended."""
        if self._streams.pop(stream.id, None):
            self._send("cancel", stream.id)

    def silent_seconds(self) -> float:
        """How long the engine has owed an answer. Asks it again if it has answered: meant to be
        called by each readiness probe.
        """
        if self._unanswered:
            return time.monotonic() - self._unanswered
        self._unanswered = time.monotonic()
        self._send("ping", 0)
        return 0.0

    def stop(self) -> None:
        """End the process; it has nothing to save."""
        self.fault = self.fault or "stopped"
        self.process.kill()
        self.process.wait()

    def _send(self, *command: Any) -> None:
        if self._transport is not None and not self.fault:
            self._transport.write(orjson.dumps(command) + b"\n")

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        *lines, self._received = (
            (self._received + data).split(b"\n") if self._received else data.split(b"\n")
        )
        for line in lines:
            kind, *content = orjson.loads(line)
            if kind == "step":
                self._step(content[0], now)
            else:
                self._event(kind, content)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.fault:
            try:
                code = self.process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                code = None
            self._fail(f"the engine's process ended unexpectedly (exit code {code})")

    def _step(self, updates: list[tuple[int, list[int], str | None]], now: float) -> None:
        streams = self._streams
        for number, tokens, finish in updates:
            stream = streams.get(number)
            if stream is None:  # cancelled a moment ago
                continue
            stream.arrived = now
            if finish is None:
                stream.put(tokens, None)
                continue
            del streams[number]
            stream.put(
                tokens, finish if finish in ("stop", "length") else RequestRefusedError(finish)
            )

    def _event(self, kind: str, content: list[Any]) -> None:
        if kind == "pong":
            self._unanswered = 0.0
        elif kind == "ready":
            self.ready, self.facts = True, content[0]
            self.on_ready()
        elif kind == "refused":
            number, why = content
            if stream := self._streams.pop(number, None):
                stream.put([], RequestRefusedError(why))
        elif kind == "fault":
            self._fail(*content)

    def _fail(self, reason: str, details: str = "") -> None:
        self.fault, self.ready = reason, False
        fields = {"reason": reason, "requests_lost": len(self._streams)} | (
            {"traceback": details} if details else {}
        )
        log.critical("engine_failed", extra={"fields": fields})
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.put([], EngineFailedError(reason))
        self.on_fault(reason)


def cpp_compiler() -> str | None:
    """The C++ compiler that torch would compile a model for CPUs with. None: there is none."""
    return shutil.which(os.environ.get("CXX", "g++"))


def _quiet(threads: int) -> dict[str, str]:
    """Environment of the engine's process: libraries that stay silent and offline, and thread pools
    that do not spin.
    """
    return {
        "BITSANDBYTES_NOWELCOME": "1",
        "CI": "true",  # else each import of openvino is reported to Google Analytics
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "OPENVINO_LOG_LEVEL": "0",
        "PYTHONWARNINGS": "ignore",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "TRANSFORMERS_VERBOSITY": "error",
        # else two servers on one machine share the same cores
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # engine_worker.py relies on it
        # some models compile single functions, whatever the engine is told
        **({} if HAS_GPU or cpp_compiler() else {"TORCHDYNAMO_DISABLE": "1"}),
    }
