"""Label, unit and meaning of each figure that a report, a table or a notebook shows. What the gate
judges is named by its catalogue; what only a report shows is named here.
"""

from typing import NamedTuple

from greenlight.gate.catalogue import METRICS, MetricKind


class MetricLabel(NamedTuple):
    """How a metric is shown.

    Attributes:
        unit: as `greenlight.core.formats.quantity` takes it.
        meaning: what the metric is, as the end of a sentence.
    """

    label: str
    unit: str
    meaning: str


def _latency(kind: MetricKind) -> MetricLabel:
    meaning = kind.description.rstrip(".")
    return MetricLabel(kind.label, kind.unit, meaning[:1].lower() + meaning[1:])


LATENCIES = {name: _latency(METRICS[name]) for name in ("ttft", "itl", "e2e")}

REPORTED = {  # metrics of the evaluation that no objective may name
    "perplexity": MetricLabel(
        "Perplexity", "", "of the candidate on the held-out text; lower is better"
    ),
    "baseline_perplexity": MetricLabel("Perplexity of the baseline", "", "on the same text"),
    "baseline_bits_per_byte": MetricLabel(
        "Bits per byte of the baseline", "bits", "for the same text"
    ),
}
MEANINGS = {  # of the evaluation's metrics that an objective may name, short enough for a table
    "perplexity_ratio": "of the candidate, divided by the baseline's; 1: no damage",
    "kl_mean": "from the baseline's distribution of the next token; 0: no damage",
    "kl_p99": "99th percentile over tokens",
    "top1_agreement": "share of tokens for which both find the same next token likeliest",
    "bits_per_byte": "that the candidate needs to encode one byte of the text",
}

UNITS = {  # by the end of a figure's name
    "_ttft_p50": "s",
    "_ttft_p95": "s",
    "_itl_p50": "s",
    "_itl_p95": "s",
    "_e2e_p50": "s",
    "_e2e_p95": "s",
    "_seconds": "s",
    "_bytes": "bytes",
    "_output_tokens_per_second": "tokens/s",
    "_ratio": "x",
    "_error_rate": "share",
    "_goodput": "share",
    "pairs_used": "share",
    "top1_agreement": "share",
    "_accuracy": "share",
    "_cost_per_million_tokens": "USD",
    "kl_mean": "nats",
    "kl_p99": "nats",
    "bits_per_byte": "bits",
}


def quality_label(metric: str) -> MetricLabel:
    """How a metric of the evaluation is shown. One that is not known is shown by its name."""
    if metric in REPORTED:
        return REPORTED[metric]
    if metric not in METRICS:
        return MetricLabel(metric, "", "")
    kind = METRICS[metric]
    unit = "share" if kind.is_share else kind.unit
    return MetricLabel(kind.label[:1].upper() + kind.label[1:], unit, MEANINGS.get(metric, ""))


def unit_of(figure: str) -> str:
    """The unit of a run's figure by its name; empty for a count, and for a figure without one."""
    return next((unit for end, unit in UNITS.items() if figure.endswith(end)), "")
