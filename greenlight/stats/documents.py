"""Confidence intervals of ratios of sums and of quantiles, by clusters.

Tokens of one document, and requests of one block, are not independent; documents and blocks are. So
whole clusters are drawn with replacement, and every measure here is a sum over clusters divided by
another sum over the same clusters.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

RESAMPLES = 9999
FEWEST_CLUSTERS = 5
CELLS = 4_000_000  # numbers that are held at once, for any number of clusters

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A point estimate and its interval. A side that was not asked for, or that nothing is known
    about, is infinite.
    """

    estimate: float
    low: float
    high: float


def ratio_of_sums(
    numerator: ArrayLike,
    denominator: ArrayLike,
    confidence: float = 0.95,
    side: Literal["both", "upper", "lower"] = "both",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """sum(numerator) / sum(denominator) and its confidence interval.

    The bootstrap-t interval (Efron and Tibshirani 1993, section 12.5), with the standard error of a
    ratio estimator (Cochran 1977, section 2.11). Where clusters are few and skewed, as the KL
    divergences of documents are, percentile and BCa intervals end too low: of 1,000 simulated sets
    of 68 log-normal documents (sigma 0.5; sigma 1) it covered 948; 935, BCa 939; 913, percentiles
    939; 902.

    Args:
        numerator, denominator: a number for each cluster, in the same order.
        confidence: of the interval. One-sided when `side` is `upper` (low is -inf) or `lower` (high
            is inf).
        seed: the same data and seed give the same interval.

    Returns:
        With fewer than five clusters nothing is known about the spread, and the interval is (-inf,
        inf).

    Raises:
        ValueError: the lengths differ, there is no cluster, or a number is not finite.
    """
    top, bottom = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    if top.ndim != 1 or top.shape != bottom.shape or not len(top):
        raise ValueError(
            f"needs as many numerators as denominators, at least one: got {top.shape} and"
            f" {bottom.shape}"
        )
    if not (np.isfinite(top).all() and np.isfinite(bottom).all()):
        raise ValueError("a numerator or denominator is not finite")
    estimate, error = (float(value[0]) for value in _ratio(top, bottom, np.ones((1, len(top)))))
    if len(top) < FEWEST_CLUSTERS:
        return Interval(estimate, -np.inf, np.inf)
    ratios, errors = _resample(top, bottom, resamples, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        # 0 / 0: nothing differs
        t = np.nan_to_num((ratios - estimate) / errors, nan=0.0, posinf=np.inf, neginf=-np.inf)
    tail = (1 - confidence) / (2 if side == "both" else 1)
    # The high bound comes from the low tail of t, and the other way round.
    high = np.inf if side == "lower" else _bound(estimate, error, t, ratios, tail, 1 - tail)
    low = -np.inf if side == "upper" else _bound(estimate, error, t, ratios, 1 - tail, tail)
    return Interval(estimate, low, high)


def quantile_of_clusters(
    values: ArrayLike, clusters: ArrayLike, share: float, confidence: float = 0.95
) -> Interval:
    """The smallest value with at least `share` of all values at or below it, and its two-sided
    confidence interval.

    By Woodruff's method (1952, JASA 47:635): the share of values at or below the estimate is a
    ratio of sums over clusters, whose standard error is known; the quantiles of the shares so far
    off are the ends. It needs no resampling, and covers better than that: of 1,000 simulated sets
    of 68 documents of 20 to 255 tokens, with log-normal KL per token (sigma 1.2) and a document
    (sigma 0.3; 0.5; 1), the interval of the 99th percentile covered it in 952; 942; 916, that of a
    bootstrap over documents by percentiles in 938; 915; 849.

    Args:
        values: a number for each token.
        clusters: of each token, which cluster it is in; 0, 1, 2, …

    Returns:
        An end beyond the largest value is infinite: with few values nothing is known about their
        tail. The same with fewer than five clusters.

    Raises:
        ValueError: the lengths differ, there is no value, or one is not finite.
    """
    numbers, codes = np.asarray(values, dtype=float), np.asarray(clusters, dtype=int)
    if numbers.ndim != 1 or numbers.shape != codes.shape or not len(numbers):
        raise ValueError(
            f"needs a cluster for each value, at least one: got {numbers.shape} and {codes.shape}"
        )
    if not np.isfinite(numbers).all():
        raise ValueError("a value is not finite")
    ordered = np.sort(numbers)

    def quantile(at: float) -> float:
        if at > 1:
            return np.inf
        return (
            -np.inf
            if at <= 0
            else float(ordered[max(0, int(np.ceil(at * len(ordered) - 1e-9)) - 1)])
        )

    estimate = quantile(share)
    sizes = np.bincount(codes).astype(float)
    below, sizes = (
        np.bincount(codes, numbers <= estimate).astype(float)[sizes > 0],
        sizes[sizes > 0],
    )
    if len(sizes) < FEWEST_CLUSTERS:
        return Interval(estimate, -np.inf, np.inf)
    _, (error,) = _ratio(below, sizes, np.ones((1, len(sizes))))
    off = error * stdtrit(len(sizes) - 1, (1 + confidence) / 2)
    return Interval(estimate, quantile(share - off), quantile(share + off))


def _bound(
    estimate: float, error: float, t: Floats, ratios: Floats, t_tail: float, ratio_tail: float
) -> float:
    """The bootstrap-t bound; the percentile bound where events are so rare that resamples without
    any, which have no error, make t infinite.
    """
    quantile = np.quantile(t, t_tail, method="inverted_cdf")
    if not np.isfinite(quantile):
        return float(np.quantile(ratios, ratio_tail))
    return float(estimate - quantile * error)


def _ratio(top: Floats, bottom: Floats, drawn: Floats) -> tuple[Floats, Floats]:
    """The ratio and its standard error in every resample. `drawn` says how often each cluster is in
    each; shape (resamples, clusters).
    """
    clusters = len(top)
    a, b, aa, ab, bb = (
        drawn @ np.stack([top, bottom, top * top, top * bottom, bottom * bottom], axis=1)
    ).T
    ratio = a / b
    squares = np.maximum(aa - 2 * ratio * ab + ratio**2 * bb, 0)  # sum of (top - ratio * bottom)**2
    squares[squares < 1e-12 * aa] = 0  # what rounding leaves of nothing
    return ratio, np.sqrt(squares * clusters / max(clusters - 1, 1)) / b


def _resample(top: Floats, bottom: Floats, resamples: int, seed: int) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(seed)
    clusters = len(top)
    at_once = max(1, CELLS // clusters)
    parts = [
        _ratio(
            top,
            bottom,
            generator.multinomial(
                clusters, np.full(clusters, 1 / clusters), size=min(at_once, resamples - done)
            ).astype(float),
        )
        for done in range(0, resamples, at_once)
    ]
    ratios, errors = zip(*parts, strict=True)
    return np.concatenate(ratios), np.concatenate(errors)
