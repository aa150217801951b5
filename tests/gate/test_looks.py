"""Planned looks: the boundaries, where a run ends, and that looking more often does not promote
more.
"""

from pathlib import Path

import numpy as np
import pytest
from scipy import special

from greenlight.core.errors import InputError
from greenlight.gate.evidence import Pairs
from greenlight.gate.judge import judge
from greenlight.gate.measurements import Samples
from greenlight.gate.objectives import Gate, load_gate
from greenlight.gate.verdict import Judgement, judge_samples
from greenlight.stats.sequential import look_errors
from tests.gate.artifacts import DEPLOYMENT, World, make_artifacts

GATE = """
name: looks
confidence: 0.95
objectives:
  - {metric: e2e, statistic: p50, scope: vs_live, max: 1.05}
  - {metric: e2e, statistic: p95, scope: vs_live, max: 1.10}
benchmark: {pairs: 1000, looks: LOOKS}
"""


def gate(looks: str = "5") -> Gate:
    return load_gate(GATE.replace("LOOKS", looks))


def samples(seed: int, slower: float, pairs: int = 1000, doubt: str = "") -> Samples:
    random = np.random.default_rng(seed)
    shared = random.normal(0, 0.22, pairs)
    candidate, live = (np.exp(shared + random.normal(0, 0.11, pairs)) for _ in range(2))
    latencies = {"e2e": {"candidate": candidate * slower, "live": live}}
    found = Pairs(latencies, np.arange(pairs) // 5, {"candidate": 0, "live": 0})
    return Samples(pairs=found, doubt=doubt)


def test_the_boundaries_are_those_published() -> None:
    """Jennison and Turnbull (2000) and gsdesign give these for five even looks."""
    errors = look_errors((0.2, 0.4, 0.6, 0.8, 1.0), 0.05)
    assert -special.ndtri(errors) == pytest.approx([4.229, 2.888, 2.298, 1.962, 1.740], abs=6e-4)
    assert look_errors((1.0,), 0.05) == (0.05,)
    assert look_errors((0.5, 1.0), 0.05)[1] < 0.05
    with pytest.raises(ValueError, match="must rise"):
        look_errors((0.5, 0.5), 0.05)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 12])
def test_all_looks_together_keep_the_error(alpha: float) -> None:
    fractions = (0.1, 0.45, 0.7, 1.0)
    bounds = -special.ndtri(look_errors(fractions, alpha))
    steps = np.random.default_rng(1).normal(size=(400_000, 4)) * np.sqrt(np.diff((0, *fractions)))
    crossed = (np.cumsum(steps, axis=1) / np.sqrt(fractions) >= bounds).any(axis=1).mean()
    assert crossed == pytest.approx(alpha, abs=4 * np.sqrt(alpha / 400_000))


def test_a_clear_candidate_ends_early() -> None:
    better, worse = judge_samples(samples(0, 0.7), gate()), judge_samples(samples(0, 1.5), gate())
    assert (better.verdict, better.looks[-1].pairs) == ("promote", 400)
    assert (worse.verdict, worse.looks[-1].pairs) == ("reject", 200)
    assert "(look 1 of 5)" in worse.reason


def test_one_look_is_what_it_was() -> None:
    alone = judge_samples(samples(3, 1.0), gate("1"))
    assert [look.pairs for look in alone.looks] == [1000]
    assert load_gate("quick").benchmark.look_pairs == (100,)
    assert load_gate("default").benchmark.look_pairs == (720, 1260, 1620, 1980, 2400)


def test_looking_more_often_promotes_no_more_bad_ones() -> None:
    verdicts = [judge_samples(samples(seed, 1.05), gate("10")).verdict for seed in range(300)]
    assert verdicts.count("promote") / 300 < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)


def test_a_run_cut_short_is_looked_at_but_never_promoted() -> None:
    def cut(slower: float, pairs: int) -> Judgement:
        return judge_samples(samples(0, slower, pairs, "it was cut short"), gate())

    assert cut(0.7, 555).verdict == "inconclusive" and cut(0.7, 3).verdict == "inconclusive"
    assert cut(1.5, 555).verdict == "reject"
    assert [look.pairs for look in cut(1.0, 555).looks] == [200, 400, 555]


def test_pairs_beyond_the_plan_are_not_used() -> None:
    more, planned = samples(5, 1.04, 3000), samples(5, 1.04, 3000).take_first(1000)
    assert judge_samples(more, gate()).objectives == judge_samples(planned, gate()).objectives


def test_nothing_is_inconclusive() -> None:
    assert judge_samples(Samples(), gate()).verdict == "inconclusive"


def test_the_decision_records_its_looks(tmp_path: Path) -> None:
    text = GATE.replace("LOOKS", "[250, 500, 1000]") + "  \n"
    decision = judge(
        *make_artifacts(tmp_path, World(slower=0.5, pairs=1000)), DEPLOYMENT, load_gate(text)
    )
    assert (decision.verdict, decision.planned_pairs) == ("promote", 1000)
    assert [(look.pairs, look.fraction, look.verdict) for look in decision.looks] == [
        (250, 0.25, "promote")
    ]


@pytest.mark.parametrize(
    ("looks", "says"),
    [
        ("0", "write 1 to 20"),
        ("21", "write 1 to 20"),
        ("[500]", "end with pairs, 1000"),
        ("[500, 500, 1000]", "must rise"),
        ("[]", "must rise"),
    ],
)
def test_bad_looks_are_refused(looks: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        gate(looks)


def test_a_failure_is_named_under_holm() -> None:
    """A candidate just so slow that one objective alone breaks its limit, and not when it is one of
    many.
    """
    objectives = "{metric: e2e, statistic: p50, scope: vs_live, max: 1.05}"
    many = ", ".join(
        f"{{metric: e2e, statistic: p50, scope: vs_live, max: {limit}, name: n{limit}}}"
        for limit in (1.05, *range(2, 30))
    )
    verdicts = []
    for seed in range(40):
        alone, among = (
            judge_samples(
                samples(seed, 1.065),
                load_gate(f"name: x\nconfidence: 0.95\nobjectives: [{text}]\n"),
            )
            for text in (objectives, many)
        )
        verdicts.append((alone.verdict, among.verdict))
    assert ("reject", "inconclusive") in verdicts
    assert ("inconclusive", "reject") not in verdicts
