"""The charts of the report where there is no page around them that fills in its colors, as in
notebooks.
"""

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlight.report.charts import Figure

if TYPE_CHECKING:
    import plotly.graph_objects as go

_VARIABLE = re.compile(r"var\((--[a-z]+)\)")


def drawn(figure: Figure, title: str = "") -> "go.Figure":
    """A chart of `greenlight.report.charts` as a plotly figure, in the report's own colors for a
    light page.
    """
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
