"""What is deployed, and what was measured of it."""

from datetime import datetime

from pydantic import Field

from greenlight.core.records.base import Color, Part, Record, utc_now
from greenlight.core.records.models import Golden


class Instance(Part):
    """One serving process or pod."""

    name: str
    url: str
    pid: int = 0
    started: float = Field(
        0.0,
        description=(
            "Start time of the process in seconds since the epoch: tells a reused pid apart."
        ),
    )
    build: str = Field(
        "",
        description=(
            "Template hash and image digest of a pod. Pods of one build are interchangeable."
        ),
    )


class Release(Record):
    """A model deployed to a color."""

    release_id: str
    color: Color
    service: str
    model_uri: str = Field(description="The folder or prefix of the Model artifact.")
    digest: str
    source: str
    commit: str
    method: str
    bits: int
    engine: str
    fingerprint: str = ""
    run_id: str = ""
    replicas: int = 1
    instances: list[Instance] = Field(default_factory=list)
    deployed_at: datetime = Field(default_factory=utc_now)

    @property
    def endpoints(self) -> list[str]:
        return [instance.url for instance in self.instances]


class Deployment(Record):
    """What `deploy_green` left: the candidate on the idle color, and the live release that it is to
    be measured against.
    """

    candidate: Release
    live: Release
    golden: list[Golden] = Field(
        default_factory=list,
        description=(
            "Prompts that every server of the candidate answered as when it was evaluated."
        ),
    )


class LatencySummary(Part):
    """Percentiles in seconds."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    intervals: dict[str, tuple[float, float]] = Field(
        default_factory=dict,
        description="By percentile, where it lies with 95% confidence (two-sided).",
    )


class ColorSummary(Part):
    release_id: str = ""
    digest: str = ""
    requests: int
    errors: int
    errors_by_kind: dict[str, int] = Field(
        default_factory=dict,
        description="Number of failed requests by the kind of failure, as in `requests.parquet`.",
    )
    output_tokens: int
    output_tokens_per_second: float = Field(
        description="Output rate in the throughput windows, at `concurrency`; median of the blocks."
    )
    ttft: LatencySummary | None = Field(None, description="Time to first token.")
    itl: LatencySummary | None = Field(
        None, description="Inter-token latency: the mean gap between the tokens of a request."
    )
    tpot: LatencySummary | None = Field(
        None,
        description=(
            "Time per output token: from the first token to the last byte, over the tokens after"
            " the first."
        ),
    )
    gap: LatencySummary | None = Field(
        None, description="Every gap between tokens, of all requests together."
    )
    e2e: LatencySummary | None = Field(None, description="Send to last byte.")
    requests_per_second: float = Field(0.0, description="Rate of answered requests of the pairs.")
    goodput_per_second: float = Field(
        0.0, description="Rate of answered requests that met the SLO of the workload."
    )
    goodput: float = Field(1.0, description="Share of the requests that met the SLO.")
    price_per_hour: float | None = Field(
        None, description="USD per hour of all servers of the color."
    )
    cost_per_million_tokens: float | None = Field(
        None, description="USD per million output tokens, at the throughput of the blocks."
    )


class GeneratorHealth(Part):
    """Whether the load generator itself kept up. Seconds, and requests per second to each color."""

    workers: int = 1
    send_lag_p99: float = Field(
        0.0, description="Delay with which requests of an open loop were sent."
    )
    loop_lag_p50: float = 0.0
    loop_lag_p99: float = Field(
        0.0,
        description=(
            "Delay of the generator's event loop; time stamps of tokens may be late by as much."
        ),
    )
    loop_lag_max: float = 0.0
    asked_rate: float | None = Field(None, description="Planned rate of an open loop.")
    achieved_rate: float | None = None


class BenchmarkResult(Record):
    """Candidate and live measured side by side. `requests.parquet` holds a row per
    request, `blocks.parquet` a row per throughput window.
    """

    complete: bool
    reason: str = Field("", description="Why it is not complete.")
    candidate: ColorSummary
    live: ColorSummary | None = None
    pairs: int = Field(description="Pairs in which both requests were sent.")
    concurrency: int
    max_tokens: int = Field(
        description=(
            "Output tokens of each request of a pair, or their maximum where the workload varies"
            " them."
        )
    )
    block_tokens: int = Field(description="Output tokens of each request in a throughput window.")
    seed: int
    seconds: float
    stopped_at: int = Field(
        0,
        description=(
            "After how many pairs a planned look of the gate had decided, and the pairs were ended."
            " 0: all were run."
        ),
    )
    workload: str = Field("", description="The workload as JSON, whole.")
    generator: GeneratorHealth = GeneratorHealth()
    samples_uri: str = Field("", description="Folder or prefix that holds the Parquet files.")
    requests_digest: str = Field("", description="sha256 of requests.parquet.")
    blocks_digest: str = Field("", description="sha256 of blocks.parquet.")
