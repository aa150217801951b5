"""The figures: what plotly says of them, and what they show."""

import json
import math

import pytest

from greenlight.core.records import Look
from greenlight.report.chart_data import CURVE_POINTS, Curve, ThroughputBlock
from greenlight.report.charts import (
    drawable,
    latency_chart,
    looks_chart,
    objectives_chart,
    throughput_chart,
    used,
)
from tests.report.made_samples import objective, passing

LOOKS = [(720, 2.4), (1260, 1.2), (2400, 0.9)]
COLORS = {"candidate": "green", "live": "blue"}


def checked(figure: dict) -> dict:
    """The figure, after plotly has accepted every name and value in it. Colors from the style sheet
    stand in as red.
    """
    import plotly.graph_objects as go

    def filled(value: object) -> object:
        if isinstance(value, str) and value.startswith("var("):
            return "red"
        if isinstance(value, list):
            return [filled(one) for one in value]
        return (
            {key: filled(one) for key, one in value.items()} if isinstance(value, dict) else value
        )

    go.Figure(filled(figure))
    json.dumps(figure, allow_nan=False)
    return figure


def test_objectives_are_drawn_in_units_of_their_limits() -> None:
    objectives = [
        *passing(),
        objective("worse", "kl_mean", 0.06, math.inf, 0.05, "fail"),
        objective("unclear", "kl_mean", 0.04, 0.07, 0.05, "inconclusive"),
    ]
    figure = checked(objectives_chart(objectives))
    assert [trace["name"] for trace in figure["data"]] == ["pass", "fail", "inconclusive"]
    assert len({trace["marker"]["symbol"] for trace in figure["data"]}) == 3  # not by color alone
    ok, failed, unclear = figure["data"]
    assert all(
        mark + reach <= 1 for mark, reach in zip(ok["x"], ok["error_x"]["array"], strict=True)
    )
    # infinite: drawn to the edge
    assert failed["x"] == [pytest.approx(1.2)] and failed["error_x"]["array"] == [
        pytest.approx(0.8)
    ]
    assert unclear["x"][0] < 1 < unclear["x"][0] + unclear["error_x"]["array"][0]


def test_how_much_of_its_limit_a_value_uses() -> None:
    at_most, at_least = (
        objective("KL", "kl_mean", 0.01, 0.02, 0.05),
        objective("rate", "rate", 4.0, 3.8, 0.95, comparison=">= 0.95x live"),
    )
    assert used(at_most, 0.02) == pytest.approx(0.4)
    assert used(at_least, 3.8) == pytest.approx(0.25)
    assert used(at_least, 0.0) == math.inf
    assert used(at_most, None) is None
    assert drawable(
        [
            at_most,
            objective("none", "kl_mean", 0.0, 0.0, 0.0),
            objective("unmeasured", "kl_mean", None, None, 0.05),
        ]
    ) == [at_most]


def test_latencies_and_throughput() -> None:
    curves = {"candidate": Curve([0.001, 0.002], [0.5, 1.0]), "live": Curve([0.004], [1.0])}
    figure = checked(latency_chart(curves, COLORS))
    assert figure["layout"]["xaxis"]["type"] == "log"
    assert [trace["line"]["color"] for trace in figure["data"]] == ["var(--green)", "var(--blue)"]
    assert len({trace["line"]["dash"] for trace in figure["data"]}) == 2
    swapped = checked(latency_chart(curves, {"candidate": "blue", "live": "green"}))
    assert [(trace["name"], trace["line"]["color"]) for trace in swapped["data"]] == [
        ("candidate (blue)", "var(--blue)"),
        ("live (green)", "var(--green)"),
    ]
    assert (
        checked(latency_chart({"candidate": Curve([0.0, 0.1], [0.5, 1])}, {}))["layout"]["xaxis"][
            "type"
        ]
        == "linear"
    )
    assert (
        checked(throughput_chart([ThroughputBlock("candidate", 0, 0.0, 2400.4, 0)], {}))["data"][0][
            "name"
        ]
        == "candidate"
    )


def test_bounds_close_in_from_look_to_look() -> None:
    objectives = [*passing()[:2], objective("unmeasured", "kl_mean", None, None, 0.05)]
    looks = [
        Look(
            pairs=pairs,
            fraction=0.5,
            passed=0,
            failed=0,
            verdict="inconclusive",
            bounds=[0.05 * share, 1.03 * share, None],
        )
        for pairs, share in LOOKS
    ]
    figure = checked(looks_chart(objectives, looks))
    assert [trace["name"] for trace in figure["data"]] == ["mean KL divergence", "perplexity ratio"]
    # the first is beyond the edge
    assert figure["data"][0]["x"] == [720, 1260, 2400] and figure["data"][0]["y"] == pytest.approx(
        [2.0, 1.2, 0.9]
    )
    assert (
        looks_chart(objectives, [look.model_copy(update={"bounds": []}) for look in looks])["data"]
        == []
    ), "a record of before there were bounds"


def test_the_switch_is_marked() -> None:
    blocks = [
        ThroughputBlock("candidate", 0, 0.0, 2400, 0),
        ThroughputBlock("live", 0, 10.0, 600, 0),
    ]
    within = checked(throughput_chart(blocks, COLORS, 12.0))["layout"]
    assert (
        within["shapes"][0]["x0"] == 12.0
        and within["annotations"][0]["text"] == "the traffic moved"
    )
    later = checked(throughput_chart(blocks, COLORS, 76.0))["layout"]
    assert later["shapes"][0]["x0"] == 16.0 and later["annotations"][0][
        "text"
    ] == "the traffic moved 1 min 0 s later".replace("1 min 0 s", "60\N{NO-BREAK SPACE}s")
    assert "shapes" not in throughput_chart(blocks, COLORS)["layout"]


def test_a_curve_is_the_distribution() -> None:
    import numpy as np

    from greenlight.report.chart_data import _curve

    values = np.random.default_rng(1).lognormal(size=5000)
    values[:50] = np.inf
    curve = _curve(values)
    assert len(curve.seconds) == CURVE_POINTS
    assert curve.share[-1] == 0.99
    for seconds, share in zip(curve.seconds[::50], curve.share[::50], strict=True):
        assert float((values <= seconds * 1.001).mean()) == pytest.approx(share, abs=0.002)
    assert _curve(np.array([np.inf, np.inf])).seconds == []
    assert _curve(np.array([2.0])) == Curve([2.0], [1.0])
