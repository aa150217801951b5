"""Latencies of paired requests: tests of a limit, whose inversion is the confidence bound. Numpy
arrays in; nothing here knows of gates or files.

Everything is counted by block: a run of pairs close in time, which share drift and bursts. What
neighbours share is in the variance between blocks, and what both requests of a pair share cancels
in their difference. A failed request is infinitely slow, never missing.

A bound is found by testing the limit, without resampling and without estimating a density:
`below(limit, confidence)` holds when the upper bound at that confidence is at most the limit. 2,400
pairs take a tenth of a millisecond per test. `make gate-study` shows that the error is kept.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from greenlight.stats.estimates import Floats, Ints, Measure

FEWEST_BLOCKS = 5
"""Blocks below which nothing is known of how they vary."""
STEPS = 30
FARTHEST = 1e4
"""Times the limit, or live's value, beyond which a bound counts as infinite."""


def quantile(values: Floats, share: float) -> float:
    """The smallest value with at least `share` of the sample at or below it. Infinite when too many
    failed.
    """
    return float(
        np.partition(values, index := max(0, math.ceil(share * len(values) - 1e-9) - 1))[index]
    )


@dataclass(frozen=True)
class _Blocked(Measure, ABC):
    """A test by the sums of blocks, with Student's t for as many degrees of freedom as there are
    blocks less one.

    Attributes:
        value: the point estimate. NaN: there is none.
        blocks: number of the block of each pair, from 0 without gaps. Shape (pairs,).
    """

    value: float
    blocks: Ints

    @abstractmethod
    def score(self, limit: float, below: bool) -> float:
        """How many standard errors the samples speak for the true value being below the limit (or
        above it).
        """

    def below(self, limit: float, confidence: float) -> bool:
        return self._shown(limit, confidence, True)

    def above(self, limit: float, confidence: float) -> bool:
        return self._shown(limit, confidence, False)

    def _shown(self, limit: float, confidence: float, below: bool) -> bool:
        units = int(self.blocks[-1]) + 1
        return units >= FEWEST_BLOCKS and self.score(limit, below) >= float(
            special.stdtrit(units - 1, confidence)
        )

    def noise(self, confidence: float, limit: float) -> float:
        """Standard deviation of the logarithm of the estimate, times the square root of the number
        of pairs; as its own bounds have it.
        """
        low, high = self.low(confidence, limit), self.high(confidence, limit)
        if not (0 < low <= high < math.inf):
            return math.inf
        return (
            math.log(high / low)
            / 2
            / float(special.stdtrit(self.blocks[-1], confidence))
            * math.sqrt(len(self.blocks))
        )

    def high(self, confidence: float, limit: float) -> float:
        return self._bound(confidence, limit, True)

    def low(self, confidence: float, limit: float) -> float:
        return self._bound(confidence, limit, False)

    def _bound(self, confidence: float, limit: float, upper: bool) -> float:
        """The value nearest to the estimate that the test excludes, by bisection that starts at the
        limit, so that bound and verdict agree.
        """
        if math.isnan(self.value):
            return math.nan
        shown = self._shown(limit, confidence, upper)
        toward = upper != shown  # True: the bound is above the limit
        inside, outside = self._bracket(confidence, limit, upper, shown, toward)
        if math.isinf(outside) or outside == 0:
            return outside
        for _ in range(STEPS):
            middle = self._middle(inside, outside)
            if self._shown(middle, confidence, upper) == shown:
                inside = middle
            else:
                outside = middle
        return inside if shown else outside

    def _bracket(
        self, confidence: float, limit: float, upper: bool, shown: bool, toward: bool
    ) -> tuple[float, float]:
        """The last value at which the test says what it says at the limit, and the first at which
        it does not.
        """
        inside, factor = limit, 1.3
        while factor < FARTHEST:
            outside = limit * factor if toward else limit / factor
            if self._shown(outside, confidence, upper) != shown:
                return inside, outside
            inside, factor = outside, factor * 1.7
        return inside, math.inf if toward else 0.0

    def _middle(self, one: float, other: float) -> float:
        return math.sqrt(one * other)

    def _variance(self, each: Floats) -> float:
        """Of the sum of `each`, from the sums of blocks that may differ in size (Cochran 1977,
        section 11.7: clusters, ratio to size).
        """
        sums, sizes = np.bincount(self.blocks, weights=each), np.bincount(self.blocks)
        units = len(sizes)
        rest = sums - sizes * (each.sum() / len(each))
        return float(rest @ rest) * units / max(units - 1, 1)


def _ratio(numerator: float, variance: float) -> float:
    return numerator / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, numerator)


