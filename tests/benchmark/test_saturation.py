"""The search for the highest rate, on servers whose capacity is known. test_loads.py searches on a
real one.
"""

import io

import pytest
from rich.console import Console

from greenlight.benchmark import saturation
from greenlight.benchmark.saturation import (
    CLOSE_ENOUGH,
    TRIES,
    Probe,
    Saturation,
    find_saturation,
    saturation_table,
)
from greenlight.benchmark.workload import Slo, Workload

WORKLOAD = Workload(slo=Slo(ttft=0.5))


def probe(rate: float, kept: bool, limited: str = "") -> Probe:
    return Probe(
        rate=rate,
        achieved_rate=rate,
        goodput=1.0 if kept else 0.5,
        ttft_p95=0.1,
        itl_p95=None,
        e2e_p95=None,
        errors=0,
        kept=kept,
        limited=limited,
    )


def search(
    monkeypatch: pytest.MonkeyPatch,
    capacity: float,
    most: float = 1000.0,
    limit: float = float("inf"),
) -> Saturation:
    """Of a server that keeps its SLO up to `capacity`, by a generator that reaches `limit`."""
    monkeypatch.setattr(
        saturation,
        "_probe",
        lambda endpoints, workload, rate, seconds: probe(
            rate, rate <= min(capacity, limit), "the generator is slow" if rate > limit else ""
        ),
    )
    return find_saturation(["http://a"], WORKLOAD, start=1.0, most=most, seconds=1.0)


@pytest.mark.parametrize("capacity", [0.3, 1.0, 7.0, 100.0, 612.5])
def test_the_rate_is_within_a_tenth_below_the_capacity(
    monkeypatch: pytest.MonkeyPatch, capacity: float
) -> None:
    found = search(monkeypatch, capacity)
    assert found.bounded and not found.limited
    assert capacity / CLOSE_ENOUGH <= found.rate <= capacity
    assert len(found.probes) <= 20


def test_a_server_that_keeps_up_to_the_highest_rate_is_not_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = search(monkeypatch, capacity=5000, most=48)
    assert (found.rate, found.bounded) == (48, False)
    assert found.limited == "the highest rate asked for is 48"
    assert max(each.rate for each in found.probes) == 48


def test_a_server_that_never_keeps_the_slo_has_rate_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    found = search(monkeypatch, capacity=0)
    assert (found.rate, found.bounded) == (0, True)


def test_a_generator_that_cannot_keep_up_is_tried_again_and_then_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = search(monkeypatch, capacity=5000, limit=10)
    assert (found.rate, found.bounded, found.limited) == (8, False, "the generator is slow")
    assert [each.rate for each in found.probes] == [1, 2, 4, 8] + [16] * TRIES


def test_the_table_orders_the_rates_and_says_what_limited_them() -> None:
    found = Saturation(
        rate=2, bounded=False, limited="out of users", probes=[probe(4, False), probe(2, True)]
    )
    page = Console(file=io.StringIO(), width=140)
    page.print(saturation_table({"green": found}, Slo(ttft=0.5)))
    assert isinstance(page.file, io.StringIO)
    shown = page.file.getvalue()
    assert "95% of requests within ttft 500 ms" in shown
    assert shown.index("100.0%") < shown.index("50.0%") < shown.index("at least (out of users)")
