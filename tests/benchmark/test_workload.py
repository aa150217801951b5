import random
import statistics

import pytest

from greenlight.benchmark.plan import Plan
from greenlight.benchmark.workload import (
    Lengths,
    Workload,
    load_workload,
    users_needed,
    workers_used,
)
from greenlight.core.errors import InputError
from greenlight.core.yaml_file import shipped


def test_the_shipped_workloads() -> None:
    assert shipped("workloads") == ["chat", "code", "short", "summarize"]
    assert [load_workload(name).name for name in shipped("workloads")] == shipped("workloads")
    assert load_workload("short") == Workload()
    chat = load_workload("chat", prompts="mine.jsonl")
    assert (chat.open_loop, chat.prompts, chat.slo.limits) == (
        True,
        "mine.jsonl",
        {"ttft": 0.5, "itl": 0.05},
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{arrivals: poisson}", "arrivals poisson needs rate:"),
        ("{arrivals: poisson, rate: 0}", "rate is 0"),
        ("{arrivals: poisson, rate: .nan}", "rate is nan"),
        ("{arrivals: poisson, rate: yes}", "rate is True: a number is needed"),
        ("{arrivals: sometimes}", "arrivals is 'sometimes'"),
        ("{rate: 5}", "rate belongs to arrivals: poisson or constant, not to closed"),
        ("{arrivals: constant, stages: [{seconds: 5}]}", "each stage of open loop needs rate:"),
        ("{stages: [{seconds: 5, rate: 3}]}", "each stage of closed loop needs users:"),
        ("{arrivals: trace}", "trace and trace: belong together"),
        ("{arrivals: trace, trace: a.jsonl, output_tokens: 5}", "a trace says itself"),
        ("{ratee: 5}", "ratee: no such key; did you mean rate?"),
        ("{output_tokens: {distribution: lognormal, mean: 100}}", "lognormal needs sd"),
        ("{output_tokens: {distribution: uniform, min: 4}}", "uniform lies between min and max"),
        ("{output_tokens: {mean: 5, min: 9, max: 7}}", "min must be the smaller one"),
        ("{output_tokens: 0}", "mean is 0 and must lie between"),
        ("{slo: {ttft: -1}}", "slo.ttft is -1"),
        ("{name: a, name: b}", "the key 'name' is there twice"),
        ("{price_per_hour: {live: 1}}", "price_per_hour.candidate: is missing"),
        ("nothing.yaml", "there is no such file"),
        ("chatt", "did you mean chat?"),
    ],
)
def test_a_bad_workload_names_the_field(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        load_workload(text)
    assert says in str(caught.value)
    assert caught.value.field == "workload"


@pytest.mark.parametrize(
    "lengths",
    [
        Lengths(distribution="lognormal", mean=150, sd=120),
        Lengths(distribution="normal", mean=150, sd=30),
        Lengths(distribution="uniform", min=100, max=200),
        Lengths.model_validate(150),
    ],
)
def test_lengths_have_their_mean(lengths: Lengths) -> None:
    drawn = [lengths.draw(source) for source in [random.Random(1)] for _ in range(20_000)]
    assert statistics.mean(drawn) == pytest.approx(150, rel=0.03)
    assert statistics.pstdev(drawn) == pytest.approx(
        lengths.sd if lengths.distribution != "uniform" else 100 / 12**0.5, rel=0.06
    )
    assert lengths.min <= min(drawn) and max(drawn) <= lengths.largest


def test_lengths_are_cut_to_their_bounds() -> None:
    drawn = [
        Lengths(distribution="lognormal", mean=50, sd=50, min=20, max=60).draw(source)
        for source in [random.Random(1)]
        for _ in range(1000)
    ]
    assert (min(drawn), max(drawn)) == (20, 60)


def test_users_and_workers() -> None:
    assert users_needed(Plan(users=3, concurrency=8), Workload()) == 8
    assert users_needed(Plan(), Workload(arrivals="poisson", rate=1)) == 256
    assert workers_used(Plan(users=1), Workload(workers=4)) == 1, (
        "a worker without a user would never send its pairs"
    )
    assert workers_used(Plan(users=1), Workload(workers=4, arrivals="poisson", rate=5)) == 4


def test_having_another_rate() -> None:
    assert Workload().having(rate=3) == Workload(rate=3, arrivals="poisson")
    assert load_workload("chat").having(rate=7, workers=2).rated[0].rate == 7
    with pytest.raises(InputError, match="workers"):
        Workload().having(workers=0)
