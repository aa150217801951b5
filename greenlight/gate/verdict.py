"""From samples to a verdict, without files: what the step calls, and `make gate-study`.

The burden of proof lies with the candidate. An objective passes when its confidence bound keeps the
limit. All must pass for `promote`, each at its full confidence: an intersection-union test, which
needs no correction for their number (Berger 1982). Those whose opposite bound breaks the limit
fail, and are named under Holm (1979), so that a sound candidate is called bad in any of them only
as often as one bound errs; one that fails makes it `reject`. Everything else is `inconclusive`.

With looks (`benchmark.looks` of the gate) the same question is put to the pairs that were there by
each look, in order, and the first promote or reject ends it; each look may err only as much as
`greenlight.stats.sequential` gives it. Quality and throughput are not measured in pairs: they are
the same at every look, and judged at full confidence. The benchmark asks the same at each look, and
ends at the one that decides (`greenlight.gate.looks`).
"""

import math
from dataclasses import dataclass

import numpy as np

from greenlight.core.records import Look, ObjectiveResult, Verdict
from greenlight.evaluate.compare import TAIL
from greenlight.gate import sentences
from greenlight.gate.catalogue import PERCENTILES, QUALITY
from greenlight.gate.evidence import MIN_DOCUMENTS, TOLERANCE, Documents, NoEvidenceError, Pairs
from greenlight.gate.measurements import Samples, Value
from greenlight.gate.objectives import MIN_BLOCK_PAIRS, MIN_ITEMS, MIN_TAIL_PAIRS, Gate, Objective
from greenlight.stats import estimates, latencies
from greenlight.stats.bootstrap import quantile_of_clusters, ratio_of_sums
from greenlight.stats.estimates import Estimate, Interval, Measure
from greenlight.stats.sequential import look_errors

GROWING = ("requests", "errors")
"""Sources of which a later look has more."""


@dataclass(frozen=True)
class Judgement:
    """The verdict, why, every objective at the look that ended it, and the looks until then."""

    verdict: Verdict
    reason: str
    objectives: list[ObjectiveResult]
    looks: list[Look]


@dataclass
class _Judged:
    """One objective at one look. `problem`: why it cannot be judged."""

    objective: Objective
    measure: Measure | None
    problem: str
    keeps: bool
    confidence: float
    breaks_at: float = math.nan  # the confidence at which it was shown to be beyond its limit

    @property
    def fails(self) -> bool:
        return not math.isnan(self.breaks_at)


@dataclass(frozen=True)
class Decided:
    """Where the looks ended. `judged` holds every objective at every look, `part` the samples of
    the last.
    """

    verdict: Verdict
    judged: list[list["_Judged"]]
    part: Samples
    looks: list[Look]


def decide(samples: Samples, gate: Gate) -> Decided:
    """Judge at each planned look until one says promote or reject. Bad or missing samples are
    `inconclusive`, never an error.

    Args:
        samples: of all pairs. More than the gate plans are left out when it plans looks, as a run
            may not be extended.
    """
    planned = gate.benchmark.look_pairs
    have = len(samples.pairs) if samples.pairs is not None else 0
    if len(planned) == 1:
        sizes: tuple[int, ...] = (max(have, planned[0]),)
        fractions: tuple[float, ...] = (1.0,)
    else:
        sizes = tuple(pairs for pairs in planned if pairs <= have)
        # what a run that was cut short has beyond its last look may still speak against the
        # candidate
        if sizes[-1:] not in (
            planned[-1:],
            (have,),
        ):
            sizes = (*sizes, max(have, 1))
        fractions = tuple(size / planned[-1] for size in sizes)
    looks: list[Look] = []
    at_looks: list[list[_Judged]] = []
    for number, size in enumerate(sizes):
        part = samples.first(size)
        judged = [_judge(objective, part, fractions, number) for objective in gate.objectives]
        _name_failures(judged, fractions, number)
        verdict = _verdict(judged, samples.flaw)
        seen = len(part.pairs) if part.pairs is not None else 0
        passed, failed = sum(each.keeps for each in judged), sum(each.fails for each in judged)
        looks.append(
            Look(
                pairs=seen,
                fraction=fractions[number],
                passed=passed,
                failed=failed,
                verdict=verdict,
            )
        )
        at_looks.append(judged)
        if verdict != "inconclusive":
            break
    return Decided(verdict, at_looks, part, looks)


