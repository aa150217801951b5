"""How fast a candidate decodes by itself: its engine on this machine, in a process of its own,
without a server or a network.

What a sweep compares its candidates by. It says nothing of latency under load: that is what the
benchmark measures, on the machines that serve.
"""

import json
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from greenlight.core.child_process import own_peak_memory, run_module
from greenlight.core.records import Speed

if TYPE_CHECKING:
    from greenlight.serving.engines.base import Engine

log = logging.getLogger("greenlight.evaluate")

CONCURRENCY = 8  # as the throughput windows of a benchmark
PROMPT_TOKENS = 16
NEW_TOKENS = 64
ROUNDS = 7
BUDGET_SECONDS = 60.0
"""After so many no further round is begun: a large model on a CPU takes minutes for one."""


def measure_speed(artifact: Path | str) -> Speed:
    """Decode a few rounds of requests side by side.

    Raises:
        InputError: no engine here can load the artifact.
        GreenlightError: the engine failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "speed.json"
        run_module(__name__, [str(artifact), str(result)], Path(scratch), "measuring its speed")
        found = json.loads(result.read_bytes())
    speed = Speed(
        engine=found["engine"],
        tokens_per_second=round(statistics.median(found["rates"]), 1),
        concurrency=CONCURRENCY,
        load_seconds=round(found["load_seconds"], 3),
        memory_bytes=found["memory_bytes"],
    )
    log.info(
        "decodes %.0f tokens/s with %s",
        speed.tokens_per_second,
        speed.engine,
        extra={"figure": f"{speed.tokens_per_second:.0f} tok/s"},
    )
    return speed


def work(folder: str, result: str) -> None:
    """Runs in a process of its own: load, warm up, decode."""
    from greenlight.serving.artifact import Artifact
    from greenlight.serving.engine_config import engine_config
    from greenlight.serving.engine_worker import warm_up
    from greenlight.serving.engines.base import load
    from greenlight.serving.settings import Settings

    artifact = Artifact.open(folder)
    config = engine_config(
        Settings(model_id=folder, max_running=CONCURRENCY), artifact, artifact.choose_engine("auto")
    )
    began = time.monotonic()
    engine = load(config)
    warm_up(engine)
    loaded = time.monotonic()
    rates: list[float] = []
    new_tokens = min(NEW_TOKENS, artifact.context - PROMPT_TOKENS)
    while len(rates) <= ROUNDS and (not rates or time.monotonic() - loaded < BUDGET_SECONDS):
        rates.append(_round(engine, 1 + len(rates) * CONCURRENCY, new_tokens))
    found = {
        "engine": config.engine,
        "rates": rates[1:] or rates,  # the first still warms up
        "load_seconds": loaded - began,
        "memory_bytes": own_peak_memory() + _gpu_bytes(),
    }
    Path(result).write_text(json.dumps(found))


def _round(engine: "Engine", first_id: int, new_tokens: int) -> float:
    """Tokens per second of one round of requests."""
    from greenlight.serving.engines.base import Request

    for number in range(CONCURRENCY):
        tokens = [1 + (number + place) % 97 for place in range(PROMPT_TOKENS)]
        engine.add(
            Request(
                first_id + number,
                tokens,
                new_tokens,
                temperature=0.0,
                top_p=1.0,
                top_k=0,
                seed=0,
                ignore_eos=True,
            )
        )
    began, count = time.monotonic(), 0
    while engine.busy:
        count += sum(len(new) for _, new, _ in engine.step())
    return count / (time.monotonic() - began)


def _gpu_bytes() -> int:
    """Peak memory that torch took on the GPU; 0 without one."""
    torch = sys.modules.get("torch")
    return (
        int(torch.cuda.max_memory_allocated())
        if torch is not None and torch.cuda.is_available()
        else 0
    )
