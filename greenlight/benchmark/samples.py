"""Raw samples: what the generators leave line by line, and what becomes of it as tables and
Parquet.
"""

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlight.benchmark.plan import Role

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

REQUEST_LINES, BLOCK_LINES, LOOP_LAGS = "requests.jsonl", "blocks.jsonl", "loop-lags.f32"
STOP = "stop"
"""A file of this name ends the pairs."""
REQUESTS, BLOCKS = "requests.parquet", "blocks.parquet"
RECENT = 200


@dataclass(slots=True)
class Request:
    """One request, one row of `requests.parquet`. Clock times are seconds since the epoch;
    durations are seconds.

    Attributes:
        phase: `throughput` or `pairs`. Warm-up requests are not kept.
        pair: number of the pair; in a throughput window of the pair of blocks.
        block: number of the block: a run of pairs close in time, or a throughput window.
        order: 0 for the request of a pair (or block) that came first, 1 for the second.
        pod: name of the process or pod behind the endpoint, where it is known.
        prompt: number of the ask, the same for both requests of a pair. `asked`: output tokens that
            were asked for.
        intended: when it was due, in open loop; else when the user was ready to send. `lag`: how
            late a user took it up, in open loop.
        sent: when the first byte left, after a connection was there.
        ttft: to the first token; NaN when no token came. From `intended` in open loop, so that a
            server that makes others wait is not spared
            (coordinated omission), else from `sent`.
        itls: gaps between successive tokens as they arrived: `tokens - 1` of them. Tokens that
            arrive together have gaps of zero.
        e2e: to the last byte, or to the failure; from where `ttft` is from.
        tokens_in, tokens_out: the server's own usage, which was found equal to the tokens counted.
            Of a failed request: tokens that arrived.
        error: kind of failure, empty for success. See `greenlight.benchmark.client.Reply`.
    """

    phase: str
    pair: int
    block: int
    order: int
    role: Role
    color: str
    endpoint: str
    pod: str
    prompt: int
    asked: int
    intended: float
    lag: float
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
    """One throughput window as the generator ran it. `start` is when counting began, after
    settling.
    """

    block: int
    pair: int
    order: int
    role: Role
    color: str
    start: float
    seconds: float


@dataclass(slots=True)
class CountedBlock(Block):
    """One row of `blocks.parquet`. Tokens count that arrived inside the window, also those of
    requests that began before or ended after it.
    """

    output_tokens: int
    tokens_per_second: float
    requests: int
    errors: int


class LineFile:
    """Follows a file of JSON lines that another process appends to. A last line that is not whole
    yet waits for the next read.
    """

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


class CollectedRequests:
    """The requests until now, in columns: a million with 32 gaps each take some 350 MB. What
    progress needs to know of them is counted as they come.

    Attributes:
        rows, failed: requests, and failed ones among them.
        pairs: whole pairs. `first_pairs`: as many as are whole from the first on without a gap.
        last_phase: of the latest request; empty when there is none.
    """

    def __init__(self, sides: int) -> None:
        self.sides = sides
        self.rows = self.failed = self.pairs = self.first_pairs = 0
        self.last_phase = ""
        self._batches: list[pa.RecordBatch] = []
        self._half: dict[int, int] = {}
        self._beyond: set[int] = set()
        self._recent: deque[tuple[str, str]] = deque(maxlen=RECENT)

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        if not lines:
            return
        import pyarrow as pa

        schema = schema_of(Request)
        self._batches.append(
            pa.RecordBatch.from_pydict(
                {name: [line[name] for line in lines] for name in schema.names}, schema=schema
            )
        )
        self.rows, self.last_phase = self.rows + len(lines), lines[-1]["phase"]
        for line in lines:
            self.failed += bool(line["error"])
            self._recent.append((line["endpoint"], line["error"]))
            if line["phase"] == "pairs":
                self._count_pair(line["pair"])

    def _count_pair(self, pair: int) -> None:
        self._half[pair] = self._half.get(pair, 0) + 1
        if self._half[pair] < self.sides:
            return
        del self._half[pair]
        self.pairs += 1
        self._beyond.add(pair)
        while self.first_pairs in self._beyond:
            self._beyond.remove(self.first_pairs)
            self.first_pairs += 1

    def table(self) -> "pa.Table":
        import pyarrow as pa

        return pa.Table.from_batches(self._batches, schema_of(Request))

    def find_gone_endpoint(self, times: int) -> str:
        """An endpoint that its latest requests could not connect to, so many times in a row; empty
        when there is none.
        """
        seen: dict[str, list[str]] = {}
        for endpoint, error in self._recent:
            seen.setdefault(endpoint, []).append(error)
        return next(
            (
                endpoint
                for endpoint, errors in seen.items()
                if errors[-times:] == ["connect"] * times
            ),
            "",
        )