@dataclass(frozen=True)
class QuantileRatio(_Blocked):
    """The same quantile of both colors, candidate over live.

    If the candidate's quantile is `limit` times live's, then candidate / limit and live have the
    same share of requests at or below the pooled quantile. The difference of the two shares is
    tested within pairs: a two-sample quantile test (Kosorok 1999, the case of one quantile) in
    McNemar's (1947) paired form, with half a pair as the correction for continuity.

    Its variance is the larger of McNemar's own and the one between blocks. The latter is taken at
    the estimate, as Wald does, where what hits both colors cancels: at a limit far away a burst
    would count for one color and not for the other.

    Attributes:
        candidate, live: seconds, infinite for a failed request. Shape (pairs,).
        share: 0.5 for the median.
    """

    candidate: Floats
    live: Floats
    share: float

    def score(self, limit: float, below: bool) -> float:
        difference = self._difference(limit)
        total = float(difference.sum())
        return _ratio(
            (total if below else -total) - 0.5, max(self._spread, float(np.abs(difference).sum()))
        )

    @cached_property
    def _spread(self) -> float:
        return self._variance(self._difference(self.value if 0 < self.value < math.inf else 1.0))

    def _difference(self, limit: float) -> Floats:
        """1 where only the candidate, divided by `limit`, is at or below the pooled quantile; -1
        where only live is; else 0.
        """
        scaled = self.candidate / limit
        pooled = np.concatenate([scaled, self.live])
        cut = quantile(pooled, self.share)
        if math.isinf(cut):
            cut = float(pooled[np.isfinite(pooled)].max(initial=0.0))
        return (scaled <= cut).astype(np.float64) - (self.live <= cut)


@dataclass(frozen=True)
class Quantile(_Blocked):
    """A quantile of one color: the share of requests at or below the limit is tested (Woodruff
    1952), with at least the binomial variance.
    """

    values: Floats
    share: float

    def score(self, limit: float, below: bool) -> float:
        under = (self.values <= limit if below else self.values < limit).astype(
            np.float64
        ) - self.share
        total = float(under.sum())
        return _ratio(
            (total if below else -total) - 0.5,
            max(self._variance(under), len(under) * self.share * (1 - self.share)),
        )


@dataclass(frozen=True)
class Mean(_Blocked):
    """The mean of one color, or, with `live`, the ratio of the means (Fieller 1954: candidate -
    limit x live is tested against 0).

    One failed request makes a mean infinite: nothing is below any limit then, and it is above one
    only when all failed.
    """

    values: Floats
    live: Floats | None

    def score(self, limit: float, below: bool) -> float:
        if math.isinf(self.value):
            return math.inf if not below and np.isinf(self.values).all() else -math.inf
        rest = self.values - (limit if self.live is None else limit * self.live)
        total = float(rest.sum())
        return _ratio(-total if below else total, self._variance(rest))


@dataclass(frozen=True)
class ShareDifference(_Blocked):
    """Share of requests slower than an objective of seconds, candidate minus live, within pairs.

    Tango's (1998) score test of a paired difference, which needs no event to have been seen, with
    the variance between blocks where that is larger.

    Attributes:
        difference: 1 where only the candidate was too slow, -1 where only live was, else 0. Shape
            (pairs,).
    """

    difference: Floats

    def score(self, limit: float, below: bool) -> float:
        if abs(limit) >= 1:
            return math.inf if (limit > 0) == below else -math.inf
        n, more, less = (
            len(self.difference),
            float((self.difference > 0).sum()),
            float((self.difference < 0).sum()),
        )
        rest = more - less - n * limit
        variance = max(
            self._variance(self.difference), n * share_variance(more / n, less / n, limit)
        )
        return _ratio(-rest if below else rest, variance)

    def noise(self, confidence: float, limit: float) -> float:
        """The share of pairs of which exactly one request is over, or as many as would vary like
        these blocks do.
        """
        n = len(self.difference)
        return max(self._variance(self.difference), float(np.abs(self.difference).sum())) / n

    def _bracket(
        self, confidence: float, limit: float, upper: bool, shown: bool, toward: bool
    ) -> tuple[float, float]:
        return limit, 1.0 if toward else -1.0

    def _middle(self, one: float, other: float) -> float:
        return (one + other) / 2


def share_variance(more: float, less: float, limit: float) -> float:
    """Tango's (1998) variance of a paired difference of shares, per pair, were the true difference
    exactly `limit`.

    Args:
        more, less: shares of pairs of which only the candidate, or only live, counts.
    """
    b = -more - less + (2 - more + less) * limit
    q = (math.sqrt(max(b * b + 8 * less * limit * (1 - limit), 0.0)) - b) / 4
    return 2 * q + limit * (1 - limit)


def latency(values: Floats, blocks: Ints, share: float | None) -> Measure:
    """A quantile of one color, or its mean.

    Args:
        values: seconds, one value per request; infinite for a failed one.
        blocks: the number of the block of each, from 0 without gaps, rising.
        share: 0.5 for the median and so on; None for the mean.
    """
    if share is None:
        return Mean(float(values.mean()), blocks, values, None)
    return Quantile(quantile(values, share), blocks, values, share)


def latency_ratio(candidate: Floats, live: Floats, blocks: Ints, share: float | None) -> Measure:
    """The same statistic of both colors, candidate over live. Element i of both belongs to pair i;
    the rest as in `latency`.

    Where live's statistic is infinite (too many failures) or zero there is no ratio: the value is
    NaN.
    """
    top, bottom = (
        float(each.mean()) if share is None else quantile(each, share) for each in (candidate, live)
    )
    value = top / bottom if math.isfinite(bottom) and bottom > 0 else math.nan
    if share is None:
        return Mean(value, blocks, candidate, live)
    return QuantileRatio(value, blocks, candidate, live, share)


def share_over(candidate: Floats, live: Floats, blocks: Ints, slo: float) -> Measure:
    """Share of requests over `slo` seconds, candidate minus live, from -1 to 1. A failed request is
    over it.
    """
    difference = (candidate > slo).astype(np.float64) - (live > slo)
    return ShareDifference(float(difference.mean()), blocks, difference)
