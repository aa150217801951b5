"""Live against itself: the noise that is found is the one that was put in, and what is called
resolvable is.
"""

import math

import numpy as np
import pytest

from greenlight.core.errors import GreenlightError
from greenlight.gate.calibration import calibrate, keep_calibratable, measure_noises, pool_runs
from greenlight.gate.evidence import Pairs
from greenlight.gate.measurements import Samples
from greenlight.gate.objectives import Gate, load_gate

GATE = """
name: own
confidence: 0.95
objectives:
  - {metric: kl_mean, max: 0.05}
  - {metric: e2e, statistic: p50, scope: vs_live, max: 1.05}
  - {metric: e2e, statistic: p95, scope: vs_live, max: P95}
  - {metric: e2e, statistic: p50, scope: vs_live, better_by: 0.1, name: faster}
  - {metric: e2e, statistic: p50, max: 10}
  - {metric: e2e, statistic: over_slo, slo: 3, scope: vs_live, max: 0.05}
  - {metric: output_tokens_per_second, scope: vs_live, min: 0.95}
  - {metric: error_rate, scope: vs_live, max: 0.02}
benchmark: {pairs: 1000, looks: 2, throughput_blocks: 12}
"""


def gate(p95: float = 1.3) -> Gate:
    return load_gate(GATE.replace("P95", str(p95)))


def equal_runs(
    pairs: int, tail: float = 0.01, sigma: float = 0.1, failing: float = 0.0, seed: int = 0
) -> Samples:
    random = np.random.default_rng(seed)
    shared = random.normal(0, 0.22, pairs)
    values, failed = {}, {}
    for role in ("candidate", "live"):
        fails = random.random(pairs) < failing
        slow = np.where(random.random(pairs) < tail, 5.0, 1.0)
        values[role] = np.where(
            fails, np.inf, np.exp(shared + random.normal(0, sigma, pairs)) * slow
        )
        failed[role] = int(fails.sum())
    rates = {role: np.exp(random.normal(0, 0.02, 12)) for role in values}
    counts = {role: (failed[role], pairs + 50) for role in values}
    return Samples(
        pairs=Pairs({"e2e": values}, np.arange(pairs) // 5, failed), counts=counts, rates=rates
    )


def test_the_noise_is_the_spread_of_the_estimates() -> None:
    """c from one run, against the standard deviation of the estimates of many runs."""
    runs = [equal_runs(1000, seed=seed) for seed in range(200)]
    found = [measure_noises(run, gate()) for run in runs[:20]]
    for share, phrase in ((0.5, "p50 of E2E"), (0.95, "p95 of E2E")):
        pairs = [run.pairs for run in runs if run.pairs]
        assert len(pairs) == len(runs)
        logs = [
            math.log(
                np.quantile(each.latencies["e2e"]["candidate"], share)
                / np.quantile(each.latencies["e2e"]["live"], share)
            )
            for each in pairs
        ]
        assert np.median([each[phrase] for each in found]) == pytest.approx(
            np.std(logs) * math.sqrt(1000), rel=0.15
        )
    assert np.mean([each["output tokens/s"] for each in found]) == pytest.approx(
        0.02 * math.sqrt(2), rel=0.1
    )
    failing = measure_noises(equal_runs(2000, failing=0.02), gate())
    assert failing["error rate"] == pytest.approx(0.02, abs=0.005)
    assert set(failing) == {
        "p50 of E2E",
        "p95 of E2E",
        "share of E2E over 3000 ms",
        "output tokens/s",
        "error rate",
    }


def test_what_is_resolvable_is_promoted() -> None:
    record = calibrate([equal_runs(1000)], gate(), "s", "local", "r", "d", judged=100)
    assert record.resolvable and record.promoted >= 0.97 and record.rejected <= 0.05
    assert record.reason.startswith("resolvable: an equal model is promoted in about ")
    assert (record.judged, record.pairs, record.runs, record.budget) == (100, 1000, 1, 1000)
    assert (
        0.5 <= record.pairs_used <= 1
        and record.promoted + record.rejected + record.inconclusive == pytest.approx(1)
    )
    promoted = sum(
        calibrate(
            [equal_runs(1000, seed=seed)], gate(), "s", "local", "r", "d", judged=20
        ).resolvable
        for seed in range(1, 6)
    )
    assert promoted >= 4


def test_what_is_not_names_the_worst_objective() -> None:
    record = calibrate([equal_runs(1000)], gate(p95=1.01), "s", "local", "r", "d", judged=50)
    assert not record.resolvable and record.promoted < 0.5
    assert (
        "not resolvable: with 1,000 pairs this gate promotes an equal model in only"
        in record.reason
        and "p95 of E2E vs live" in record.reason
    )
    tail = next(each for each in record.objectives if each.phrase == "p95 of E2E")
    assert (
        tail.needed
        and tail.resolvable
        and tail.needed > 1000
        and 1.01 < tail.resolvable < 1.3
        and not tail.enough
    )


def test_bursts_are_not_taken_for_independent_requests() -> None:
    """Bursts that hit one color at a time, of which a calibration that took single pairs for the
    unit would know nothing.
    """
    quiet = equal_runs(1000, tail=0.0)
    assert quiet.pairs
    random = np.random.default_rng(5)
    for start in range(0, 1000, 50):
        quiet.pairs.latencies["e2e"][str(random.choice(["candidate", "live"]))][
            start : start + 5
        ] *= 5
    alone = measure_noises(equal_runs(1000, tail=0.0), gate())["share of E2E over 3000 ms"]
    assert measure_noises(quiet, gate())["share of E2E over 3000 ms"] > alone + 0.2, (
        "20 bursts of 5 pairs vary as 500 single discordant pairs do"
    )


def test_quality_and_better_than_live_are_left_out() -> None:
    assert [
        each.title
        for each in keep_calibratable(gate()).objectives
        if each.metric == "kl_mean" or each.title == "faster"
    ] == []
    with pytest.raises(GreenlightError, match="has no objective that compares with live"):
        keep_calibratable(
            load_gate("name: q\nconfidence: 0.95\nobjectives: [{metric: kl_mean, max: 1}]\n")
        )


def test_runs_are_pooled() -> None:
    one, other = equal_runs(100, failing=0.1), equal_runs(50, seed=1)
    both = pool_runs([one, other])
    assert both.pairs and one.pairs and both.counts and both.rates
    assert len(both.pairs) == 150 and both.pairs.failed == one.pairs.failed
    assert list(np.unique(both.pairs.blocks)) == list(range(30))
    assert both.counts["live"] == (one.pairs.failed["live"], 250) and len(both.rates["live"]) == 24


def test_failures_keep_a_gate_from_promoting() -> None:
    assert (
        calibrate(
            [equal_runs(1000, failing=0.05)], gate(), "s", "local", "r", "d", judged=40
        ).promoted
        < 0.5
    )


def test_what_cannot_be_measured_falls_short() -> None:
    record = calibrate([equal_runs(1000, failing=0.6)], gate(), "s", "local", "r", "d", judged=10)
    tail = next(each for each in record.objectives if each.phrase == "p95 of E2E")
    assert (tail.noise, tail.enough) == (None, False) and not record.resolvable
