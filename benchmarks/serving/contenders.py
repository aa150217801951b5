"""Who is measured: which processes are started, and how each is asked for the same number of tokens
for the same prompts.

All are greedy and ignore the end token. Our servers run with their defaults. The others run with
settings under which they were at least as fast here as with their own: both would compute in bf16,
which this model's size and most CPUs make slower at 32 requests at a time; and `transformers serve`
would take nearly all memory for its KV cache, so it gets the cache and batch size of ours, and
OpenMP threads that do not spin, as ours has them. Both answer `/v1/completions`, which takes the
same bare prompt as our `/generate`.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.serving.client import Job
from benchmarks.serving.model import CACHE, ROOT, TINY, openvino_model, prompts
from benchmarks.serving.process import ServerProcess

NEW_TOKENS = 64
VLLM = ROOT / ".venv-vllm/bin/python"
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class ServerKind:
    """How a server is started.

    Attributes:
        ready: the route that answers 200 when it can generate.
        start_seconds: seconds that it may take to get there.
    """

    name: str
    command: tuple[str, ...]
    ready: str
    start_seconds: float
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> ServerProcess:
        return ServerProcess(self.command, OFFLINE | self.environment, CACHE / f"{self.name}.log")

    def start_and_wait(self) -> ServerProcess:
        server = self.start()
        try:
            return server.wait_ready(self.ready, self.start_seconds)
        except BaseException:
            server.stop()
            raise


@dataclass(frozen=True)
class Contender:
    """A way of asking a server, or `inprocess`, which has none."""

    name: str
    server: str
    path: str
    body: Callable[[str], dict[str, Any]]
    stream: bool = True
    done: bool = True

    def job(self, port: int, concurrency: int, warmup: float, seconds: float) -> Job:
        bodies = [json.dumps(self.body(prompt)) for prompt in prompts()]
        return Job(
            port,
            self.path,
            bodies,
            NEW_TOKENS,
            self.stream,
            self.done,
            concurrency,
            warmup,
            seconds,
        )


def ours(model: str, name: str, **settings: str) -> ServerKind:
    environment = {
        "MODEL_ID": model,
        "ENGINE": name,
        "PORT": "{port}",
        "HOST": "127.0.0.1",
    } | settings
    return ServerKind(name, (sys.executable, "-m", "greenlight.serving"), "/ready", 60, environment)


def server_kinds() -> list[ServerKind]:
    """vLLM only where its environment is."""
    blocks = ("--cb-block-size", "32", "--cb-num-blocks", "2112", "--cb-max-batch-tokens", "256")
    hugging_face = (
        "serve",
        str(TINY),
        "--continuous-batching",
        "--dtype",
        "float32",
        *blocks,
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
        "--log-level",
        "error",
    )
    vllm = (
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(TINY),
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
        "--dtype",
        "float32",
        "--max-model-len",
        "1024",
        "--disable-uvicorn-access-log",
    )
    kinds = [
        ours(str(openvino_model()), "openvino"),
        ours(str(TINY), "transformers"),
        ServerKind(
            "transformers-serve",
            (sys.executable, "-m", "transformers.cli.transformers", *hugging_face),
            "/health",
            120,
            {"OMP_WAIT_POLICY": "PASSIVE"},
        ),
    ]
    if VLLM.is_file():
        kinds.append(
            ServerKind("vllm", (str(VLLM), *vllm), "/health", 400, {"VLLM_CPU_KVCACHE_SPACE": "1"})
        )
    return kinds


def _ours(prompt: str) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "max_length": NEW_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }


def _ours_whole(prompt: str) -> dict[str, Any]:
    return _ours(prompt) | {"stream": False}


def _transformers_serve(prompt: str) -> dict[str, Any]:
    # It has no ignore_eos: an end token that never comes does the same.
    generation = {"max_new_tokens": NEW_TOKENS, "eos_token_id": -1, "do_sample": False}
    return {"prompt": prompt, "stream": True, "generation_config": json.dumps(generation)}


def _vllm(prompt: str) -> dict[str, Any]:
    options = {"include_usage": True}
    return {
        "prompt": prompt,
        "max_tokens": NEW_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": options,
    }


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("openvino", "openvino", "/generate", _ours),
        Contender("openvino-whole", "openvino", "/generate", _ours_whole, stream=False, done=False),
        Contender("transformers", "transformers", "/generate", _ours),
        Contender(
            "transformers-serve",
            "transformers-serve",
            "/v1/completions",
            _transformers_serve,
            done=False,
        ),
        Contender("vllm", "vllm", "/v1/completions", _vllm),
    )
}
