"""The limit: the server's own OpenVINO engine, with the scheduler settings that the server gives it, called in process without HTTP.

`python -m benchmarks.serving.inprocess` reads a Job as JSON from stdin, keeps its requests in the engine, adds the next one in the place of each that
ends, and writes a Limit as JSON to stdout. Prompts are tokenized beforehand, and tokens are counted and not turned into text.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from itertools import count, cycle
from pathlib import Path

from benchmarks.serving.client import LoadFailed
from serving.__main__ import engine_config
from serving.artifact import Artifact
from serving.engines.base import Engine, Request, load
from serving.settings import Settings
from serving.tokens import Vocabulary
from serving.worker import warm_up


@dataclass(frozen=True)
class Job:
    """As the client's Job, for an engine in place of a port."""

    folder: str
    prompts: list[str]
    tokens: int
    concurrency: int
    warmup: float
    seconds: float


@dataclass(frozen=True)
class Limit:
    """Tokens that the engine gave in the window, and the CPU of the process for each, in microseconds."""

    tokens_per_second: float
    us_per_token: float


def drive(job: Job) -> Limit:
    """Measure in a process of its own. Raises LoadFailed."""
    done = subprocess.run([sys.executable, "-m", __name__], input=json.dumps(asdict(job)), capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise LoadFailed(f"In process: {done.stderr.strip()[-3000:]}")
    return Limit(**json.loads(done.stdout))


def measure(job: Job) -> Limit:
    settings = Settings(model_id=job.folder)
    artifact = Artifact.open(job.folder)
    vocabulary = Vocabulary(Path(job.folder), artifact.vocabulary)
    prompts = cycle([vocabulary.encode(prompt) for prompt in job.prompts])
    engine = load(engine_config(settings, artifact, artifact.choose_engine("openvino")))
    warm_up(engine)
    numbers = count(1)

    def add(engine: Engine) -> None:
        engine.add(Request(next(numbers), next(prompts), job.tokens, temperature=0.0, top_p=1.0, top_k=0, seed=0, ignore_eos=True))

    for _ in range(job.concurrency):
        add(engine)
    start = now = time.perf_counter() + job.warmup
    end = start + job.seconds
    seen, cpu = 0, 0.0
    while now < end:
        updates = engine.step()
        now = time.perf_counter()
        if now < start:
            cpu = time.process_time()
        else:
            seen += sum(len(tokens) for _, tokens, _ in updates)
        for _, _, finish in updates:
            if finish is not None:
                if finish != "length":
                    raise LoadFailed(f"a request ended with {finish!r}")
                add(engine)
        now = time.perf_counter()
    return Limit(seen / job.seconds, 1e6 * (time.process_time() - cpu) / seen)


if __name__ == "__main__":
    print(json.dumps(asdict(measure(Job(**json.load(sys.stdin))))), flush=True)
    os._exit(0)  # as the server's engine process ends
