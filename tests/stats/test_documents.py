import numpy as np
import pytest
from scipy import stats

from greenlight.stats.documents import quantile_of_clusters, ratio_of_sums


def test_equal_clusters_agree_with_the_t_interval() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    found = ratio_of_sums(values, np.ones(400))
    mean, error = values.mean(), stats.sem(values)
    assert found.estimate == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx(
        stats.t.interval(0.95, 399, mean, error), abs=0.1 * error
    )


def test_ratio_agrees_with_the_delta_method() -> None:
    rng = np.random.default_rng(2)
    tokens = rng.integers(50, 300, 500)
    sums = tokens * rng.normal(0.01, 0.002, 500)
    found = ratio_of_sums(sums, tokens)
    residual = sums - found.estimate * tokens
    error = np.sqrt((residual**2).sum()) / tokens.sum()
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.05)


def test_one_sided_bounds_are_those_of_a_wider_interval() -> None:
    values = np.random.default_rng(3).lognormal(0, 1, 60)
    both = ratio_of_sums(values, np.ones(60), confidence=0.90)
    upper = ratio_of_sums(values, np.ones(60), confidence=0.95, side="upper")
    lower = ratio_of_sums(values, np.ones(60), confidence=0.95, side="lower")
    assert (upper.low, upper.high) == (-np.inf, pytest.approx(both.high, rel=1e-9))
    assert (lower.low, lower.high) == (pytest.approx(both.low, rel=1e-9), np.inf)


def test_same_seed_same_interval() -> None:
    values = np.random.default_rng(4).lognormal(0, 1, 40)
    assert ratio_of_sums(values, np.ones(40), seed=7) == ratio_of_sums(values, np.ones(40), seed=7)
    assert ratio_of_sums(values, np.ones(40), seed=7) != ratio_of_sums(values, np.ones(40), seed=8)


@pytest.mark.parametrize("side", ["both", "upper", "lower"])
def test_clusters_that_all_say_the_same(side) -> None:
    found = ratio_of_sums([0.0] * 6, [3, 5, 9, 2, 2, 8], side=side)
    assert found == (0.0, -np.inf if side == "upper" else 0.0, np.inf if side == "lower" else 0.0)
    assert ratio_of_sums([3, 5, 9, 2, 7], [3, 5, 9, 2, 7]) == (1.0, 1.0, 1.0)
    low, high = ratio_of_sums(np.array([3, 5, 9, 2, 7]) * 0.1, [3, 5, 9, 2, 7])[1:]
    assert (low, high) == pytest.approx((0.1, 0.1), rel=1e-9)


@pytest.mark.parametrize("clusters", [1, 2, 4])
def test_few_clusters_say_nothing_about_the_spread(clusters: int) -> None:
    values = np.arange(1.0, 1.0 + clusters)
    assert ratio_of_sums(values, values * 2) == (0.5, -np.inf, np.inf)


def test_rare_events_have_finite_bounds() -> None:
    """Two disagreements in 68 documents: many resamples hold none, and have no spread of their
    own.
    """
    tokens = np.full(68, 200)
    agree = tokens.copy()
    agree[[3, 40]] -= 1
    found = ratio_of_sums(agree, tokens, side="lower")
    assert 1 - 8 / tokens.sum() < found.low < found.estimate


@pytest.mark.parametrize(
    ("top", "bottom"),
    [([], []), ([1.0, 2.0], [1]), ([np.nan, 1.0], [1, 1]), ([1.0, 2.0], [1, np.inf])],
)
def test_refused_clusters(top: list[float], bottom: list[float]) -> None:
    with pytest.raises(ValueError, match=r"needs as many|not finite"):
        ratio_of_sums(top, bottom)


def test_many_clusters_stay_in_memory() -> None:
    values = np.random.default_rng(5).lognormal(0, 1, 20_000)
    found = ratio_of_sums(values, np.ones(20_000), resamples=500)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * stats.sem(values), rel=0.15)


def test_covers_the_truth_of_skewed_documents() -> None:
    """500 held-out sets of 68 documents, as long as the built-in ones, with log-normal KL a
    document.
    """
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(500):
        tokens = rng.integers(20, 256, 68)
        kl = tokens * 0.008 * rng.lognormal(-0.125, 0.5, 68)
        found = ratio_of_sums(kl, tokens, resamples=1000)
        covered += found.low <= 0.008 <= found.high
    assert covered >= 0.93 * 500


def test_a_quantile_is_the_smallest_value_with_so_many_at_or_below_it() -> None:
    values = np.arange(1000.0)
    found = quantile_of_clusters(values, np.arange(1000) % 40, 0.99)
    assert found.estimate == 989 and 980 < found.low < 989 < found.high < 998
    alike = quantile_of_clusters(np.zeros(100), np.arange(100) % 10, 0.99)
    assert alike == (0, 0, 0)


def test_of_few_values_the_tail_is_not_known() -> None:
    values = np.random.default_rng(1).lognormal(0, 1, 100)
    assert quantile_of_clusters(values, np.arange(100) % 10, 0.99).high == np.inf
    assert quantile_of_clusters(values, np.arange(100) % 4, 0.5)[1:] == (-np.inf, np.inf)
    with pytest.raises(ValueError, match="needs a cluster for each value"):
        quantile_of_clusters(values, [0, 1], 0.5)
    with pytest.raises(ValueError, match="not finite"):
        quantile_of_clusters([np.nan], [0], 0.5)


def test_covers_the_99th_percentile_of_tokens_in_documents() -> None:
    rng, covered = np.random.default_rng(1), 0
    truth = np.exp(stats.norm.ppf(0.99) * np.hypot(0.4, 1.2))
    for _ in range(300):
        sizes = rng.integers(20, 256, 68)
        document = np.repeat(np.arange(68), sizes)
        kl = np.exp(rng.normal(0, 0.4, 68)[document] + rng.normal(0, 1.2, len(document)))
        found = quantile_of_clusters(kl, document, 0.99)
        covered += found.low <= truth <= found.high
    assert covered >= 0.93 * 300