def judge_samples(samples: Samples, gate: Gate) -> Judgement:
    """The verdict with its numbers and reasons; see `decide`."""
    decided, planned = decide(samples, gate), len(gate.benchmark.look_pairs)
    where = f" (look {len(decided.looks)} of {planned})" if planned > 1 else ""
    results = [_result(each, where) for each in decided.judged[-1]]
    looks = [
        look.model_copy(update={"bounds": [_bound(each) for each in judged]})
        for look, judged in zip(decided.looks, decided.judged, strict=True)
    ]
    return Judgement(
        decided.verdict, _reason(decided.verdict, results, samples.flaw), results, looks
    )


def _error(
    objective: Objective, fractions: tuple[float, ...], number: int, share: int = 1
) -> float:
    """The one-sided error of an objective at a look, when it has only `1 / share` of its own."""
    alpha = (1 - objective.confidence) / share
    return (
        look_errors(fractions, alpha)[number]
        if objective.kind.source in GROWING and fractions != (1.0,)
        else alpha
    )


def _judge(
    objective: Objective, samples: Samples, fractions: tuple[float, ...], number: int
) -> _Judged:
    alone = fractions == (1.0,) or objective.kind.source not in GROWING
    confidence = objective.confidence if alone else 1 - _error(objective, fractions, number)
    try:
        measure = measured(objective, samples, confidence)
        if math.isnan(measure.value):
            raise NoEvidenceError("the samples give no number")
    except NoEvidenceError as problem:
        return _Judged(objective, None, str(problem), False, confidence)
    keeps = _shows(measure, objective.limit, objective.at_most, confidence)
    doubted = keeps and samples.doubt and objective.kind.source not in QUALITY
    return _Judged(
        objective,
        measure,
        f"that cannot count, because {samples.doubt}" if doubted else "",
        keeps and not doubted,
        confidence,
    )


def _name_failures(judged: list[_Judged], fractions: tuple[float, ...], number: int) -> None:
    """Mark those that are shown to break their limit, by Holm's (1979) steps: each has its error
    divided by those not named yet.

    At a look each step uses its own spending of the smaller error (Glimm, Maurer and Bretz 2010;
    Ye, Li, Liu and Yao 2013).
    """
    open_ones = [
        each for each in judged if each.measure is not None and not each.keeps and not each.problem
    ]
    left = len(judged)
    while True:
        named = [
            each
            for each in open_ones
            if not each.fails and _breaks(each, 1 - _error(each.objective, fractions, number, left))
        ]
        if not named:
            return
        for each in named:
            each.breaks_at = 1 - _error(each.objective, fractions, number, left)
        left -= len(named)


def _breaks(judged: _Judged, confidence: float) -> bool:
    assert judged.measure is not None
    return _shows(judged.measure, judged.objective.limit, not judged.objective.at_most, confidence)


def _shows(measure: Measure, limit: float, below: bool, confidence: float) -> bool:
    """Whether the bound is below the limit (or above); not tested where the estimate is on the
    other side already.
    """
    if below:
        return measure.value <= limit and measure.below(limit, confidence)
    return measure.value >= limit and measure.above(limit, confidence)


def _verdict(judged: list[_Judged], flaw: str) -> Verdict:
    if any(each.fails for each in judged):
        return "reject"
    return "promote" if all(each.keeps for each in judged) and not flaw else "inconclusive"


def _reason(verdict: Verdict, results: list[ObjectiveResult], flaw: str) -> str:
    found = [
        result
        for result in results
        if result.status == ("fail" if verdict == "reject" else "inconclusive")
    ]
    if found:
        more = (
            f" (and {len(found) - 1} more of {len(results)} objectives)"
            if len(found) > 1
            else f" (1 of {len(results)} objectives)"
        )
        return found[0].reason + more
    return (
        f"all objectives pass, but {flaw}"
        if verdict != "promote"
        else f"all {len(results)} objectives pass"
    )


def _bound(judged: _Judged) -> float | None:
    """The confidence bound that is judged. None where there is nothing to judge."""
    if judged.measure is None:
        return None
    return (judged.measure.high if judged.objective.at_most else judged.measure.low)(
        judged.confidence, judged.objective.limit
    )


