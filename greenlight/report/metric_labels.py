"""Label, unit and meaning of each figure that a report, a table or a notebook shows. What the gate
judges is named by its catalogue; what only a report shows is named here.
"""

import re
from typing import NamedTuple

from greenlight.gate.catalogue import METRICS, PERCENTILES, MetricKind


class MetricLabel(NamedTuple):
    """How a metric is shown.

    Attributes:
        unit: as `greenlight.core.formats.quantity` takes it.
        meaning: what the metric is, as the end of a sentence.
    """

    label: str
    unit: str
    meaning: str


def _label(kind: MetricKind) -> MetricLabel:
    meaning = kind.description.rstrip(".")
    return MetricLabel(
        kind.label[:1].upper() + kind.label[1:],
        kind.shown_unit,
        meaning if meaning[:2].isupper() else meaning[:1].lower() + meaning[1:],
    )


LATENCIES = {name: _label(METRICS[name]) for name in ("ttft", "itl", "e2e")}

REPORTED = {  # metrics of the evaluation that no objective may name
    "perplexity": MetricLabel(
        "Perplexity", "", "of the candidate on the held-out text; lower is better"
    ),
    "baseline_perplexity": MetricLabel("Perplexity of the baseline", "", "on the same text"),
    "baseline_bits_per_byte": MetricLabel(
        "Bits per byte of the baseline", "bits", "for the same text"
    ),
}

OTHER_UNITS = {  # of figures that are no metric of the catalogue, by the end of their names
    "_seconds": "s",
    "_bytes": "bytes",
    "_ratio": "x",
    "_goodput": "share",
    "pairs_used": "share",
    "_accuracy": "share",
}


def metric_label(metric: str) -> MetricLabel:
    """How a metric is shown. One that is not known is shown by its name."""
    if metric in REPORTED:
        return REPORTED[metric]
    return _label(METRICS[metric]) if metric in METRICS else MetricLabel(metric, "", "")


def unit_of(figure: str) -> str:
    """The unit of a run's figure by its name; empty for a count, and for a figure without one."""
    for end, unit in OTHER_UNITS.items():
        if figure.endswith(end):
            return unit
    plain = re.sub(rf"_({'|'.join(PERCENTILES)})$", "", figure)
    return next(
        (kind.shown_unit for name, kind in METRICS.items() if f"_{plain}".endswith(f"_{name}")), ""
    )
