"""Bounds against exact results, and their coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from components.gate.estimates import latency, latency_ratio, proportion, proportion_difference, rate_ratio


def test_proportion_is_clopper_pearson() -> None:
    for events, trials in ((0, 100), (3, 100), (100, 100), (1, 7)):
        ours = proportion(events, trials, 0.95)
        exact = stats.binomtest(events, trials).proportion_ci(confidence_level=0.9, method="exact")  # two-sided 90%: 95% each side
        assert (ours.low, ours.high) == pytest.approx((exact.low, exact.high))
    assert proportion(0, 100, 0.95).high == pytest.approx(0.0295, abs=1e-4)


def test_difference_covers() -> None:
    random = np.random.default_rng(1)
    for p, q in ((0.01, 0.01), (0.05, 0.01), (0.3, 0.3)):
        events = zip(random.binomial(120, p, 2000), random.binomial(150, q, 2000), strict=True)
        missed = sum(proportion_difference((int(a), 120), (int(b), 150), 0.95).high < p - q for a, b in events)
        assert missed / 2000 <= 0.05


def test_rate_ratio_is_a_t_interval_of_logarithms() -> None:
    candidate, live = np.array([210.0, 190, 205, 200]), np.array([100.0, 100, 100, 100])
    logs = np.log(candidate / live)
    low, high = np.exp(stats.t.interval(0.9, 3, logs.mean(), stats.sem(logs)))
    estimate = rate_ratio(candidate, live, 0.95)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((np.exp(logs.mean()), low, high))
    assert rate_ratio(np.array([0.0, 200, 200]), np.array([100.0, 100, 100]), 0.95).low == 0


def test_quantiles_are_of_the_sample() -> None:
    values = np.arange(1.0, 101.0)
    blocks = np.arange(100) // 5
    assert latency(values, blocks, 0.5, 0.95).value == 50
    assert latency(values, blocks, 0.95, 0.95).value == 95
    assert latency(values, blocks, None, 0.95).value == 50.5


def test_infinite_values_are_slow_not_missing() -> None:
    good, blocks = np.random.default_rng(1).lognormal(size=200), np.arange(200) // 5
    failing = np.where(np.random.default_rng(2).random(200) < 0.2, np.inf, good)
    worse = latency_ratio(failing, good, blocks, 0.95, 0.95)
    assert (worse.value, worse.high) == (np.inf, np.inf)
    assert latency_ratio(failing, good, blocks, 0.5, 0.95).value > 1
    assert latency_ratio(failing, good, blocks, None, 0.95).value == np.inf
    unknown = latency_ratio(good, failing, blocks, 0.95, 0.95)
    assert np.isnan(unknown.value) and (unknown.low, unknown.high) == (0, np.inf)


def test_the_same_samples_give_the_same_bounds() -> None:
    random = np.random.default_rng(3)
    candidate, live, blocks = random.lognormal(size=100), random.lognormal(size=100), np.arange(100) // 5
    assert latency_ratio(candidate, live, blocks, 0.9, 0.95) == latency_ratio(candidate, live, blocks, 0.9, 0.95)


@pytest.mark.parametrize(("quantile", "limit"), [(0.5, 1.05), (0.95, 1.10)])
def test_a_candidate_at_the_limit_is_rarely_taken_for_better(quantile: float, limit: float) -> None:
    """The error that the confidence promises: at most 5%. 100 pairs, 2% of the requests in a tail of 5x, drift within blocks."""
    random = np.random.default_rng(4)
    blocks = np.arange(100) // 5
    runs, taken = 400, 0
    for _ in range(runs):
        shared = random.normal(0, 0.22, 100) + np.repeat(random.normal(0, 0.05, 20), 5)
        candidate, live = (np.exp(shared + random.normal(0, 0.11, 100)) * np.where(random.random(100) < 0.02, 5, 1) for _ in range(2))
        taken += latency_ratio(candidate * limit, live, blocks, quantile, 0.95).high < limit
    assert taken / runs < 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)