def _result(judged: _Judged, look: str) -> ObjectiveResult:
    objective, measure, bound = judged.objective, judged.measure, _bound(judged)
    status, value = "pass" if judged.keeps else "fail" if judged.fails else "inconclusive", None
    if measure is None:
        reason = f"{objective.phrase} cannot be judged: {judged.problem}"
    else:
        value = measure.value
        assert bound is not None
        reason = sentences.measured(objective, value, bound, look)
        if judged.fails:
            opposite = (measure.low if objective.at_most else measure.high)(
                judged.breaks_at, objective.limit
            )
            reason = sentences.broken(objective, value, opposite, look)
        elif not judged.keeps:
            reason += f"; {judged.problem}" if judged.problem else ": too uncertain to tell"
    return ObjectiveResult(
        name=objective.title,
        metric=objective.metric,
        scope=objective.scope,
        comparison=f"{'<=' if objective.at_most else '>='} {sentences.limit(objective)}",
        estimate=value,
        bound=bound,
        limit=objective.limit,
        confidence=objective.confidence,
        unit=sentences.unit(objective),
        status=status,  # type: ignore[arg-type]
        reason=reason,
    )


def measured(objective: Objective, samples: Samples, confidence: float) -> Measure:
    """What an objective is judged by. Raises NoEvidenceError when there is nothing to measure from."""
    source, against_live = objective.kind.source, objective.scope == "vs_live"
    if source == "documents":
        documents = samples.need(source, samples.documents)
        return Interval(lambda at: _quality(objective.metric, documents, at), confidence)
    if source == "tasks":
        return _accuracy_drop(samples)
    if source == "requests":
        return _latency(objective, samples.need(source, samples.pairs))
    if source == "errors":
        counts = samples.need(source, samples.counts)
        if not all(trials for _, trials in counts.values()):
            raise NoEvidenceError("there is no request yet")
        if against_live:
            live_counts = _live(counts)
            return Interval(
                lambda at: estimates.proportion_difference(counts["candidate"], live_counts, at),
                confidence,
            )
        return Interval(lambda at: estimates.proportion(*counts["candidate"], at), confidence)
    rates = samples.need(source, samples.rates)
    if len(rates["candidate"]) < MIN_BLOCK_PAIRS:
        raise NoEvidenceError(
            f"there are {len(rates['candidate'])} throughput blocks, and {MIN_BLOCK_PAIRS} are"
            " needed"
        )
    if objective.metric == "cost_per_million_tokens":
        rates = _costs(rates, samples.prices)
    if not against_live:
        return Interval(lambda at: estimates.rate(rates["candidate"], at), confidence)
    live = _live(rates)
    if (live <= 0).any():
        raise NoEvidenceError(
            "live gave no output in a throughput block: there is nothing to compare with"
        )
    return Interval(lambda at: estimates.rate_ratio(rates["candidate"], live, at), confidence)


def _costs(
    rates: dict[str, estimates.Floats], prices: dict[str, float] | None
) -> dict[str, estimates.Floats]:
    """USD for a million output tokens, by role and block."""
    if prices is None:
        raise NoEvidenceError("the workload names no price_per_hour")
    if any((values <= 0).any() for values in rates.values()):
        raise NoEvidenceError("a color gave no output in a throughput block: that has no price")
    return {role: prices[role] / (3600 * values) * 1e6 for role, values in rates.items()}


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


def _quality(metric: str, documents: Documents, confidence: float) -> Estimate:
    if len(documents) < MIN_DOCUMENTS:
        raise NoEvidenceError(
            f"{len(documents)} documents are too few to tell how far it would vary with other"
            f" texts; evaluate on {MIN_DOCUMENTS} or more"
        )
    # Two one-sided bounds at `confidence` are the ends of a two-sided interval with twice the
    # error.
    estimate = Estimate(
        *(
            _tail(documents, 2 * confidence - 1)
            if metric == "kl_p99"
            else _ratio(metric, documents, 2 * confidence - 1)
        )
    )
    recorded = documents.recorded.get(metric)
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


def _ratio(metric: str, documents: Documents, confidence: float) -> tuple[float, ...]:
    numerator, denominator = {
        "kl_mean": (documents.kl_sum, documents.tokens),
        "top1_agreement": (documents.top1_agree, documents.tokens),
        "bits_per_byte": (documents.nll_candidate / math.log(2), documents.bytes),
        "perplexity_ratio": (documents.nll_candidate - documents.nll_baseline, documents.tokens),
    }[metric]
    interval = ratio_of_sums(numerator, denominator, confidence)
    return (
        tuple(float(np.exp(value)) for value in interval)
        if metric == "perplexity_ratio"
        else interval
    )


def _live(by_role: dict[str, Value]) -> Value:
    if "live" not in by_role:
        raise NoEvidenceError(
            "only one endpoint was measured: there is no live color to compare with"
        )
    return by_role["live"]
