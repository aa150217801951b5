"""The charts of the report for a notebook: as plotly figures, in the report's colors for a light
page.
"""

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from greenlight.core.history import RunRecords
from greenlight.report.charts import (
    Figure,
    drawable,
    latency_chart,
    looks_chart,
    objectives_chart,
    throughput_chart,
)
from greenlight.report.metric_labels import LATENCIES
from greenlight.report.section_load import colors_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from greenlight.report.frames import Frames

LatencyMetric = Literal["ttft", "itl", "e2e"]
_VARIABLE = re.compile(r"var\((--[a-z]+)\)")


def draw_objectives(run: RunRecords) -> "go.Figure | None":
    """How much of its limit each objective of a run uses: the estimate as a mark, a whisker to the
    bound that was judged. None: no objective has an estimate.
    """
    results = run.decision.objectives if run.decision else []
    return _draw(objectives_chart(results)) if drawable(results) else None


def draw_looks(run: RunRecords) -> "go.Figure | None":
    """The bound of each objective at each look of the gate. None: there was at most one look."""
    if run.decision is None or len(run.decision.looks) < 2 or not drawable(run.decision.objectives):
        return None
    figure = looks_chart(run.decision.objectives, run.decision.looks)
    return _draw(figure, "The bounds from look to look")


def draw_latency(frames: "Frames", metric: LatencyMetric) -> "go.Figure | None":
    """The share of requests that took at most so long, a curve per color. Failed requests are
    infinitely slow, so that a curve ends below 1. None: nothing was measured.

    Args:
        metric: ttft (first token), itl (mean gap between tokens) or e2e (whole request).
    """
    if frames.run is None or frames.samples is None or not frames.samples.curves[metric]:
        return None
    label = LATENCIES[metric]
    figure = latency_chart(frames.samples.curves[metric], colors_of(frames.run))
    return _draw(figure, f"{label.label}: {label.meaning}")


def draw_throughput(frames: "Frames") -> "go.Figure | None":
    """Output tokens per second of each throughput window, in the order in which they ran. None:
    there was no block.
    """
    if frames.run is None or frames.samples is None or not frames.samples.blocks:
        return None
    figure = throughput_chart(frames.samples.blocks, colors_of(frames.run))
    return _draw(figure, "Output tokens/s of each throughput window")


def _draw(figure: Figure, title: str = "") -> "go.Figure":
    """A chart of `greenlight.report.charts` as a plotly figure."""
    import plotly.graph_objects as go

    filled = _fill(figure)
    layout = {
        "template": "plotly_white",
        "title": {"text": title},
        "margin": {"t": 60 if title else 20},
        "legend": {"orientation": "h", "y": -0.2},
    }
    return go.Figure(data=filled["data"], layout=layout | filled["layout"])


def _fill(value: Any) -> Any:
    """The figure with a color in place of each CSS variable."""
    if isinstance(value, dict):
        return {name: _fill(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_fill(each) for each in value]
    return (
        _VARIABLE.sub(lambda match: _colors()[match[1]], value) if isinstance(value, str) else value
    )


@cache
def _colors() -> dict[str, str]:
    css = (Path(__file__).parent / "page.css").read_text()
    return dict(re.findall(r"(--[a-z]+): ([^;]+);", css[: css.index("@media")]))
