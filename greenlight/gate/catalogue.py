"""Every metric that an objective may name: what it is called, its unit and format, in which ways it
can be judged, and what estimates it. The verdict, the resampling, the terminal, the report and the
docs read this one entry.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Scope = Literal["absolute", "vs_live"]
Source = Literal["requests", "blocks", "errors", "documents", "tasks"]
Comparison = Literal["ratio", "difference"]

PERCENTILES = {"p50": 50, "p90": 90, "p95": 95}
STATISTICS = (*PERCENTILES, "mean", "over_slo")
QUALITY: tuple[Source, ...] = ("documents", "tasks")
"""Sources that an evaluation holds: what can be judged before anything is deployed."""


@dataclass(frozen=True)
class RatioOfSums:
    """The estimator of a metric of documents: a sum over documents divided by another.

    Attributes:
        top, bottom: the addends by document, of anything whose attributes are the columns of the
            scored documents (`greenlight.gate.evidence.Documents`, or a DataFrame).
        exponential: the metric is e to the power of the ratio.
    """

    top: Callable[[Any], Any]
    bottom: Callable[[Any], Any]
    exponential: bool = False


Estimator = RatioOfSums | Literal["tail", "items", "latency", "share", "rate", "cost"]
"""`tail`: the 99th percentile over tokens, clustered by document. `items`: paired differences of
answers. `latency`: order statistics and means of paired requests. `share`: proportions. `rate`:
means and ratios over throughput windows; `cost`: the same of their price.
"""


@dataclass(frozen=True)
class MetricKind:
    """What a metric is.

    Attributes:
        label: as sentences, tables and charts name it.
        source: which samples it comes from: paired requests, throughput windows, counts of failed
            requests, scored documents, or items of tasks.
        estimator: what measures it, and its bounds.
        unit: of its absolute value.
        is_share: its absolute value is a share, shown in percent.
        scopes: `absolute`: its own value; `vs_live`: compared with the live color.
        comparison: how it is compared with live.
        better: which values of it are better.
        statistics: one of these must be chosen; none for a metric that is one number.
    """

    label: str
    description: str
    source: Source
    estimator: Estimator
    unit: str = ""
    is_share: bool = False
    scopes: tuple[Scope, ...] = ("absolute",)
    comparison: Comparison = "ratio"
    statistics: tuple[str, ...] = ()
    better: Literal["lower", "higher"] = "lower"

    @property
    def shown_unit(self) -> str:
        """The unit as `greenlight.core.formats.quantity` takes it."""
        return "share" if self.is_share else self.unit


BOTH: tuple[Scope, ...] = ("absolute", "vs_live")


def _latency(label: str, description: str) -> MetricKind:
    return MetricKind(
        label, description, "requests", "latency", "s", scopes=BOTH, statistics=STATISTICS
    )


METRICS = {
    "ttft": _latency("TTFT", "Time from sending a request to its first token."),
    "itl": _latency("ITL", "Mean gap between the tokens of a request."),
    "longest_gap": _latency(
        "longest gap", "Longest gap between two tokens of a request: a stall that a reader notices."
    ),
    "e2e": _latency("E2E", "Time from sending a request to its last byte."),
    "output_tokens_per_second": MetricKind(
        "output tokens/s",
        "Output tokens per second of a color under full load.",
        "blocks",
        "rate",
        "tokens/s",
        scopes=BOTH,
        better="higher",
    ),
    "cost_per_million_tokens": MetricKind(
        "cost per million tokens",
        "USD per million output tokens under full load, at the workload's price_per_hour.",
        "blocks",
        "cost",
        "USD",
        scopes=BOTH,
    ),
    "error_rate": MetricKind(
        "error rate",
        "Share of requests that failed or came back incomplete.",
        "errors",
        "share",
        is_share=True,
        scopes=BOTH,
        comparison="difference",
    ),
    "kl_mean": MetricKind(
        "mean KL divergence",
        "KL divergence from the baseline's next-token distribution, per token.",
        "documents",
        RatioOfSums(lambda of: of.kl_sum, lambda of: of.tokens),
        "nats",
    ),
    "kl_p99": MetricKind(
        "99th percentile of KL divergence",
        "KL divergence that 99% of the tokens do not exceed.",
        "documents",
        "tail",
        "nats",
    ),
    "top1_agreement": MetricKind(
        "top-1 agreement",
        "Share of tokens for which candidate and baseline have the same most likely token.",
        "documents",
        RatioOfSums(lambda of: of.top1_agree, lambda of: of.tokens),
        is_share=True,
        better="higher",
    ),
    "perplexity_ratio": MetricKind(
        "perplexity ratio",
        "Perplexity of the candidate over that of the baseline.",
        "documents",
        RatioOfSums(
            lambda of: of.nll_candidate - of.nll_baseline, lambda of: of.tokens, exponential=True
        ),
        "x",
    ),
    "bits_per_byte": MetricKind(
        "bits per byte",
        "Bits that the candidate needs per byte of the held-out text.",
        "documents",
        RatioOfSums(lambda of: of.nll_candidate / math.log(2), lambda of: of.bytes),
        "bits",
    ),
    "task_accuracy_drop": MetricKind(
        "drop in task accuracy",
        "Share of the items of all tasks that only the baseline answers right, minus the share that"
        " only the candidate answers right.",
        "tasks",
        "items",
        is_share=True,
    ),
}
