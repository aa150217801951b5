"""What an objective is judged by: from samples to an estimate with its confidence bounds.

Which estimator a metric has stands in its entry of the catalogue; here they are put to the samples.
"""

import math

import numpy as np

from greenlight.core.prices import cost_per_million_tokens
from greenlight.evaluate.compare import TAIL
from greenlight.gate.catalogue import PERCENTILES, RatioOfSums
from greenlight.gate.evidence import MIN_DOCUMENTS, TOLERANCE, Documents, NoEvidenceError, Pairs
from greenlight.gate.measurements import Samples, Value
from greenlight.gate.objectives import MIN_BLOCK_PAIRS, MIN_ITEMS, MIN_TAIL_PAIRS, Objective
from greenlight.stats import estimates, latencies
from greenlight.stats.documents import quantile_of_clusters, ratio_of_sums
from greenlight.stats.estimates import Estimate, Interval, Measure


def measure_objective(objective: Objective, samples: Samples, confidence: float) -> Measure:
    """Measure what an objective is judged by.

    Raises:
        NoEvidenceError: there is nothing to measure it from.
    """
    match objective.kind.estimator:
        case RatioOfSums() | "tail":
            documents = samples.need("documents", samples.documents)
            return Interval(lambda at: _quality(objective, documents, at), confidence)
        case "items":
            return _accuracy_drop(samples)
        case "latency":
            return _latency(objective, samples.need("requests", samples.pairs))
        case "share":
            return _error_rate(objective, samples, confidence)
        case "rate" | "cost":
            return _rate(objective, samples, confidence)


def _error_rate(objective: Objective, samples: Samples, confidence: float) -> Measure:
    counts = samples.need("errors", samples.counts)
    if not all(trials for _, trials in counts.values()):
        raise NoEvidenceError("there is no request yet")
    candidate = counts["candidate"]
    if objective.scope == "absolute":
        return Interval(lambda at: estimates.proportion(*candidate, at), confidence)
    live = _live(counts)
    return Interval(lambda at: estimates.proportion_difference(candidate, live, at), confidence)


def _rate(objective: Objective, samples: Samples, confidence: float) -> Measure:
    """Output tokens per second of the throughput windows, or what they cost."""
    rates = samples.need("blocks", samples.rates)
    if len(rates["candidate"]) < MIN_BLOCK_PAIRS:
        raise NoEvidenceError(
            f"there are {len(rates['candidate'])} throughput windows, and {MIN_BLOCK_PAIRS} are"
            " needed"
        )
    if objective.kind.estimator == "cost":
        rates = _costs(rates, samples.prices)
    if objective.scope == "absolute":
        return Interval(lambda at: estimates.rate(rates["candidate"], at), confidence)
    live = _live(rates)
    if (live <= 0).any():
        raise NoEvidenceError(
            "live gave no output in a throughput window: there is nothing to compare with"
        )
    return Interval(lambda at: estimates.rate_ratio(rates["candidate"], live, at), confidence)


def _costs(
    rates: dict[str, estimates.Floats], prices: dict[str, float] | None
) -> dict[str, estimates.Floats]:
    """USD per million output tokens, by role and block."""
    if prices is None:
        raise NoEvidenceError("the workload names no price_per_hour")
    if any((values <= 0).any() for values in rates.values()):
        raise NoEvidenceError("a color gave no output in a throughput window: that has no price")
    return {role: cost_per_million_tokens(prices[role], values) for role, values in rates.items()}


def _latency(objective: Objective, pairs: Pairs) -> Measure:
    values = pairs.latencies[objective.metric]
    share = PERCENTILES[objective.statistic] / 100 if objective.statistic in PERCENTILES else None
    beyond = len(pairs) * (1 - share) if share else len(pairs)
    if beyond < MIN_TAIL_PAIRS - 1e-9:
        raise NoEvidenceError(
            f"{len(pairs)} pairs leave {beyond:.3g} requests beyond {objective.statistic or 'it'},"
            f" and {MIN_TAIL_PAIRS} are needed"
        )
    candidate = values["candidate"]
    if any(np.isnan(each).any() for each in values.values()):
        raise NoEvidenceError("single tokens have no gaps between them")
    if objective.statistic == "over_slo":
        if objective.scope == "vs_live":
            return latencies.share_over(candidate, _live(values), pairs.blocks, objective.slo or 0)
        over = int((candidate > (objective.slo or 0)).sum())
        return Interval(
            lambda at: estimates.proportion(over, len(candidate), at), objective.confidence
        )
    if objective.scope == "absolute":
        return latencies.latency(candidate, pairs.blocks, share)
    measure = latencies.latency_ratio(candidate, _live(values), pairs.blocks, share)
    if math.isnan(measure.value):
        raise NoEvidenceError(
            f"live has no {objective.phrase} to compare with ({pairs.failed['live']} of its"
            f" {len(pairs)} requests failed)"
        )
    return measure


def _quality(objective: Objective, documents: Documents, confidence: float) -> Estimate:
    if len(documents) < MIN_DOCUMENTS:
        raise NoEvidenceError(
            f"{len(documents)} documents are too few to tell how far it would vary with other"
            f" texts; evaluate on {MIN_DOCUMENTS} or more"
        )
    # Two one-sided bounds at `confidence` are the ends of a two-sided interval with twice the
    # error.
    two_sided = 2 * confidence - 1
    kind = objective.kind.estimator
    estimate = Estimate(
        *(
            _ratio(kind, documents, two_sided)
            if isinstance(kind, RatioOfSums)
            else _tail(documents, two_sided)
        )
    )
    recorded = documents.recorded.get(objective.metric)
    if recorded is None or not math.isclose(
        recorded, estimate.value, rel_tol=TOLERANCE, abs_tol=1e-12
    ):
        raise NoEvidenceError(
            f"its samples give {estimate.value:.6g}, and its record says {recorded}"
        )
    return estimate


def _accuracy_drop(samples: Samples) -> Measure:
    """A paired difference of shares, as of requests that are too slow: every item is a block of its
    own.
    """
    if samples.flips is None and "tasks" not in samples.missing:
        raise NoEvidenceError("the candidate was asked no tasks; name some by the parameter tasks")
    flips = samples.need("tasks", samples.flips)
    if len(flips) < MIN_ITEMS:
        raise NoEvidenceError(
            f"{len(flips)} items are too few to tell how far it would vary with others; ask"
            f" {MIN_ITEMS} or more"
        )
    return latencies.ShareDifference(float(flips.mean()), np.arange(len(flips)), flips)


def _tail(documents: Documents, confidence: float) -> tuple[float, float, float]:
    if documents.token_kl is None or documents.token_document is None:
        raise NoEvidenceError("the evaluation kept no divergences of single tokens; evaluate again")
    return quantile_of_clusters(documents.token_kl, documents.token_document, TAIL, confidence)


def _ratio(kind: RatioOfSums, documents: Documents, confidence: float) -> tuple[float, ...]:
    interval = ratio_of_sums(kind.top(documents), kind.bottom(documents), confidence)
    return tuple(float(np.exp(value)) for value in interval) if kind.exponential else interval


def _live(by_role: dict[str, Value]) -> Value:
    if "live" not in by_role:
        raise NoEvidenceError(
            "only one endpoint was measured: there is no live color to compare with"
        )
    return by_role["live"]
