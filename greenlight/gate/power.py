"""How many pairs an objective needs, and how small a margin a number of pairs can show: known
before a run, from the noise of a service.

The question is always the same: a candidate that is exactly as good as live should be promoted in
95% of runs. Promote asks for every objective, so each may fail to show it in only its share of the
other 5% (`MISSED`, by Bonferroni). What is not measured against live, or asks for better than live,
cannot be planned like that, and is left out.

What `noise` means follows from how an objective is compared:

- a ratio of latencies: c, the standard deviation of the logarithm of the ratio times the square
  root of the number of pairs
- a share of requests over an SLO: the share of pairs of which exactly one request is over it
- the error rate: live's share of failed requests
- throughput: the standard deviation of the logarithm of the ratio of a pair of blocks
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from greenlight.gate.catalogue import QUALITY
from greenlight.gate.objectives import MIN_BLOCK_PAIRS, Gate, Objective
from greenlight.stats.estimates import proportion
from greenlight.stats.latencies import share_variance
from greenlight.stats.sequential import look_errors

MISSED = 0.05
"""Share of runs of an equal model that may end without promote."""
LOOKS_COST = 1.043
"""Times the pairs that looks with O'Brien-Fleming spending need, for the same power (Jennison and
Turnbull 2000, section 2.4; five looks).
"""
TYPICAL = {
    "p50": 0.32,
    "p90": 0.58,
    "p95": 1.06,
    "mean": 0.75,
    "over_slo": 0.02,
    "error_rate": 0.0005,
    "output_tokens_per_second": 0.03,
}
"""Of requests that vary by a quarter, 2% of which take five times as long; four fifths of the rest
comes from the prompt. The last three are assumed.
"""
MOST_PAIRS = 1_000_000
"""Most pairs that are reported: an objective that needs more is reported to need these."""
UNLIKELY = 1e-6
"""Tails of a distribution that are not counted."""


@dataclass(frozen=True)
class Need:
    """What one objective asks of a benchmark.

    Attributes:
        noise: see above. `measured`: by `greenlight gate calibrate`; else the typical value.
        needed: pairs of requests, throughput windows, or for the error rate requests per color,
            with which an equal model passes as often as planned.
        budget: what the gate measures of them.
        resolvable: the limit nearest to "equal" that the budget can show. In the objective's own
            terms: a ratio, or a difference of shares.
    """

    objective: Objective
    noise: float
    measured: bool
    needed: int
    budget: int
    resolvable: float

    @property
    def enough(self) -> bool:
        return self.needed <= self.budget

    @property
    def unit(self) -> str:
        return {"blocks": "throughput windows", "errors": "requests per color"}.get(
            self.objective.kind.source, "pairs"
        )


def can_be_planned(objective: Objective) -> bool:
    """Whether an equal model should pass it, and how many pairs that takes can be known
    beforehand.
    """
    if objective.scope != "vs_live" or objective.kind.source in QUALITY:
        return False
    if objective.comparison == "difference":
        return objective.at_most and 0 < objective.limit < 1
    return _margin(objective) > 1


def plan(
    gate: Gate, noises: Mapping[str, float] | None = None, requests: int | None = None
) -> list[Need]:
    """What each objective of a gate needs that `can_be_planned` says can be known.

    Args:
        noises: measured ones, by `Objective.phrase`. Others are typical.
        requests: of a color, those of the throughput windows included. None: at least one for each
            user in a block.
    """
    size = gate.benchmark
    requests = requests or size.pairs + size.throughput_blocks * size.concurrency
    found = [objective for objective in gate.objectives if can_be_planned(objective)]
    return [
        _need(objective, gate, len(found), (noises or {}).get(objective.phrase), requests)
        for objective in found
    ]


def _need(
    objective: Objective, gate: Gate, share: int, measured: float | None, requests: int
) -> Need:
    size = gate.benchmark
    key = objective.statistic or objective.metric
    noise = TYPICAL[key] if measured is None else measured
    alpha, missed = 1 - objective.confidence, MISSED / share
    if objective.kind.source == "blocks":
        budget, (needed, least) = (
            size.throughput_blocks,
            _blocks(objective, noise, alpha, missed, size.throughput_blocks),
        )
    elif objective.metric == "error_rate":
        last = look_errors(tuple(pairs / size.pairs for pairs in size.look_pairs), alpha)[-1]
        budget, (needed, least) = requests, _errors(objective, noise, last, missed, requests)
    else:
        cost = LOOKS_COST if len(size.look_pairs) > 1 else 1.0
        sizes = _share_over if objective.statistic == "over_slo" else _ratio
        budget, (needed, least) = (
            size.pairs,
            sizes(objective, noise, alpha, missed, size.pairs, cost),
        )
    return Need(objective, noise, measured is not None, needed, budget, least)


def _margin(objective: Objective) -> float:
    """How many times worse than live still passes."""
    if objective.at_most:
        return objective.limit
    return 1 / objective.limit if objective.limit > 0 else math.inf


def _limit(objective: Objective, margin: float) -> float:
    return margin if objective.at_most else 1 / margin


def _z(error: float) -> float:
    return float(-special.ndtri(error))


def _pairs(needed: float) -> int:
    return math.ceil(min(needed, MOST_PAIRS))


def _ratio(
    objective: Objective, c: float, alpha: float, missed: float, budget: int, cost: float
) -> tuple[int, float]:
    """N = cost ((z_alpha + z_missed) c / ln margin)^2: the usual size of a non-inferiority test on
    the logarithm (Julious 2004).
    """
    reach = (_z(alpha) + _z(missed)) * c * math.sqrt(cost)
    return _pairs((reach / math.log(_margin(objective))) ** 2), _limit(
        objective, math.exp(min(reach / math.sqrt(budget), 50.0))
    )


def _share_over(
    objective: Objective, discordant: float, alpha: float, missed: float, budget: int, cost: float
) -> tuple[int, float]:
    """The size of Tango's score test when both colors are equal (Nam 1997): the variance at the
    limit for the error, the true one for the power.
    """

    def needed(limit: float) -> float:
        at_limit = share_variance(discordant / 2, discordant / 2, limit)
        return (
            cost
            * ((_z(alpha) * math.sqrt(at_limit) + _z(missed) * math.sqrt(discordant)) / limit) ** 2
        )

    return _pairs(needed(objective.limit)), _smallest(lambda limit: needed(limit) <= budget)


def _errors(
    objective: Objective, failing: float, alpha: float, missed: float, budget: int
) -> tuple[int, float]:
    """By enumeration: with how many requests per color the exact interval of the difference keeps
    the limit often enough, when both fail equally often.
    """

    def shown(limit: float, pairs: int) -> bool:
        return _passing_probability(failing, alpha, pairs, limit) >= 1 - missed

    pairs = 8
    while pairs < MOST_PAIRS and not shown(objective.limit, pairs):
        pairs *= 2
    low = pairs // 2
    # not quite monotone, as counts are whole numbers, but close enough
    while pairs < MOST_PAIRS and pairs - low > max(1, pairs // 500):
        middle = (low + pairs) // 2
        low, pairs = (low, middle) if shown(objective.limit, middle) else (middle, pairs)
    return min(pairs, MOST_PAIRS), _smallest(lambda limit: shown(limit, budget))


def _passing_probability(failing: float, alpha: float, pairs: int, limit: float) -> float:
    """How often the upper bound of `estimates.proportion_difference` keeps the limit, when both
    colors fail in this share of requests.
    """
    fewest, most = (
        (math.ceil(special.bdtrik(share, pairs, failing)) for share in (UNLIKELY, 1 - UNLIKELY))
        if 0 < failing < 1
        else [round(failing) * pairs] * 2
    )
    counts = np.arange(max(0, fewest), most + 1)
    chance = special.bdtr(counts, pairs, failing) - np.where(
        counts > 0, special.bdtr(np.maximum(counts - 1, 0), pairs, failing), 0.0
    )
    highs = np.array([proportion(int(count), pairs, 1 - alpha / 2).high for count in counts])
    lows = np.array([proportion(int(count), pairs, 1 - alpha / 2).low for count in counts])
    return float(chance @ (highs[:, None] - lows[None, :] <= limit) @ chance)


def _blocks(
    objective: Objective, deviation: float, alpha: float, missed: float, budget: int
) -> tuple[int, float]:
    """As `_ratio`, with Student's t, since blocks are few."""

    def reach(blocks: int) -> float:
        return (
            float(special.stdtrit(blocks - 1, 1 - alpha) + special.stdtrit(blocks - 1, 1 - missed))
            * deviation
            / math.sqrt(blocks)
        )

    wanted = math.log(_margin(objective))
    needed = next(
        (blocks for blocks in range(MIN_BLOCK_PAIRS, 10_001) if reach(blocks) <= wanted), MOST_PAIRS
    )
    return needed, _limit(objective, math.exp(min(reach(budget), 50.0)))


def _smallest(enough) -> float:  # type: ignore[no-untyped-def]
    """The smallest difference from 0 to 1 that is enough, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
