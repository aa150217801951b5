"""Bounds against exact results, and their coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from greenlight.stats.estimates import proportion, proportion_difference, rate_ratio


def test_proportion_is_clopper_pearson() -> None:
    for events, trials in ((0, 100), (3, 100), (100, 100), (1, 7)):
        ours = proportion(events, trials, 0.95)
        # two-sided 90%: 95% each side
        exact = stats.binomtest(events, trials).proportion_ci(confidence_level=0.9, method="exact")
        assert (ours.low, ours.high) == pytest.approx((exact.low, exact.high))
    assert proportion(0, 100, 0.95).high == pytest.approx(0.0295, abs=1e-4)


def test_difference_covers() -> None:
    random = np.random.default_rng(1)
    for p, q in ((0.01, 0.01), (0.05, 0.01), (0.3, 0.3)):
        events = zip(random.binomial(120, p, 2000), random.binomial(150, q, 2000), strict=True)
        missed = sum(
            proportion_difference((int(a), 120), (int(b), 150), 0.95).high < p - q
            for a, b in events
        )
        assert missed / 2000 <= 0.05


def test_rate_ratio_is_a_t_interval_of_logarithms() -> None:
    candidate, live = np.array([210.0, 190, 205, 200]), np.array([100.0, 100, 100, 100])
    logs = np.log(candidate / live)
    low, high = np.exp(stats.t.interval(0.9, 3, logs.mean(), stats.sem(logs)))
    estimate = rate_ratio(candidate, live, 0.95)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (np.exp(logs.mean()), low, high)
    )
    assert rate_ratio(np.array([0.0, 200, 200]), np.array([100.0, 100, 100]), 0.95).low == 0
