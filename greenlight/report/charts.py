"""The charts, as plain plotly figures (dicts of `data` and `layout`), so that writing a report need
not import plotly.

Colors are names of CSS variables, `var(--…)`: the page fills them in, and again when the reader's
system turns light or dark. Text that somebody else wrote is escaped, since plotly takes text for
HTML.
"""

import html
import math
from typing import Any

from greenlight.core import formats
from greenlight.core.records import Color, Look, ObjectiveResult
from greenlight.report.chart_data import ROLES, Curve, ThroughputBlock

Figure = dict[str, Any]

AXIS_END = 2.0  # twice the limit: what lies beyond is drawn at the edge
ROW_PIXELS = 46
STATUS_LOOK = {
    "pass": ("circle", "var(--good)"),
    "fail": ("x", "var(--bad)"),
    "inconclusive": ("diamond", "var(--unsure)"),
}
FARTHEST_SWITCH = (
    1.6  # times the length of the throughput phase, up to which the switch is drawn where it was
)
SYMBOLS = range(25)  # plotly's own, by number
ROLE_LOOK = {"candidate": ("solid", "circle"), "live": ("dot", "diamond")}
NO_CANDIDATE_COLORS: dict[str, Color] = {"candidate": "green", "live": "blue"}


def is_minimum(objective: ObjectiveResult) -> bool:
    """Is more better?"""
    return objective.comparison.lstrip().startswith((">", "≥"))


def used(objective: ObjectiveResult, value: float | None) -> float | None:
    """How much of its limit a value uses: 1 at the limit, less is better. None when it was not
    measured, or the limit is not above 0.

    value / limit for what must stay below, limit / value for what must stay above.
    """
    if value is None or math.isnan(value) or objective.limit <= 0:
        return None
    if is_minimum(objective):
        return math.inf if value <= 0 else objective.limit / value
    return value / objective.limit


def drawable(objectives: list[ObjectiveResult]) -> list[ObjectiveResult]:
    return [
        objective for objective in objectives if used(objective, objective.estimate) is not None
    ]


def objectives_chart(objectives: list[ObjectiveResult]) -> Figure:
    """A row per objective: the estimate as a mark, a whisker to the bound that was judged, the
    limit at 100%.
    """
    shown = drawable(objectives)
    traces = []
    for status, (symbol, color) in STATUS_LOOK.items():
        own = [
            (row, objective) for row, objective in enumerate(shown) if objective.status == status
        ]
        if not own:
            continue
        marks = [_clip(used(objective, objective.estimate)) for _, objective in own]
        ends = [
            _clip(
                used(
                    objective,
                    objective.bound if objective.bound is not None else objective.estimate,
                )
            )
            for _, objective in own
        ]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": status,
                "x": marks,
                "y": [row for row, _ in own],
                "marker": {"symbol": symbol, "size": 11, "color": color},
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [max(0.0, end - mark) for mark, end in zip(marks, ends, strict=True)],
                    "arrayminus": [
                        max(0.0, mark - end) for mark, end in zip(marks, ends, strict=True)
                    ],
                    "color": color,
                    "thickness": 2,
                    "width": 6,
                },
                "text": [_objective_text(objective) for _, objective in own],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    name_style = {
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "yshift": 15,
        "showarrow": False,
        "font": {"color": "var(--ink)"},
    }
    names = [
        {**name_style, "y": row, "text": escape(objective.name)}
        for row, objective in enumerate(shown)
    ]
    limit = {
        "type": "line",
        "x0": 1,
        "x1": 1,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": "var(--ink)", "width": 2},
    }
    beyond = {
        "type": "rect",
        "x0": 1,
        "x1": AXIS_END,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "fillcolor": "var(--beyond)",
        "line": {"width": 0},
        "layer": "below",
    }
    ticks = [0, 0.5, 1, 1.5, 2]
    return {
        "data": traces,
        "layout": {
            "height": 110 + ROW_PIXELS * len(shown),
            "xaxis": {
                "range": [-0.04, AXIS_END + 0.06],
                "tickvals": ticks,
                "ticktext": ["0%", "50%", "limit", "150%", "200%+"],
                "zeroline": False,
            },
            "yaxis": {"range": [len(shown) - 0.5, -0.8], "visible": False},
            "annotations": names,
            "shapes": [beyond, limit],
            "hovermode": "closest",
        },
    }


def looks_chart(objectives: list[ObjectiveResult], looks: list[Look]) -> Figure:
    """How much of its limit the bound of each objective used at each look: what was still open at
    the first closes in on the estimate with more pairs.

    Args:
        objectives: all of the decision, whose order is that of the bounds of a look.
    """
    traces = []
    for number, objective in enumerate(objectives):
        points = [
            (look.pairs, used(objective, look.bounds[number]))
            for look in looks
            if number < len(look.bounds)
        ]
        if drawn := [(pairs, value) for pairs, value in points if value is not None]:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": escape(objective.name),
                    "x": [pairs for pairs, _ in drawn],
                    "y": [_clip(value) for _, value in drawn],
                    "line": {"width": 2},
                    "marker": {"symbol": number % len(SYMBOLS), "size": 8},
                    "hovertemplate": "%{y:.0%} of its limit after %{x:,} pairs",
                }
            )
    limit = {
        "type": "line",
        "x0": 0,
        "x1": 1,
        "xref": "paper",
        "y0": 1,
        "y1": 1,
        "line": {"color": "var(--ink)", "width": 2},
    }
    beyond = {
        "type": "rect",
        "x0": 0,
        "x1": 1,
        "xref": "paper",
        "y0": 1,
        "y1": AXIS_END,
        "fillcolor": "var(--beyond)",
        "line": {"width": 0},
        "layer": "below",
    }
    return {
        "data": traces,
        "layout": {
            "height": 320 + 18 * len(traces),
            "xaxis": {
                "title": title("pairs"),
                "tickvals": [look.pairs for look in looks],
                "zeroline": False,
            },
            "yaxis": {
                "range": [0, AXIS_END + 0.04],
                "tickvals": [0, 0.5, 1, 1.5, 2],
                "ticktext": ["0%", "50%", "limit", "150%", "200%+"],
            },
            "shapes": [beyond, limit],
            "hovermode": "closest",
        },
    }


