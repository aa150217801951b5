"""A search, among samples as arrays, for bad evidence that is promoted: at any number of looks,
whatever is missing, infinite or not a number.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlight.gate.evidence import NoEvidenceError, Pairs
from greenlight.gate.measurements import Samples
from greenlight.gate.objectives import Gate, load_gate
from greenlight.gate.verdict import judge_samples

METRICS = ("ttft", "itl", "e2e")


def gate(looks: int) -> Gate:
    return load_gate(f"""
        name: search
        confidence: 0.95
        objectives:
          - {{metric: ttft, statistic: p50, scope: vs_live, max: 1.05}}
          - {{metric: itl, statistic: p95, scope: vs_live, max: 1.10}}
          - {{metric: e2e, statistic: mean, scope: vs_live, max: 1.05}}
          - {{metric: e2e, statistic: over_slo, slo: 5, scope: vs_live, max: 0.1}}
          - {{metric: error_rate, scope: vs_live, max: 0.1}}
        benchmark: {{pairs: 200, looks: {looks}}}
    """)


GATES = [gate(looks) for looks in (1, 2, 5)]


def samples(factor: float, pairs: int, seed: int = 0) -> Samples:
    random = np.random.default_rng(seed)
    shared = random.normal(0, 0.2, pairs)
    latencies = {
        metric: {
            role: np.exp(shared + random.normal(0, 0.1, pairs)) for role in ("candidate", "live")
        }
        for metric in METRICS
    }
    for roles in latencies.values():
        roles["candidate"] *= factor
    return Samples(
        pairs=Pairs(latencies, np.arange(pairs) // 5, {"candidate": 0, "live": 0}),
        counts={"candidate": (0, pairs), "live": (0, pairs)},
    )


@pytest.mark.parametrize("judging", GATES)
def test_undamaged_it_is_promoted(judging: Gate) -> None:
    assert judge_samples(samples(0.5, 200), judging).verdict == "promote"


def not_a_number(found: Samples, draw: Any) -> Samples:
    assert found.pairs
    values = found.pairs.latencies[draw(st.sampled_from(METRICS))][
        draw(st.sampled_from(["candidate", "live"]))
    ]
    values[draw(st.integers(0, 19))] = np.nan
    return found


def one_color(found: Samples, draw: Any) -> Samples:
    assert found.pairs and found.counts
    latencies = {
        metric: {"candidate": roles["candidate"]} for metric, roles in found.pairs.latencies.items()
    }
    return replace(
        found,
        pairs=replace(found.pairs, latencies=latencies, failed={"candidate": 0}),
        counts={"candidate": found.counts["candidate"]},
    )


def cut_short(found: Samples, draw: Any) -> Samples:
    return replace(found.take_first(draw(st.integers(0, 199))), doubt="it was cut short")


def missing(found: Samples, draw: Any) -> Samples:
    source = draw(st.sampled_from(["documents", "requests", "errors", "blocks"]))
    return replace(found, missing={source: NoEvidenceError("it is gone")})


def failing(found: Samples, draw: Any) -> Samples:
    """A third or more of the candidate's requests, or of both colors'."""
    assert found.pairs
    roles = draw(st.sampled_from([("candidate",), ("candidate", "live")]))
    lost = np.random.default_rng(draw(st.integers(0, 99))).random(200) < draw(st.floats(0.33, 1))
    for values in found.pairs.latencies.values():
        for role in roles:
            values[role][lost] = np.inf
    failed = {role: int(lost.sum()) if role in roles else 0 for role in ("candidate", "live")}
    return replace(
        found,
        pairs=replace(found.pairs, failed=failed),
        counts={role: (failed[role], 200) for role in failed},
    )


@settings(max_examples=250, deadline=None)
@given(
    data=st.data(),
    judging=st.sampled_from(GATES),
    damage=st.sampled_from([not_a_number, one_color, cut_short, missing, failing]),
)
def test_damaged_samples_of_a_good_candidate_are_never_promoted(
    data: st.DataObject, judging: Gate, damage: Any
) -> None:
    judged = judge_samples(damage(samples(0.5, 200), data.draw), judging)
    assert judged.verdict != "promote"
    assert judged.reason and all(objective.reason for objective in judged.objectives)


@settings(max_examples=150, deadline=None)
@given(
    judging=st.sampled_from(GATES),
    seed=st.integers(0, 10_000),
    factor=st.floats(1.2, 100),
    infinite=st.lists(
        st.tuples(
            st.sampled_from(METRICS), st.sampled_from(["candidate", "live"]), st.integers(0, 199)
        ),
        max_size=8,
    ),
    pairs=st.integers(0, 300),
)
def test_a_slow_candidate_is_never_promoted_for_its_outliers(
    judging: Gate, seed: int, factor: float, infinite: list[tuple[str, str, int]], pairs: int
) -> None:
    found = samples(factor, max(pairs, 1), seed)
    assert found.pairs
    for metric, role, place in infinite:
        found.pairs.latencies[metric][role][place % len(found.pairs)] = np.inf
    assert judge_samples(found, judging).verdict != "promote"
