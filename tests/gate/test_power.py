"""Pairs that an objective needs, and margins that pairs can show: the published figures, and what
simulated equal models say of them.
"""

import math

import numpy as np
import pytest
from typer.testing import CliRunner

from greenlight.cli.main import app
from greenlight.gate.calibration import calibrate
from greenlight.gate.objectives import Gate, load_gate
from greenlight.gate.power import Need, plan
from greenlight.gate.sentences import explain, explain_power, forecast
from greenlight.stats.estimates import proportion_difference
from greenlight.stats.latencies import share_over
from tests.gate.test_calibration import equal_runs


def gate(
    *objectives: str, benchmark: str = "{pairs: 2400, looks: 5, throughput_blocks: 12}"
) -> Gate:
    listed = "\n".join(f"  - {objective}" for objective in objectives)
    return load_gate(
        f"name: planned\nconfidence: 0.95\nobjectives:\n{listed}\nbenchmark: {benchmark}\n"
    )


def alone(objective: str, noise: float | None = None, **sizes: str) -> Need:
    judged = gate(objective, **sizes)
    (need,) = plan(judged, {judged.objectives[0].phrase: noise} if noise is not None else {})
    return need


@pytest.mark.parametrize(
    ("statistic", "noise", "limit", "pairs"),
    [
        ("p50", 0.32, 1.05, 485),
        ("p90", 0.58, 1.05, 1600),
        ("p95", 1.06, 1.05, 5300),
        ("p95", 1.06, 1.10, 1400),
    ],
)
def test_pairs_for_95_percent_power_at_equality(
    statistic: str, noise: float, limit: float, pairs: int
) -> None:
    need = alone(f"{{metric: e2e, statistic: {statistic}, scope: vs_live, max: {limit}}}", noise)
    assert need.needed == pytest.approx(pairs, rel=0.01)
    assert need.measured and need.enough == (pairs <= 2400)
    again = alone(
        f"{{metric: e2e, statistic: {statistic}, scope: vs_live, max: {need.resolvable}}}", noise
    )
    assert again.needed == pytest.approx(2400, abs=1), (
        "the resolvable limit is the one that takes exactly the budget"
    )


def test_more_objectives_need_more_pairs_and_one_look_needs_fewer() -> None:
    one, other = (
        "{metric: e2e, statistic: p50, scope: vs_live, max: 1.05}",
        "{metric: ttft, statistic: p50, scope: vs_live, max: 1.05}",
    )
    both = plan(gate(one, other))
    assert [need.measured for need in both] == [False, False]
    assert both[0].needed > alone(one).needed > alone(one, benchmark="{pairs: 2400}").needed


