"""The sweep of a run: every candidate with its figures, the front as a chart, and why the winner
won.
"""

from greenlight.core import formats
from greenlight.core.history import RunRecords
from greenlight.core.records import Contender, Selection
from greenlight.report.charts import Figure, escape, title
from greenlight.report.metric_labels import metric_label
from greenlight.report.page_parts import Cell, Row
from greenlight.select.pareto_front import AXES, Axis

LOOKS = {  # of a contender: symbol, color, mark in the table
    "chosen": ("star", "var(--good)", "★"),
    "passed": ("circle", "var(--ink)", "✓"),
    "refused": ("x", "var(--bad)", "✗"),
    "failed": ("x", "var(--bad)", "!"),
}
COLUMNS = [
    "Candidate",
    "Result",
    f"{metric_label('kl_mean').label}, nats",
    "Size",
    metric_label("output_tokens_per_second").label,
    "Memory",
    f"{metric_label('cost_per_million_tokens').label}, USD",
]


def sweep_of(run: RunRecords) -> Selection | None:
    """The selection, where there was something to select from."""
    return run.selection if run.selection and len(run.selection.contenders) > 1 else None


def sweep_rows(selection: Selection) -> list[Row]:
    """A line per candidate, with the reason under its name."""
    rows = []
    for each in selection.contenders:
        look = {
            "chosen": "status pass",
            "passed": "",
            "refused": "status fail",
            "failed": "status fail",
        }[each.status]
        result = Cell(
            each.status,
            mark=LOOKS[each.status][2],
            look=look,
            note="on the front" if each.on_front else "",
        )
        kl = (
            Cell(
                formats.number(each.kl.value, 3),
                note=f"{formats.number(each.kl.low, 3)} to {formats.number(each.kl.high, 3)}",
            )
            if each.kl
            else formats.MISSING
        )
        speed = each.speed
        cells: list[str | Cell] = [
            result,
            kl,
            formats.size(each.bytes) if each.bytes else formats.MISSING,
        ]
        cells += (
            [formats.number(speed.tokens_per_second, 3), formats.size(speed.memory_bytes)]
            if speed
            else [formats.MISSING] * 2
        )
        cells.append(
            formats.number(each.cost_per_million_tokens, 3)
            if each.cost_per_million_tokens is not None
            else formats.MISSING
        )
        rows.append(Row(each.name, cells, each.reason))
    return rows


def front_words(selection: Selection) -> str:
    """The chart in words, for readers who do not see it."""
    axis = _axis(selection)
    parts = [
        f"{each.name}, {each.status}: {formats.number(each.kl.value, 3)} nats, {axis.show(each)}"
        for each in _drawn(selection, axis)
        if each.kl
    ]
    return f"Mean KL divergence against {axis.label}. " + "; ".join(parts)


def front_chart(selection: Selection) -> Figure:
    """Quality across, what the gate prefers upwards; a line through the front. Those that could not
    be scored have no place in it.
    """
    axis = _axis(selection)
    drawn = _drawn(selection, axis)
    front = sorted(
        (each for each in drawn if each.on_front),
        key=lambda each: each.kl.value if each.kl else 0.0,
    )
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "front",
        "hoverinfo": "skip",
        "line": {"color": "var(--ink)", "width": 1, "dash": "dot"},
    }
    traces = [line | _points(front, axis)] if len(front) > 1 else []
    for status, (symbol, color, _) in LOOKS.items():
        own = [each for each in drawn if each.status == status]
        if own:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers+text",
                    "name": status,
                    **_points(own, axis),
                    "text": [escape(each.name) for each in own],
                    "textposition": "top center",
                    "marker": {
                        "symbol": symbol,
                        "size": 13 if status == "chosen" else 10,
                        "color": color,
                    },
                    "error_x": {
                        "type": "data",
                        "symmetric": False,
                        "array": [each.kl.high - each.kl.value for each in own if each.kl],
                        "arrayminus": [each.kl.value - each.kl.low for each in own if each.kl],
                        "color": color,
                        "width": 5,
                    },
                    "hovertemplate": "%{text}: KL %{x:.4g} nats, %{y:.4g} "
                    + axis.unit
                    + "<extra></extra>",
                }
            )
    divergences = [each.kl.value for each in drawn if each.kl]
    scale = "log" if divergences and min(divergences) > 0 else "linear"
    return {
        "data": traces,
        "layout": {
            "height": 360,
            "xaxis": {
                "title": title("mean KL divergence, nats (less is better)"),
                "type": scale,
                "tickformat": "~g",
                "zeroline": False,
            },
            "yaxis": {
                "title": title(f"{axis.unit} ({'more' if axis.higher else 'less'} is better)"),
                "rangemode": "tozero",
            },
            "hovermode": "closest",
        },
    }


def _points(contenders: list[Contender], axis: Axis) -> dict[str, list[float | None]]:
    return {
        "x": [each.kl.value if each.kl else None for each in contenders],
        "y": [axis.value(each) for each in contenders],
    }


def _axis(selection: Selection) -> Axis:
    """What the gate prefers; where that is quality itself, speed beside it."""
    return AXES["speed" if selection.prefer in ("", "quality") else selection.prefer]


def _drawn(selection: Selection, axis: Axis) -> list[Contender]:
    return [each for each in selection.contenders if each.kl and axis.value(each) is not None]
