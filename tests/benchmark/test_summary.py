import numpy as np
import pytest

from greenlight.benchmark.samples import CollectedRequests, CountedBlock, Request, table_of
from greenlight.benchmark.summary import (
    find_bottleneck,
    measure_generator,
    percentiles,
    summarize_color,
)
from greenlight.benchmark.workload import Prices, Slo, Workload
from greenlight.core.records import GeneratorHealth
from tests.benchmark.test_samples import REQUEST

OPEN = Workload(arrivals="poisson", rate=10)


def request(pair: int, **changes: object) -> Request:
    values = {
        "phase": "pairs",
        "pair": pair,
        "block": pair // 5,
        "intended": float(pair),
        "sent": float(pair),
        "ttft": 0.1,
        "e2e": 0.4,
        "itls": [0.1] * 3,
    }
    from dataclasses import replace

    return replace(REQUEST, **(values | changes))  # type: ignore[arg-type]


def test_percentiles_and_nothing() -> None:
    assert percentiles(np.array([])) is None
    assert percentiles(np.array([np.nan, np.inf])) is None
    found = percentiles(np.arange(1.0, 102.0))
    assert found and (found.p50, found.p90, found.p99, found.mean, found.intervals) == (
        51,
        91,
        100,
        51,
        {},
    )


def test_intervals_cover_the_truth_also_when_neighbours_are_alike() -> None:
    random = np.random.default_rng(1)
    covered = {"p50": 0, "p95": 0}
    truth = {"p50": 0.0, "p95": 1.6449 * 2**0.5}
    for _ in range(400):
        blocks = np.repeat(np.arange(200), 5)
        found = percentiles(random.normal(size=200)[blocks] + random.normal(size=1000), blocks)
        assert found
        for name, true in truth.items():
            low, high = found.intervals[name]
            covered[name] += low <= true <= high
    assert min(covered.values()) >= 372, f"of 400 at 95%: {covered}"


def test_a_percentile_beyond_the_sample_has_no_upper_end() -> None:
    found = percentiles(np.arange(20.0), np.arange(20))
    assert found and found.intervals["p99"][1] == np.inf


def test_a_color() -> None:
    slow = [request(pair, ttft=0.9, e2e=1.2) for pair in range(8, 10)]
    failed = [request(10, ttft=float("nan"), e2e=0.1, itls=[], tokens_out=0, error="connect")]
    rows = (
        [request(pair) for pair in range(8)]
        + slow
        + failed
        + [request(0, phase="throughput"), request(1, role="candidate")]
    )
    block = CountedBlock(0, 0, 0, "live", "blue", 0.0, 2.0, 2000, 1000.0, 20, 0)
    workload = Workload(slo=Slo(ttft=0.5, itl=0.2), price_per_hour=Prices(candidate=1, live=0.9))
    found = summarize_color("live", None, table_of(Request, rows), [block], workload, servers=2)
    assert (found.requests, found.errors, found.output_tokens, found.output_tokens_per_second) == (
        12,
        1,
        44,
        1000,
    )
    assert found.errors_by_kind == {"connect": 1}
    assert found.goodput == pytest.approx(8 / 11), "neither the slow ones nor the failed one"
    assert found.goodput_per_second == pytest.approx(8 / 10.2)
    assert found.requests_per_second == pytest.approx(10 / 10.2)
    assert found.itl and found.tpot and found.gap and found.e2e
    assert (found.itl.p50, found.tpot.p50, found.gap.p99) == pytest.approx((0.1, 0.1, 0.1))
    assert found.e2e.p95 > 0.4
    assert (found.price_per_hour, found.cost_per_million_tokens) == pytest.approx((1.8, 0.5))


def test_nothing_was_measured() -> None:
    found = summarize_color("live", None, table_of(Request, []), [], Workload(), servers=1)
    assert (found.requests, found.ttft, found.goodput, found.cost_per_million_tokens) == (
        0,
        None,
        1,
        None,
    )


def test_a_generator_that_keeps_up() -> None:
    rows = [
        request(pair, role=role, lag=0.001) for pair in range(100) for role in ("candidate", "live")
    ]
    health = measure_generator(table_of(Request, rows), np.array([0.001] * 99 + [0.05]), OPEN, 2)
    assert (health.workers, health.asked_rate, health.achieved_rate) == (2, 1, 1)
    assert (health.send_lag_p99, health.loop_lag_p50, health.loop_lag_max) == pytest.approx(
        (0.001, 0.001, 0.05)
    )
    assert find_bottleneck(health) == ""
    assert find_bottleneck(measure_generator(table_of(Request, []), np.array([]), OPEN, 1)) == ""


def test_a_generator_that_falls_behind() -> None:
    assert "1% of requests were sent 12.0 ms or more after they were due" in find_bottleneck(
        GeneratorHealth(send_lag_p99=0.012)
    )
    assert "it sent 98 of 100 requests per second" in find_bottleneck(
        GeneratorHealth(asked_rate=100, achieved_rate=98)
    )
    rows = [request(pair, lag=0.02 * pair) for pair in range(100)]
    health = measure_generator(table_of(Request, rows), np.array([]), OPEN, 1)
    assert health.achieved_rate == pytest.approx(1 / 1.02)


def test_what_progress_counts() -> None:
    from dataclasses import asdict

    collected = CollectedRequests(sides=2)
    for pair, role, error in [
        (0, "live", ""),
        (2, "live", ""),
        (2, "candidate", "connect"),
        (0, "candidate", ""),
        (1, "live", ""),
    ]:
        collected.add([asdict(request(pair, role=role, error=error, endpoint=role))])
    assert (collected.rows, collected.failed, collected.pairs, collected.first_pairs) == (
        5,
        1,
        2,
        1,
    )
    collected.add([asdict(request(1, role="candidate", endpoint="candidate", error="connect"))])
    assert (collected.pairs, collected.first_pairs, collected.table().num_rows) == (3, 3, 6)
    assert (collected.find_gone_endpoint(2), collected.find_gone_endpoint(3)) == ("", "")
    collected.add([asdict(request(3, role="candidate", endpoint="candidate", error="connect"))])
    assert collected.find_gone_endpoint(2) == "candidate"
