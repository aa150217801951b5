"""Point estimates with one-sided confidence bounds on both sides. Numpy arrays in, floats out; nothing here knows of gates or files.

Every `low` and `high` is a one-sided bound at the confidence asked for: each alone is right with that probability, both together
form a two-sided interval of `2 * confidence - 1`. Resampling is seeded: the same samples give the same bounds. (Sums over
documents have theirs in `components.evaluate.bootstrap`.)
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

RESAMPLES = 2000
SEED = 20_260_101

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Draws = NDArray[np.int32]


@dataclass(frozen=True)
class Estimate:
    """A value and its bounds. Infinite where there is nothing to hold on to."""

    value: float
    low: float
    high: float


@lru_cache(maxsize=4)
def _multiplicities(units: int) -> Draws:
    """How often each of `units` is drawn, in each of RESAMPLES resamples with replacement. Shape (RESAMPLES, units)."""
    drawn = np.random.default_rng(SEED).multinomial(units, np.full(units, 1 / units), size=RESAMPLES).astype(np.int32)
    drawn.flags.writeable = False  # shared by all callers
    return drawn


def _bounds(resampled: Floats, confidence: float, fallback_low: float, fallback_high: float) -> tuple[float, float]:
    """Percentile bounds of a bootstrap (Efron and Tibshirani 1993, section 13.3), without interpolation, which infinities would spoil.

    A resample that is NaN could be anything: it counts as `fallback_low` for the low bound and as `fallback_high` for the high one.
    """
    unknown = np.isnan(resampled)
    low = np.quantile(np.where(unknown, fallback_low, resampled), 1 - confidence, method="inverted_cdf")
    high = np.quantile(np.where(unknown, fallback_high, resampled), confidence, method="higher")
    return float(low), float(high)


def _statistic(values: Floats, blocks: Ints, drawn: Draws, statistic: float | None) -> Floats:
    """A quantile (0 to 1), or the mean when None, of every resample of whole blocks. Shape (len(drawn),).

    The quantile is the smallest value with at least that share of the sample at or below it.
    """
    if statistic is None:
        counts = np.bincount(blocks, minlength=drawn.shape[1])
        sums = np.bincount(blocks, weights=values, minlength=drawn.shape[1])
        with np.errstate(invalid="ignore"):
            totals = np.where(drawn > 0, drawn * sums, 0.0).sum(axis=1)  # 0 * inf would be NaN
        return totals / (drawn @ counts)
    order = np.argsort(values, kind="stable")
    below = np.cumsum(drawn[:, blocks[order]], axis=1, dtype=np.int32)
    wanted = np.ceil(statistic * below[:, -1] - 1e-9)
    return values[order][(below < wanted[:, None]).sum(axis=1)]


def latency(values: Floats, blocks: Ints, statistic: float | None, confidence: float) -> Estimate:
    """A quantile or the mean of one color, resampled by blocks.

    Args:
        values: a value a request, seconds; infinite for a failed one.
        blocks: the number of the block of each, from 0 without gaps.
        statistic: 0.5 for the median and so on; None for the mean.
    """
    units = int(blocks.max()) + 1
    point = _statistic(values, blocks, np.ones((1, units), dtype=np.int32), statistic)
    low, high = _bounds(_statistic(values, blocks, _multiplicities(units), statistic), confidence, -np.inf, np.inf)
    return Estimate(float(point[0]), low, high)


def latency_ratio(candidate: Floats, live: Floats, blocks: Ints, statistic: float | None, confidence: float) -> Estimate:
    """The same statistic of both colors, as the ratio candidate to live, by a bootstrap over blocks of pairs.

    Blocks of neighbouring pairs are drawn whole, and both colors with the same draw, so that drift and bursts, which hit the two
    requests of a pair alike, cancel (Künsch 1989 on blocks; the statistic is plug-in). Where live's statistic is infinite (too many
    failures) or zero there is no ratio: the value is NaN.
    """
    units = int(blocks.max()) + 1

    def ratio(drawn: Draws) -> Floats:
        numerator, denominator = (_statistic(values, blocks, drawn, statistic) for values in (candidate, live))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(np.isfinite(denominator) & (denominator > 0), numerator / denominator, np.nan)

    low, high = _bounds(ratio(_multiplicities(units)), confidence, 0.0, np.inf)
    return Estimate(float(ratio(np.ones((1, units), dtype=np.int32))[0]), low, high)


def rate_ratio(candidate: Floats, live: Floats, confidence: float) -> Estimate:
    """Geometric mean of paired ratios, with Student's t on their logarithms. A candidate without any output gives 0, whatever the rest."""
    if np.any(candidate <= 0):
        return Estimate(0.0, 0.0, float(np.exp(_t_interval(np.log(np.maximum(candidate, 1e-9) / live), confidence).high)))
    estimate = _t_interval(np.log(candidate / live), confidence)
    return Estimate(float(np.exp(estimate.value)), float(np.exp(estimate.low)), float(np.exp(estimate.high)))


def rate(values: Floats, confidence: float) -> Estimate:
    """Mean of block rates with Student's t."""
    return _t_interval(values, confidence)


def _t_interval(values: Floats, confidence: float) -> Estimate:
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    reach = float(special.stdtrit(len(values) - 1, confidence)) * error
    return Estimate(mean, mean - reach, mean + reach)


def proportion(events: int, trials: int, confidence: float) -> Estimate:
    """Exact interval of a binomial proportion (Clopper and Pearson 1934). No event in n trials is no proof of 0: the high bound is about 3/n."""
    low = 0.0 if events == 0 else float(special.betaincinv(events, trials - events + 1, 1 - confidence))
    high = 1.0 if events == trials else float(special.betaincinv(events + 1, trials - events, confidence))
    return Estimate(events / trials, low, high)


def proportion_difference(candidate: tuple[int, int], live: tuple[int, int], confidence: float) -> Estimate:
    """Difference of two proportions (events, trials), candidate minus live, that holds for any sample size.

    Each proportion gets half of the allowed error (Bonferroni), so that the coverage is at least what was asked for. The price is
    width: two exact bounds are wider than one score interval.
    """
    each = 1 - (1 - confidence) / 2
    ours, theirs = proportion(*candidate, each), proportion(*live, each)
    return Estimate(ours.value - theirs.value, ours.low - theirs.high, ours.high - theirs.low)