def latency_chart(curves: dict[str, Curve], colors: dict[str, str]) -> Figure:
    """The share of requests that took at most so long, both colors, on a logarithmic axis in
    milliseconds.
    """
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": role_name(role, colors),
            "x": [float(f"{1e3 * seconds:.4g}") for seconds in curves[role].seconds],
            "y": curves[role].share,
            "line": {
                "shape": "hv",
                "dash": ROLE_LOOK[role][0],
                "color": _color(role, colors),
                "width": 2,
            },
            "hovertemplate": "%{y:.1%} within %{x:.4g} ms",
        }
        for role in ROLES
        if role in curves
    ]
    seconds = [second for curve in curves.values() for second in curve.seconds]
    ticks: dict[str, Any] = {"type": "linear"}
    # 1, 2 and 5 of each decade, or the decades alone where there are many
    if seconds and min(seconds) > 0:
        ticks = {"type": "log", "dtick": "D2" if max(seconds) / min(seconds) < 200 else 1}
    return {
        "data": traces,
        "layout": {
            "height": 300,
            "xaxis": {"title": title("milliseconds"), **ticks},
            "yaxis": {"title": title("share of requests"), "range": [0, 1.02], "tickformat": ".0%"},
            "hovermode": "closest",
        },
    }


def throughput_chart(
    blocks: list[ThroughputBlock], colors: dict[str, str], switched: float | None = None
) -> Figure:
    """Output tokens per second in each throughput window, in the order in which they ran.

    Args:
        switched: when the traffic moved, seconds after the first block. Drawn where it was, or at
            the edge when it was much later.
    """
    traces = []
    for role in ROLES:
        own = [block for block in blocks if block.role == role]
        if own:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": role_name(role, colors),
                    "x": [block.start for block in own],
                    "y": [float(f"{block.tokens_per_second:.5g}") for block in own],
                    "line": {"dash": ROLE_LOOK[role][0], "color": _color(role, colors), "width": 2},
                    "marker": {"symbol": ROLE_LOOK[role][1], "size": 9},
                    "hovertemplate": "%{y:,.0f} tokens/s",
                }
            )
    layout: dict[str, Any] = {
        "height": 300,
        "xaxis": {"title": title("seconds after the first block"), "zeroline": False},
        "yaxis": {"title": title("output tokens/s"), "rangemode": "tozero", "tickformat": ",~s"},
        "hovermode": "closest",
    }
    if switched is not None and blocks:
        edge = FARTHEST_SWITCH * max(1.0, *(block.start for block in blocks))
        at = min(max(switched, 0.0), edge)
        label = "the traffic moved" + (
            f" {formats.duration(switched - edge)} later" if switched > edge else ""
        )
        layout["shapes"] = [
            {
                "type": "line",
                "x0": at,
                "x1": at,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": {"color": "var(--ink)", "width": 2, "dash": "dash"},
            }
        ]
        layout["annotations"] = [
            {
                "x": at,
                "xanchor": "right",
                "xshift": -6,
                "y": 1,
                "yref": "paper",
                "yanchor": "top",
                "showarrow": False,
                "text": label,
            }
        ]
        layout["xaxis"]["range"] = [
            -0.03 * edge,
            1.03 * max(at, *(block.start for block in blocks)),
        ]
    return {"data": traces, "layout": layout}


def role_name(role: str, colors: dict[str, str]) -> str:
    """candidate (green)"""
    return f"{role} ({colors[role]})" if colors.get(role) else role


def _color(role: str, colors: dict[str, str]) -> str:
    """Both slots are drawn in their own color; two endpoints that are no slots as candidate and
    live usually are.
    """
    return f"var(--{colors.get(role) or NO_CANDIDATE_COLORS[role]})"


def _objective_text(objective: ObjectiveResult) -> str:
    lines = [
        f"<b>{escape(objective.name)}</b>: {objective.status}",
        (
            f"estimate {escape(formats.measured(objective, objective.estimate))}, bound"
            f" {escape(formats.measured(objective, objective.bound))}"
        ),
        f"must be {escape(objective.comparison)}",
    ]
    return "<br>".join(lines)


def title(text: str) -> dict[str, Any]:
    return {"text": text, "font": {"size": 12}}


def _clip(value: float | None) -> float:
    return min(max(value or 0.0, 0.0), AXIS_END)


def escape(text: str) -> str:
    return html.escape(text, quote=False)
