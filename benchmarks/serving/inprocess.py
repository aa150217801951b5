"""The limit: the server's own OpenVINO engine, with the scheduler settings that the server gives
it, called in process without HTTP.

`python -m benchmarks.serving.inprocess <model folder>` loads it once and stays, as a server does:
the engine compiles code for each new shape that it meets, and is some percent slower until it has
seen them. It reads a Window as a line of JSON from stdin, keeps so many requests in the engine,
adds the next one in the place of each that ends, and answers with a line on stdout. Prompts are
tokenized beforehand; tokens are counted and not turned to text.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count, cycle
from pathlib import Path

from benchmarks.serving.contenders import NEW_TOKENS
from benchmarks.serving.model import CACHE, prompts
from benchmarks.serving.process import MeasuredProcess
from greenlight.core.errors import GreenlightError
from greenlight.serving.artifact import Artifact
from greenlight.serving.detokenizer import Vocabulary
from greenlight.serving.engine_config import engine_config
from greenlight.serving.engine_worker import warm_up
from greenlight.serving.engines.base import Engine, Request, load
from greenlight.serving.settings import Settings


@dataclass(frozen=True)
class Window:
    """What to measure, as in the load client's Job."""

    concurrency: int
    warmup: float
    seconds: float


class InProcess(MeasuredProcess):
    """The process that holds the engine, as the benchmark sees it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            [sys.executable, "-m", __name__, str(folder)], {}, CACHE / "inprocess.log", talk=True
        )

    def measure(self, window: Window) -> tuple[float, int]:
        """Tokens per second in the window, and all tokens that were generated. Raises
        GreenlightError.
        """
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(asdict(window)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.process.wait()
            raise self.failure("failed")
        rate, tokens = json.loads(answer)
        return rate, tokens


def load_engine(folder: str) -> Engine:
    artifact = Artifact.open(folder)
    engine = load(
        engine_config(Settings(model_id=folder), artifact, artifact.choose_engine("openvino"))
    )
    warm_up(engine)
    return engine


def requests(folder: str) -> Iterator[Request]:
    vocabulary = Vocabulary(Path(folder), 0)
    for number, tokens in zip(
        count(1), cycle([vocabulary.encode(prompt) for prompt in prompts()]), strict=False
    ):
        yield Request(
            number, tokens, NEW_TOKENS, temperature=0.0, top_p=1.0, top_k=0, seed=0, ignore_eos=True
        )


def measure(engine: Engine, coming: Iterator[Request], window: Window) -> tuple[float, int]:
    for _ in range(window.concurrency):
        engine.add(next(coming))
    start = time.perf_counter() + window.warmup
    end = start + window.seconds
    seen = total = 0
    while engine.busy:  # after the window no request is added, and those that run end
        updates = engine.step()
        now = time.perf_counter()
        tokens = sum(len(new) for _, new, _ in updates)
        total += tokens
        if start <= now < end:
            seen += tokens
        for _, _, finish in updates:
            if finish not in (None, "length"):
                raise GreenlightError(f"In process a request ended with {finish!r}")
            if finish and now < end:
                engine.add(next(coming))
    return seen / window.seconds, total


def main(folder: str) -> None:
    engine, coming = load_engine(folder), requests(folder)
    for line in sys.stdin:
        print(json.dumps(measure(engine, coming, Window(**json.loads(line)))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
    os._exit(0)  # as the server's engine process ends
