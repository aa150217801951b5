"""Raw samples: what the generator leaves line by line, and what becomes of it as Parquet and as a summary."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.benchmark.workload import Role
from components.records import LatencySummary

REQUEST_LINES, BLOCK_LINES = "requests.jsonl", "blocks.jsonl"
REQUESTS, BLOCKS = "requests.parquet", "blocks.parquet"


@dataclass(slots=True)
class Request:
    """One request, one row of `requests.parquet`. Clock times are seconds since the epoch; durations are seconds.

    Attributes:
        phase: `pairs` or `throughput`. Warm-up requests are not kept.
        pair: number of the pair; in a throughput block of the pair of blocks.
        block: number of the block: a run of pairs close in time, or a throughput block.
        order: 0 for the request of a pair (or block) that came first, 1 for the second.
        intended: when the user was ready to send. `sent`: when the first byte left, after a connection was there.
        ttft: send to first token. NaN when no token came.
        itls: gaps between successive tokens as they arrived: `tokens - 1` of them. Tokens that arrive together have gaps of zero.
        e2e: send to last byte, or to the failure.
        tokens_in, tokens_out: the server's own usage, which was found equal to the tokens counted. Of a failed request: tokens that arrived.
        error: kind of failure, empty for success. See `components.benchmark.client.Reply`.
    """

    phase: str
    pair: int
    block: int
    order: int
    role: Role
    color: str
    endpoint: str
    prompt: int
    intended: float
    sent: float
    ttft: float
    e2e: float
    itls: list[float]
    tokens_in: int
    tokens_out: int
    status: int
    error: str
    detail: str
    release: str


@dataclass(slots=True)
class Block:
    """One throughput block as the generator ran it. `start` is when counting began, after settling."""

    block: int
    pair: int
    order: int
    role: Role
    color: str
    start: float
    seconds: float


@dataclass(slots=True)
class CountedBlock(Block):
    """One row of `blocks.parquet`. Tokens count that arrived inside the window, also those of requests that began before or ended after it."""

    output_tokens: int
    tokens_per_second: float
    requests: int
    errors: int


class LineFile:
    """Follows a file of JSON lines that another process appends to. A last line that is not whole yet waits for the next read."""

    def __init__(self, path: Path) -> None:
        self.path, self.position = path, 0

    def read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        with open(self.path, "rb") as file:
            file.seek(self.position)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self.position += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def count_blocks(blocks: Iterable[Block], requests: Sequence[Request]) -> list[CountedBlock]:
    """Count the tokens of each throughput block by the time at which they arrived."""
    import numpy as np

    counted = []
    for block in blocks:
        own = [request for request in requests if request.phase == "throughput" and request.block == block.block]
        tokens = 0
        for request in own:
            if request.tokens_out:
                arrivals = request.sent + request.ttft + np.concatenate([[0.0], np.cumsum(request.itls)])
                tokens += int(((arrivals >= block.start) & (arrivals < block.start + block.seconds)).sum())
        errors = sum(1 for request in own if request.error)
        counted.append(CountedBlock(**asdict(block), output_tokens=tokens, tokens_per_second=tokens / block.seconds, requests=len(own), errors=errors))
    return counted


def write_parquet(path: Path, kind: type, rows: Sequence[Request] | Sequence[CountedBlock]) -> None:
    """Write dataclass rows as Parquet, with the columns of `kind` even when there are none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types: Mapping[object, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), Role: pa.string(), list[float]: pa.list_(pa.float32())}
    names = _fields(kind)
    schema = pa.schema([(name, types[annotation]) for name, annotation in names.items()])
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    pq.write_table(pa.table(columns, schema=schema), path)


def file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fields(kind: type) -> dict[str, object]:
    """Names and types of a dataclass, those of its parents first."""
    return {name: annotation for parent in reversed(kind.__mro__) for name, annotation in getattr(parent, "__annotations__", {}).items()}


def summarize(values: Sequence[float]) -> LatencySummary | None:
    """Percentiles of successful requests in seconds; None when there are none."""
    import numpy as np

    if not len(values):
        return None
    p50, p90, p95, p99 = (float(value) for value in np.percentile(values, [50, 90, 95, 99]))
    return LatencySummary(mean=float(np.mean(values)), p50=p50, p90=p90, p95=p95, p99=p99)