def test_a_share_over_an_slo_is_shown_by_the_planned_pairs() -> None:
    need = alone(
        "{metric: e2e, statistic: over_slo, slo: 1, scope: vs_live, max: 0.02}",
        0.04,
        benchmark="{pairs: 2400}",
    )
    random, shown = np.random.default_rng(1), 0
    for _ in range(400):
        kind = random.random(need.needed)
        candidate, live = (
            np.where((kind > low) & (kind < low + 0.02), 2.0, 0.5) for low in (0.1, 0.5)
        )
        shown += share_over(candidate, live, np.arange(need.needed) // 5, 1.0).below(0.02, 0.95)
    assert shown / 400 == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("failing", [0.0, 0.002, 0.02])
def test_an_error_rate_is_shown_by_the_planned_pairs(failing: float) -> None:
    need = alone(
        "{metric: error_rate, scope: vs_live, max: 0.01}", failing, benchmark="{pairs: 2400}"
    )
    random = np.random.default_rng(2)

    def shown(pairs: int) -> float:
        counts = random.binomial(pairs, failing, (300, 2))
        return float(
            np.mean(
                [
                    proportion_difference((int(one), pairs), (int(other), pairs), 0.95).high <= 0.01
                    for one, other in counts
                ]
            )
        )

    assert shown(need.needed) >= 0.92
    assert shown(need.needed // 2) < 0.9
    assert failing > 0 or need.needed == pytest.approx(
        math.log(0.025) / math.log(0.99), rel=0.02
    ), "none failed of n: about 3.7/n"


def test_throughput_is_planned_in_blocks() -> None:
    need = alone("{metric: output_tokens_per_second, scope: vs_live, min: 0.95}", 0.03)
    assert (need.unit, need.budget, need.enough) == ("throughput windows", 12, True)
    random = np.random.default_rng(3)
    ratios = random.normal(0, 0.03, (2000, need.needed))
    # Student's t, 7 degrees of freedom at most
    low = ratios.mean(axis=1) - 1.895 * ratios.std(axis=1, ddof=1) / math.sqrt(need.needed)
    assert (low >= math.log(0.95)).mean() >= 0.94


def test_what_an_equal_model_should_not_pass_is_not_planned() -> None:
    assert plan(gate("{metric: ttft, statistic: p50, scope: vs_live, better_by: 0.1}")) == []
    assert (
        plan(
            gate(
                "{metric: ttft, statistic: p50, scope: vs_live, max: 0.9}",
                "{metric: ttft, statistic: p50, max: 2}",
                "{metric: kl_mean, max: 1}",
            )
        )
        == []
    )
    assert explain_power(gate("{metric: kl_mean, max: 1}")) == []


def test_a_gate_says_what_it_cannot_see() -> None:
    (blind,) = explain_power(load_gate("quick"))
    assert "its 100 pairs are too few to promote an equal model" in blind
    assert "p50 of ITL, p50 of E2E at most 1.15x live (1.05x live needs 739 pairs)" in blind
    assert "at least 0.91x live (0.95x live needs 9 throughput windows)" in blind
    (sighted,) = explain_power(load_gate("default"))
    assert sighted.startswith("What it can show: at typical noise, its 2,400 pairs")
    assert (
        blind in explain(load_gate("quick"))
        and blind in CliRunner().invoke(app, ["gate", "explain", "quick"]).output
    )


def test_a_run_is_warned_beforehand() -> None:
    lines = forecast(load_gate("quick"), None)
    assert len(lines) == 2 and "`greenlight gate calibrate`" in lines[-1]
    assert (
        lines[0]
        == "p95 of ITL vs live will probably not pass, even for an equal model (one exactly as good"
        " as live): at typical noise it needs 2,123 pairs, and the gate measures 100. Raise"
        " benchmark.pairs, or allow 1.56x live. The same holds for 5 more of 11 objectives: see"
        " `greenlight gate explain`."
    )
    assert forecast(load_gate("default"), None) == []


def test_a_run_is_warned_by_its_own_calibration() -> None:
    judged = gate(
        "{metric: e2e, statistic: p95, scope: vs_live, max: 1.10}", benchmark="{pairs: 400}"
    )
    noisy = calibrate([equal_runs(400, tail=0.04)], judged, "s", "local", "r", "d", judged=40)
    assert not noisy.resolvable
    (line,) = forecast(judged, noisy)
    assert "at the measured noise of this service it needs" in line
    quiet = calibrate(
        [equal_runs(400, tail=0.0, sigma=0.02)], judged, "s", "local", "r", "d", judged=40
    )
    assert forecast(judged, quiet) == []
    assert (
        "at the measured noise of this service"
        in forecast(gate("{metric: e2e, statistic: p95, scope: vs_live, max: 1.0001}"), quiet)[0]
    )


@pytest.mark.parametrize(("failing", "enough"), [(0.0, True), (0.5, False), (1.0, True)])
def test_any_share_of_failures_can_be_planned(failing: float, enough: bool) -> None:
    need = alone("{metric: error_rate, scope: vs_live, max: 0.02}", failing)
    assert need.enough == enough and 0 < need.resolvable <= 1
