"""Point estimates and their one-sided confidence bounds, for counts and rates. Numbers in, numbers
out; nothing here knows of gates or files.

Every `low` and `high` is a one-sided bound at the confidence asked for: each alone is right with
that probability, both together form a two-sided interval of `2 * confidence - 1`. (Sums over
documents have theirs in `greenlight.stats.documents`, latencies of paired requests in
`greenlight.stats.latencies`.)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A value and its bounds. Infinite where there is nothing to hold on to."""

    value: float
    low: float
    high: float


class Measure(ABC):
    """A value that is known from samples, and what they show of it at a confidence (one-sided)."""

    value: float

    @abstractmethod
    def below(self, limit: float, confidence: float) -> bool:
        """Whether the upper bound is at most the limit."""

    @abstractmethod
    def above(self, limit: float, confidence: float) -> bool:
        """Whether the lower bound is at least the limit."""

    @abstractmethod
    def high(self, confidence: float, limit: float) -> float:
        """The upper bound: at most the limit exactly when `below` says so."""

    @abstractmethod
    def low(self, confidence: float, limit: float) -> float:
        """The lower bound: at least the limit exactly when `above` says so."""


class Interval(Measure):
    """A measure whose bounds come from a formula.

    Args:
        estimate: the estimate at a confidence.
        confidence: a first one, for the value.
    """

    def __init__(self, estimate: Callable[[float], Estimate], confidence: float) -> None:
        self._estimate, self._known = estimate, {confidence: estimate(confidence)}
        self.value = self._known[confidence].value

    def _at(self, confidence: float) -> Estimate:
        if confidence not in self._known:
            self._known[confidence] = self._estimate(confidence)
        return self._known[confidence]

    def below(self, limit: float, confidence: float) -> bool:
        return self._at(confidence).high <= limit

    def above(self, limit: float, confidence: float) -> bool:
        return self._at(confidence).low >= limit

    def high(self, confidence: float, limit: float) -> float:
        return self._at(confidence).high

    def low(self, confidence: float, limit: float) -> float:
        return self._at(confidence).low


def rate_ratio(candidate: Floats, live: Floats, confidence: float) -> Estimate:
    """Geometric mean of paired ratios, with Student's t on their logarithms. A candidate without
    any output gives 0, whatever the rest.
    """
    if np.any(candidate <= 0):
        return Estimate(
            0.0,
            0.0,
            float(np.exp(_t_interval(np.log(np.maximum(candidate, 1e-9) / live), confidence).high)),
        )
    estimate = _t_interval(np.log(candidate / live), confidence)
    return Estimate(
        float(np.exp(estimate.value)), float(np.exp(estimate.low)), float(np.exp(estimate.high))
    )


def rate(values: Floats, confidence: float) -> Estimate:
    """Mean of block rates with Student's t."""
    return _t_interval(values, confidence)


def _t_interval(values: Floats, confidence: float) -> Estimate:
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    reach = float(special.stdtrit(len(values) - 1, confidence)) * error
    return Estimate(mean, mean - reach, mean + reach)


def proportion(events: int, trials: int, confidence: float) -> Estimate:
    """Exact interval of a binomial proportion (Clopper and Pearson 1934). No event in n trials is
    no proof of 0: the high bound is about 3/n.
    """
    low = (
        0.0
        if events == 0
        else float(special.betaincinv(events, trials - events + 1, 1 - confidence))
    )
    high = (
        1.0
        if events == trials
        else float(special.betaincinv(events + 1, trials - events, confidence))
    )
    return Estimate(events / trials, low, high)


def proportion_difference(
    candidate: tuple[int, int], live: tuple[int, int], confidence: float
) -> Estimate:
    """Difference of two proportions (events, trials), candidate minus live, that holds for any
    sample size.

    Each proportion gets half of the allowed error (Bonferroni), so that the coverage is at least
    what was asked for. The price is
    width: two exact bounds are wider than one score interval.
    """
    each = 1 - (1 - confidence) / 2
    ours, theirs = proportion(*candidate, each), proportion(*live, each)
    return Estimate(ours.value - theirs.value, ours.low - theirs.high, ours.high - theirs.low)
