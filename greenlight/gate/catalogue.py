"""Every metric that an objective may name, and in which ways it can be judged."""

from dataclasses import dataclass
from typing import Literal

Scope = Literal["absolute", "vs_live"]
Source = Literal["requests", "blocks", "errors", "documents", "tasks"]
Comparison = Literal["ratio", "difference"]

PERCENTILES = {"p50": 50, "p90": 90, "p95": 95}
STATISTICS = (*PERCENTILES, "mean", "over_slo")
QUALITY: tuple[Source, ...] = ("documents", "tasks")
"""Sources that an evaluation holds: what can be judged before anything is deployed."""


@dataclass(frozen=True)
class MetricKind:
    """What a metric is.

    Attributes:
        label: as sentences name it.
        source: which samples it comes from: paired requests, throughput blocks, counts of failed
            requests, scored documents, or items of tasks.
        unit: of its absolute value.
        scopes: `absolute`: its own value; `vs_live`: compared with the live color.
        comparison: how it is compared with live.
        better: which values of it are.
        statistics: that must be chosen from; none for a metric that is one number.
    """

    label: str
    description: str
    source: Source
    unit: str = ""
    scopes: tuple[Scope, ...] = ("absolute",)
    comparison: Comparison = "ratio"
    statistics: tuple[str, ...] = ()
    better: Literal["lower", "higher"] = "lower"


BOTH: tuple[Scope, ...] = ("absolute", "vs_live")

METRICS = {
    "ttft": MetricKind(
        "TTFT",
        "Time from sending a request to its first token.",
        "requests",
        "s",
        BOTH,
        statistics=STATISTICS,
    ),
    "itl": MetricKind(
        "ITL",
        "Mean gap between the tokens of a request.",
        "requests",
        "s",
        BOTH,
        statistics=STATISTICS,
    ),
    "longest_gap": MetricKind(
        "longest gap",
        "Longest gap between tokens of a request: how a stream stutters.",
        "requests",
        "s",
        BOTH,
        statistics=STATISTICS,
    ),
    "e2e": MetricKind(
        "E2E",
        "Time from sending a request to its last byte.",
        "requests",
        "s",
        BOTH,
        statistics=STATISTICS,
    ),
    "output_tokens_per_second": MetricKind(
        "output tokens/s",
        "Output tokens a second of a color under full load.",
        "blocks",
        "tokens/s",
        BOTH,
        better="higher",
    ),
    "cost_per_million_tokens": MetricKind(
        "cost per million tokens",
        "USD for a million output tokens under full load, at the workload's price_per_hour.",
        "blocks",
        "USD",
        BOTH,
    ),
    "error_rate": MetricKind(
        "error rate",
        "Share of requests that failed or came back incomplete.",
        "errors",
        "",
        BOTH,
        "difference",
    ),
    "kl_mean": MetricKind(
        "mean KL divergence",
        "KL divergence from the baseline's next-token distribution, a token.",
        "documents",
        "nats",
    ),
    "kl_p99": MetricKind(
        "99th percentile of KL divergence",
        "KL divergence that 99 of 100 tokens do not exceed.",
        "documents",
        "nats",
    ),
    "top1_agreement": MetricKind(
        "top-1 agreement",
        "Share of tokens at which candidate and baseline would choose the same.",
        "documents",
        better="higher",
    ),
    "perplexity_ratio": MetricKind(
        "perplexity ratio",
        "Perplexity of the candidate over that of the baseline.",
        "documents",
        "x",
    ),
    "bits_per_byte": MetricKind(
        "bits per byte",
        "Bits that the candidate needs for a byte of the held-out text.",
        "documents",
        "bits",
    ),
    "task_accuracy_drop": MetricKind(
        "drop in task accuracy",
        "Share of the items of all tasks that the candidate turned from right to wrong, less those"
        " that it turned back.",
        "tasks",
    ),
}
