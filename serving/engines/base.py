"""What an engine is: something that holds a model, takes requests at any time, and decodes all of
them one step at a time.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from greenlight.serving.engines.precision import Precision

Finish = Literal["stop", "length"]

# (request id, new tokens, how the request ended or None). A finish that is neither `stop` nor
# `length` is an error message.
Update = tuple[int, list[int], str | None]


@dataclass(frozen=True)
class EngineConfig:
    """All that an engine gets at start.

    Attributes:
        context: tokens that prompt and output may have together; no request exceeds it.
        max_running: requests decoded together; more may be added and wait inside the engine.
        kv_tokens: tokens that the KV cache holds; at least one full context.
        four_bit: load a plain checkpoint with 4 bits per weight.
        precision: `exact` is only asked of an engine that can compute the artifact in 32 bits.
    """

    engine: str
    folder: str
    context: int
    eos: Sequence[int]
    max_running: int
    kv_tokens: int
    threads: int
    four_bit: bool = False
    precision: Precision = "fast"


@dataclass(frozen=True, slots=True)
class Request:
    """One text to generate. `top_k` 0 and `top_p` 1 switch them off; `temperature` 0 is greedy."""

    id: int
    tokens: list[int]
    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int
    ignore_eos: bool


class Engine(ABC):
    """A loaded model. Used by one thread. Request ids are never used twice."""

    @abstractmethod
    def __init__(self, config: EngineConfig) -> None:
        """Load the model, ready to decode. May take minutes."""

    @abstractmethod
    def add(self, request: Request) -> None:
        """Take a request that fits the context. Raises ValueError when this engine cannot decode
        it.
        """

    @abstractmethod
    def step(self) -> list[Update]:
        """Decode at most one token for each request that has a place. A request with a finish is
        gone. Any exception is a fault of the engine.
        """

    @abstractmethod
    def cancel(self, request_id: int) -> None:
        """Forget a request, freeing its place by the next step. Unknown ids are ignored: it may
        just have finished.
        """

    @property
    @abstractmethod
    def busy(self) -> bool:
        """Whether a step has anything to do."""


def load(config: EngineConfig) -> Engine:
    """Import the engine's module and load the model."""
    module = importlib.import_module(f"greenlight.serving.engines.{config.engine}")
    engine: Engine = module.engine(config)
    return engine
