"""Tests of a limit and their inversion: what they say of failures, and how often they are wrong."""

import numpy as np
import pytest

from greenlight.stats.latencies import latency, latency_ratio, share_over


def paired(
    random: np.random.Generator, pairs: int = 100, tail: float = 0.02
) -> tuple[np.ndarray, np.ndarray]:
    """Two colors that are equal: 80% of the variance shared within a pair, drift within blocks of
    5, a tail of 5x.
    """
    shared = random.normal(0, 0.22, pairs) + np.repeat(random.normal(0, 0.05, pairs // 5), 5)
    candidate, live = (
        np.exp(shared + random.normal(0, 0.11, pairs)) * np.where(random.random(pairs) < tail, 5, 1)
        for _ in range(2)
    )
    return candidate, live


def test_quantiles_are_of_the_sample() -> None:
    values, blocks = np.arange(1.0, 101.0), np.arange(100) // 5
    assert latency(values, blocks, 0.5).value == 50
    assert latency(values, blocks, 0.95).value == 95
    assert latency(values, blocks, None).value == 50.5


def test_infinite_values_are_slow_not_missing() -> None:
    good, blocks = np.random.default_rng(1).lognormal(size=200), np.arange(200) // 5
    failing = np.where(np.random.default_rng(2).random(200) < 0.2, np.inf, good)
    worse = latency_ratio(failing, good, blocks, 0.95)
    assert (worse.value, worse.high(0.95, 1.1)) == (np.inf, np.inf)
    assert worse.above(1.1, 0.95) and not worse.below(1.1, 0.95)
    assert latency_ratio(failing, good, blocks, 0.5).value > 1
    assert latency_ratio(failing, good, blocks, None).value == np.inf
    unknown = latency_ratio(good, failing, blocks, 0.95)
    assert np.isnan(unknown.value) and np.isnan(unknown.high(0.95, 1.1))


@pytest.mark.parametrize("share", [0.5, 0.95, None])
@pytest.mark.parametrize("limit", [0.9, 1.0, 1.1])
def test_bounds_say_what_the_tests_say(share: float | None, limit: float) -> None:
    blocks = np.arange(400) // 5
    for seed in range(10):
        measure = latency_ratio(*paired(np.random.default_rng(seed), 400), blocks, share)
        assert (measure.high(0.95, limit) <= limit) == measure.below(limit, 0.95)
        assert (measure.low(0.95, limit) >= limit) == measure.above(limit, 0.95)
        assert measure.low(0.95, limit) <= measure.value <= measure.high(0.95, limit)


def test_few_blocks_show_nothing() -> None:
    fast, slow = np.full(100, 1.0), np.full(100, 2.0)
    assert latency_ratio(fast, slow, np.arange(100) // 20, 0.5).below(1.0, 0.95)
    assert latency_ratio(fast, slow, np.arange(100) // 25, 0.5).high(0.95, 1.0) == np.inf


@pytest.mark.parametrize(("share", "limit"), [(0.5, 1.05), (0.95, 1.10), (None, 1.10)])
@pytest.mark.parametrize("pairs", [100, 1000])
def test_a_candidate_at_the_limit_is_rarely_taken_for_better(
    share: float | None, limit: float, pairs: int
) -> None:
    """The error that the confidence promises: at most 5%."""
    random, blocks, runs = np.random.default_rng(4), np.arange(pairs) // 5, 600
    taken = 0
    for _ in range(runs):
        candidate, live = paired(random, pairs)
        taken += latency_ratio(candidate * limit, live, blocks, share).below(limit, 0.95)
    assert taken / runs < 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)


def test_a_share_over_an_objective() -> None:
    random, blocks, wrong = np.random.default_rng(5), np.arange(500) // 5, 0
    for _ in range(600):
        live = random.random(500)
        # 2 points more are over 0.9
        candidate = np.where(random.random(500) < 0.7, live, random.random(500)) + 0.02
        wrong += share_over(candidate, live, blocks, 0.9).below(0.02, 0.95)
    assert wrong / 600 < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 600)
    nothing = share_over(np.ones(500), np.ones(500), blocks, 2.0)
    # none of 500 is no proof of none
    assert nothing.value == 0 and 0.004 < nothing.high(0.95, 0.02) < 0.008


def test_one_color_alone() -> None:
    random, blocks, wrong = np.random.default_rng(6), np.arange(200) // 5, {0.5: 0, 0.95: 0}
    for _ in range(400):
        values = random.random(200)
        for share in wrong:
            wrong[share] += latency(values, blocks, share).below(share, 0.95)
    assert max(wrong.values()) / 400 < 0.08
