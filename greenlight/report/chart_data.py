"""The raw samples of a benchmark, read and thinned to what a chart can show."""

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenlight.benchmark.samples import flat_gaps, mean_gaps
from greenlight.core import storage
from greenlight.core.errors import IntegrityError
from greenlight.core.records import BenchmarkResult

if TYPE_CHECKING:
    import numpy as np

REQUESTS, BLOCKS = "requests.parquet", "blocks.parquet"
METRICS = ("ttft", "itl", "e2e")
ROLES = ("candidate", "live")
CURVE_POINTS = 500


@dataclass(frozen=True)
class Curve:
    """An empirical distribution function: `share[i]` of all requests took at most `seconds[i]`.

    Failed requests count as infinitely slow, so a curve ends below 1 when there were any.
    """

    seconds: list[float]
    share: list[float]


@dataclass(frozen=True)
class ThroughputBlock:
    """What one color gave in one throughput window. `start` is in seconds after the first block."""

    role: str
    pair: int
    start: float
    tokens_per_second: float
    errors: int


@dataclass(frozen=True)
class Samples:
    """Curves by metric and role, and the blocks in the order in which they ran, the first of which
    began at `began` (seconds since the epoch).
    """

    curves: dict[str, dict[str, Curve]]
    blocks: list[ThroughputBlock]
    began: float | None = None


def load_samples(benchmark: BenchmarkResult) -> Samples:
    """Read the samples that a benchmark's record points to.

    Raises:
        IntegrityError: the record names no samples, or the files are not those that it was made
            from.
        OSError: they cannot be read. A file that is not Parquet raises pyarrow's ArrowInvalid, a
            remote store errors of its own.
    """
    if not benchmark.samples_uri:
        raise IntegrityError("the record of the benchmark does not say where its samples lie")
    columns = ["phase", "role", "ttft", "e2e", "itls", "error"]
    requests = read_table(benchmark.samples_uri, REQUESTS, benchmark.requests_digest, columns)
    columns = ["role", "pair", "start", "tokens_per_second", "errors"]
    return samples_of(
        requests, read_table(benchmark.samples_uri, BLOCKS, benchmark.blocks_digest, columns)
    )


def samples_of(requests: Any, blocks: Any) -> Samples:
    """The same from the tables."""
    import pyarrow.compute as pc

    return Samples(
        _curves(requests),
        _blocks(blocks),
        pc.min(blocks["start"]).as_py() if blocks.num_rows else None,
    )


def read_table(folder: str, name: str, digest: str, columns: list[str] | None = None) -> Any:
    """A Parquet file of an artifact, which may lie in a bucket. What it raises: see `load_samples`.

    Args:
        digest: sha256 that its record names. Empty: it names none.
        columns: None: all.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = storage.read_bytes(storage.join(folder, name))
    if digest and hashlib.sha256(data).hexdigest() != digest:
        raise IntegrityError(
            f"{name} is not the file that the benchmark's record names by its digest; it was"
            " changed since"
        )
    return pq.read_table(pa.BufferReader(data), columns=columns)


def _curves(requests: Any) -> dict[str, dict[str, Curve]]:
    """Distributions of the pairs: blocks run at full load, and their latency says little about one
    request.
    """
    import numpy as np
    import pyarrow.compute as pc

    curves: dict[str, dict[str, Curve]] = {metric: {} for metric in METRICS}
    for role in ROLES:
        own = requests.filter(
            pc.and_(pc.equal(requests["phase"], "pairs"), pc.equal(requests["role"], role))
        )
        if not own.num_rows:
            continue
        failed = np.asarray(pc.not_equal(own["error"], ""))
        for metric in METRICS:
            values = (
                mean_gaps(*flat_gaps(own))
                if metric == "itl"
                else own[metric].to_numpy().astype(float)
            )
            one_token = np.isnan(values) & ~failed  # has no gap, and is not slow for it
            values = np.where(failed, np.inf, values)[~one_token]
            if len(values):
                curves[metric][role] = _curve(values)
    return curves


def _curve(values: "np.ndarray") -> Curve:
    """At most CURVE_POINTS steps, the first and the last finite value among them."""
    import numpy as np

    ordered = np.sort(values)
    finite = int(np.isfinite(ordered).sum())
    ranks = (
        np.unique(np.linspace(0, finite - 1, min(finite, CURVE_POINTS)).round().astype(int))
        if finite
        else np.array([], dtype=int)
    )
    seconds = [float(f"{value:.4g}") for value in ordered[ranks]]
    return Curve(seconds, [round(float(share), 5) for share in (ranks + 1) / len(ordered)])


def _blocks(blocks: Any) -> list[ThroughputBlock]:
    rows = sorted(blocks.to_pylist(), key=lambda row: row["start"])
    return [
        ThroughputBlock(
            row["role"],
            row["pair"],
            round(row["start"] - rows[0]["start"], 3),
            row["tokens_per_second"],
            row["errors"],
        )
        for row in rows
        if math.isfinite(row["tokens_per_second"])
    ]