def count_blocks(blocks: Iterable[Block], requests: "pa.Table") -> list[CountedBlock]:
    """Count the tokens of each throughput window by the time at which they arrived."""
    import numpy as np
    import pyarrow.compute as pc

    counted = []
    throughput = requests.filter(pc.equal(requests["phase"], "throughput"))
    for block in blocks:
        own = throughput.filter(pc.equal(throughput["block"], block.block))
        arrived = _arrivals(own)
        tokens = int(((arrived >= block.start) & (arrived < block.start + block.seconds)).sum())
        errors = int(np.count_nonzero(own["error"].to_numpy() != ""))
        counted.append(
            CountedBlock(
                **asdict(block),
                output_tokens=tokens,
                tokens_per_second=tokens / block.seconds,
                requests=own.num_rows,
                errors=errors,
            )
        )
    return counted


def _arrivals(requests: "pa.Table") -> "np.ndarray":
    """When each token of these requests came, in seconds since the epoch; they were timed from
    `sent`.
    """
    import numpy as np

    requests = requests.filter(np.isfinite(requests["ttft"].to_numpy()))
    if not requests.num_rows:
        return np.zeros(0)
    first = requests["sent"].to_numpy() + requests["ttft"].to_numpy()
    later = [
        start + np.cumsum(gaps, dtype=float)
        for start, gaps in zip(first, requests["itls"].to_numpy(), strict=True)
    ]
    return np.concatenate([first, *later])


def flat_gaps(requests: "pa.Table") -> tuple["np.ndarray", "np.ndarray"]:
    """All gaps between tokens, one after the other, and where those of each request begin. Shapes
    (gaps,) and (requests + 1,).
    """
    lists = requests["itls"].combine_chunks()
    offsets = lists.offsets.to_numpy()
    return lists.values.to_numpy(zero_copy_only=False)[offsets[0] : offsets[-1]], offsets - offsets[
        0
    ]


def mean_gaps(gaps: "np.ndarray", offsets: "np.ndarray") -> "np.ndarray":
    """The mean gap between the tokens of each request, as the gate judges it, from `flat_gaps`. NaN
    for a request without gaps.
    """
    import numpy as np

    counts = np.diff(offsets)
    sums = np.zeros(len(counts))
    some = counts > 0
    if len(gaps):
        sums[some] = np.add.reduceat(gaps, offsets[:-1][some], dtype=float)
    with np.errstate(invalid="ignore"):
        return sums / counts


def blocks_table(rows: Sequence[CountedBlock]) -> "pa.Table":
    return table_of(CountedBlock, rows)


def table_of(kind: type, rows: Sequence[Request] | Sequence[CountedBlock]) -> "pa.Table":
    """Dataclass rows as a table, with the columns of `kind` even when there are none."""
    import pyarrow as pa

    schema = schema_of(kind)
    return pa.table(
        {name: [getattr(row, name) for row in rows] for name in schema.names}, schema=schema
    )


@cache
def schema_of(kind: type) -> "pa.Schema":
    import pyarrow as pa

    types: Mapping[object, pa.DataType] = {
        str: pa.string(),
        int: pa.int64(),
        float: pa.float64(),
        Role: pa.string(),
        list[float]: pa.list_(pa.float32()),
    }
    # Those of its parents first.
    fields = {
        name: annotation
        for parent in reversed(kind.__mro__)
        for name, annotation in getattr(parent, "__annotations__", {}).items()
    }
    return pa.schema([(name, types[annotation]) for name, annotation in fields.items()])


def write_parquet(path: Path, kind: type, rows: Sequence[Request] | Sequence[CountedBlock]) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table_of(kind, rows), path)
