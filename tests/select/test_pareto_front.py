"""Which candidates no other beats, and which of them a gate takes."""

import pytest

from greenlight.core.records import Contender, Metric, Speed
from greenlight.select.pareto_front import AXES, choose_best, pareto_front

MB = 1_000_000


def contender(
    name: str, kl: float, rate: float | None = 100.0, megabytes: int = 10, cost: float | None = None
) -> Contender:
    speed = (
        Speed(
            engine="openvino",
            tokens_per_second=rate,
            concurrency=8,
            load_seconds=1,
            memory_bytes=megabytes * 20 * MB,
        )
        if rate
        else None
    )
    metric = Metric(value=kl, low=kl * 0.9, high=kl * 1.1)
    return Contender(
        name=name,
        status="passed",
        reason="",
        kl=metric,
        bytes=megabytes * MB,
        speed=speed,
        cost_per_million_tokens=cost,
    )


BIG = contender("big", 0.001, rate=50, megabytes=16, cost=3.0)
GOOD = contender("good", 0.002, rate=100, megabytes=9, cost=1.5)
SMALL = contender("small", 0.02, rate=104, megabytes=4, cost=1.4)
BEATEN = contender("beaten", 0.003, rate=90, megabytes=9, cost=1.6)
ALL = [SMALL, BEATEN, GOOD, BIG]


def names(found: list[Contender]) -> list[str]:
    return [each.name for each in found]


@pytest.mark.parametrize("prefer", ["speed", "memory", "size", "cost"])
def test_the_front_is_what_no_other_is_better_than_in_both(prefer: str) -> None:
    assert names(pareto_front(ALL, AXES[prefer])) == ["small", "good", "big"]


CHOICES = {
    ("speed", 0): "small",
    ("speed", 0.05): "good",
    ("speed", 0.6): "big",
    ("size", 0.05): "small",
    ("memory", 0): "small",
    ("cost", 0): "small",
    ("cost", 0.08): "good",
    ("quality", 0.05): "big",
}


@pytest.mark.parametrize(("prefer", "within"), CHOICES)
def test_quality_decides_among_those_that_are_as_good_as_the_best(
    prefer: str, within: float
) -> None:
    axis = AXES[prefer]
    assert choose_best(pareto_front(ALL, axis), axis, within).name == CHOICES[prefer, within]


def test_equals_are_both_on_the_front_and_the_first_is_taken() -> None:
    twins = [contender("a", 0.01), contender("b", 0.01)]
    assert names(pareto_front(twins, AXES["speed"])) == ["a", "b"]
    assert choose_best(twins, AXES["speed"], 0).name == "a"


def test_what_was_not_measured_is_worse_than_anything_that_was() -> None:
    unknown = contender("unknown", 0.02, rate=None)
    assert names(pareto_front([unknown, GOOD], AXES["speed"])) == ["good"]
    better = contender("better", 0.001, rate=None)
    assert choose_best(pareto_front([better, GOOD], AXES["speed"]), AXES["speed"], 0.5) is GOOD
    assert choose_best([better], AXES["speed"], 0) is better
    assert AXES["speed"].show(better) == "not measured"
