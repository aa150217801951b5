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

from greenlight.core.records import Look, ObjectiveResult, Verdict
from greenlight.gate import sentences
from greenlight.gate.catalogue import QUALITY
from greenlight.gate.estimators import measure_objective
from greenlight.gate.evidence import NoEvidenceError
from greenlight.gate.measurements import Samples
from greenlight.gate.objectives import Gate, Objective
from greenlight.stats.estimates import Measure
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
class _ObjectiveAtLook:
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
class LooksOutcome:
    """Where the looks ended. `judged` holds every objective at every look, `part` the samples of
    the last.
    """

    verdict: Verdict
    judged: list[list["_ObjectiveAtLook"]]
    part: Samples
    looks: list[Look]


def decide(samples: Samples, gate: Gate) -> LooksOutcome:
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
        # What a run that was cut short has beyond its last look may still speak against the
        # candidate.
        if sizes[-1:] not in (planned[-1:], (have,)):
            sizes = (*sizes, max(have, 1))
        fractions = tuple(size / planned[-1] for size in sizes)
    looks: list[Look] = []
    at_looks: list[list[_ObjectiveAtLook]] = []
    for number, size in enumerate(sizes):
        part = samples.take_first(size)
        judged = [_judge(objective, part, fractions, number) for objective in gate.objectives]
        _name_failures(judged, fractions, number)
        verdict = _combine(judged, samples.flaw)
        seen = len(part.pairs) if part.pairs is not None else 0
        passed, failed = sum(each.keeps for each in judged), sum(each.fails for each in judged)
        fraction = fractions[number]
        looks.append(
            Look(pairs=seen, fraction=fraction, passed=passed, failed=failed, verdict=verdict)
        )
        at_looks.append(judged)
        if verdict != "inconclusive":
            break
    return LooksOutcome(verdict, at_looks, part, looks)


def judge_samples(samples: Samples, gate: Gate) -> Judgement:
    """The verdict with its numbers and reasons; see `decide`."""
    decided, planned = decide(samples, gate), len(gate.benchmark.look_pairs)
    where = f" (look {len(decided.looks)} of {planned})" if planned > 1 else ""
    results = [_make_result(each, where) for each in decided.judged[-1]]
    looks = [
        look.model_copy(update={"bounds": [_judged_bound(each) for each in judged]})
        for look, judged in zip(decided.looks, decided.judged, strict=True)
    ]
    return Judgement(
        decided.verdict,
        sentences.explain_verdict(decided.verdict, results, samples.flaw),
        results,
        looks,
    )


def _allowed_error(
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
) -> _ObjectiveAtLook:
    alone = fractions == (1.0,) or objective.kind.source not in GROWING
    confidence = objective.confidence if alone else 1 - _allowed_error(objective, fractions, number)
    try:
        measure = measure_objective(objective, samples, confidence)
        if math.isnan(measure.value):
            raise NoEvidenceError("the samples give no number")
    except NoEvidenceError as problem:
        return _ObjectiveAtLook(objective, None, str(problem), False, confidence)
    keeps = _shows(measure, objective.limit, objective.at_most, confidence)
    doubted = keeps and samples.doubt and objective.kind.source not in QUALITY
    return _ObjectiveAtLook(
        objective,
        measure,
        f"that cannot count, because {samples.doubt}" if doubted else "",
        keeps and not doubted,
        confidence,
    )


def _name_failures(
    judged: list[_ObjectiveAtLook], fractions: tuple[float, ...], number: int
) -> None:
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
            if not each.fails
            and _breaks(each, 1 - _allowed_error(each.objective, fractions, number, left))
        ]
        if not named:
            return
        for each in named:
            each.breaks_at = 1 - _allowed_error(each.objective, fractions, number, left)
        left -= len(named)


def _breaks(judged: _ObjectiveAtLook, confidence: float) -> bool:
    assert judged.measure is not None
    return _shows(judged.measure, judged.objective.limit, not judged.objective.at_most, confidence)


def _shows(measure: Measure, limit: float, below: bool, confidence: float) -> bool:
    """Whether the bound is below the limit (or above); not tested where the estimate is on the
    other side already.
    """
    if below:
        return measure.value <= limit and measure.below(limit, confidence)
    return measure.value >= limit and measure.above(limit, confidence)


def _combine(judged: list[_ObjectiveAtLook], flaw: str) -> Verdict:
    if any(each.fails for each in judged):
        return "reject"
    return "promote" if all(each.keeps for each in judged) and not flaw else "inconclusive"


def _judged_bound(judged: _ObjectiveAtLook) -> float | None:
    """The confidence bound that is judged. None where there is nothing to judge."""
    if judged.measure is None:
        return None
    return (judged.measure.high if judged.objective.at_most else judged.measure.low)(
        judged.confidence, judged.objective.limit
    )


def _make_result(judged: _ObjectiveAtLook, look: str) -> ObjectiveResult:
    objective, measure, bound = judged.objective, judged.measure, _judged_bound(judged)
    status, value = "pass" if judged.keeps else "fail" if judged.fails else "inconclusive", None
    if measure is None:
        reason = f"{objective.phrase} cannot be judged: {judged.problem}"
    else:
        value = measure.value
        assert bound is not None
        reason = sentences.describe_bound(objective, value, bound, look)
        if judged.fails:
            opposite = (measure.low if objective.at_most else measure.high)(
                judged.breaks_at, objective.limit
            )
            reason = sentences.describe_breach(objective, value, opposite, look)
        elif not judged.keeps:
            reason += f"; {judged.problem}" if judged.problem else ": too uncertain to tell"
    return ObjectiveResult(
        name=objective.title,
        metric=objective.metric,
        scope=objective.scope,
        comparison=f"{'<=' if objective.at_most else '>='} {sentences.format_limit(objective)}",
        estimate=value,
        bound=bound,
        limit=objective.limit,
        confidence=objective.confidence,
        unit=sentences.unit_of_limit(objective),
        status=status,
        reason=reason,
    )
