"""Is the new live color worse than the old one? Two tests that may look after every pair of probes,
for as long as they like, and keep their error.

Latency: the score of a pair is its log ratio, new to old, less the limit's logarithm, and clipped,
    so that a single stall counts for little. Where the new
color is slower than the limit allows, the mean of the scores is above 0. It is bounded from below
by an asymptotic confidence sequence: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform
central limit theory and asymptotic confidence sequences" (2021; Annals of Statistics, 2024), in the
one-sided variant, which is Robbins' normal mixture (1970). The variance is taken around the limit,
from the sum of the squares: then the bound holds from the first pair on, not only in the long run,
where scores are symmetric around 0 (de la Peña, "A general class of exponential inequalities for
martingales and ratios", 1999), as those of pairs in random order exactly at the limit are.

The color that has the traffic is loaded and its control is idle, so it is slower even where the
models are equal. How much that is was seen before the switch, when the old color had the load
(`reference`). The new color may be slower by as much, and by the limit. A candidate that was faster
before the switch has its lead as room, too: load and lead cannot be told apart.

Errors: see `too_many_errors`.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from greenlight.core.records import BakeReference

TIGHTEST = 100
"""Pairs at which the bound is tightest. It holds at every number, and is a little wider
elsewhere.
"""


@dataclass(frozen=True)
class Comparison:
    """How the latencies of pairs are scored and judged.

    Attributes:
        max_slower: how many times as long as the old color the new one may take.
        confidence: one-sided, of the whole watch.
        largest_ratio: a pair counts as at most this many times above, or below, the limit.
        before: the pairs before the switch. None: the load of the traffic is left out of account.
    """

    max_slower: float
    confidence: float
    largest_ratio: float
    before: BakeReference | None = None

    @property
    def alpha(self) -> float:
        """The error of the sequence: half of all, where the reference has the other half."""
        return (1 - self.confidence) / (2 if self.before else 1)

    @property
    def load(self) -> float:
        """ln of how much slower the color was that had the load, which is taken off every pair: 0
        or more, and at most that, within its error.
        """
        return max(-self.before.lower, 0.0) if self.before else 0.0

    def score(self, log_ratio: Any) -> Any:
        """Of pairs, from ln(new / old) of their latencies; infinite where one of the two failed.
        Numbers or arrays.
        """
        clip = np.log(self.largest_ratio)
        return np.clip(log_ratio - self.load - np.log(self.max_slower), -clip, clip)

    def bound(self, pairs: Any, total: Any, squares: Any) -> Any:
        """The new color's latency over the old one's, beyond what load explains, is at least this.
        Numbers or arrays.

        Clipping draws it towards the limit, so it says on which side of that the truth is, and
        little of how far away.

        Args:
            pairs: how many were scored, 1 or more.
            total: the sum of their scores.
            squares: the sum of the squares of their scores.
        """
        usual = (
            np.log(self.largest_ratio) / 2
        ) ** 2  # variance of a score, roughly; only where the bound is tightest depends on it
        return self.max_slower * np.exp(
            (total - boundary(squares, self.alpha, TIGHTEST * usual)) / pairs
        )


def too_many_errors(failed: Any, control_failed: Any, max_errors: Any) -> Any:
    """Does the new color fail more often than the old one? Counted in pairs of which one probe
    alone failed. Numbers or arrays.

    What the control does counts twice. Where both fail equally often, `failed - 2 * control_failed`
    is a walk of steps +1 and -2 of equal chance, and by the martingale phi^walk, phi = 1.618 (the
    solution of (x + x^-2) / 2 = 1, Ville's inequality), it ever exceeds max_errors with probability
    phi^-(max_errors + 1) at most, however often probes fail and however long one watches: 0.2% at
    12.
    """
    return failed - 2 * control_failed > max_errors


def reference(log_ratios: ArrayLike, confidence: float) -> BakeReference | None:
    """What the pairs before the switch say of ln(new / old). None: they are too few for a bound.

    The lower bound of its middle, at half the error of `confidence`, inverts Wilcoxon's signed-rank
    test by its normal approximation: one of the ordered means of all two pairs (Hollander, Wolfe
    and Chicken, Nonparametric Statistical Methods, section 3.3). Pairs in random order differ
    symmetrically, which is all that it asks; of stalls it takes little notice.
    """
    values = np.asarray(log_ratios, dtype=float)
    count = len(values)
    means = np.sort(((values[:, None] + values) / 2)[np.triu_indices(count)])
    rank = len(means) / 2 + NormalDist().inv_cdf((1 - confidence) / 2) * np.sqrt(
        count * (count + 1) * (2 * count + 1) / 24
    )
    if rank < 1:
        return None
    return BakeReference(pairs=count, lower=float(means[int(rank) - 1]))


def boundary(squares: Any, alpha: float, tightest: float) -> Any:
    """What a sum of scores of mean 0 ever exceeds with probability alpha at most. Numbers or
    arrays.

    With V the sum of their squares and rho the spread of the mixture, sqrt(2 (V rho^2 + 1) / rho^2
    ln(1 + sqrt(V rho^2 + 1) / (2 alpha))). It follows from the half-normal mixture 2 exp(x^2 / 2)
    Phi(x) / sqrt(V rho^2 + 1), x = rho S / sqrt(V rho^2 + 1), by Phi(x) >= 1 - exp(-x^2 / 2) and
    Ville's inequality.

    Args:
        squares: V.
        tightest: the V at which the boundary is lowest for its size; it holds at every one.
    """
    doubled = -2 * np.log(2 * alpha)
    spread = (doubled + np.log(doubled) + 1) / tightest  # rho^2
    grown = squares * spread + 1
    return np.sqrt(2 * grown / spread * np.log1p(np.sqrt(grown) / (2 * alpha)))
