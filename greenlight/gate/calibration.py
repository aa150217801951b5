"""Whether a gate has enough pairs for a service, from live measured against itself: the noise of
every metric, and how often an equal model would be promoted.

Both colors are the same release here, so which of a pair is called the candidate is arbitrary.
Blocks of pairs are resampled (a block bootstrap), the two requests of each pair are swapped at
random, and the gate judges the result as it judges a run. Every verdict but `promote` is then a
miss, and every `reject` a false alarm.
"""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenlight.core.errors import GreenlightError
from greenlight.core.records import CalibratedObjective, Calibration
from greenlight.gate.catalogue import QUALITY
from greenlight.gate.estimators import measure_objective
from greenlight.gate.evidence import NoEvidenceError, Pairs
from greenlight.gate.measurements import Samples
from greenlight.gate.objectives import Gate, Objective
from greenlight.gate.power import MISSED, MOST_PAIRS, Need, can_be_planned, plan
from greenlight.gate.sentences import explain_shortfall
from greenlight.gate.verdict import decide
from greenlight.stats.latencies import Mean, QuantileRatio, ShareDifference

log = logging.getLogger("greenlight.gate")

EQUAL_MODELS = 400
"""Equal models that are made and judged: a share of 95% is known to about a point."""
RESERVE = 0.02
"""Share that must be promoted beyond what a gate is planned for, because the calibration itself is
uncertain. `make gate-study` shows its effect.
"""
PROGRESS_SECONDS = 2.0


@dataclass(frozen=True)
class EqualModelShares:
    """How the gate judged equal models: shares, and the mean share of the pairs that it used."""

    promoted: float
    rejected: float
    pairs_used: float


def keep_calibratable(gate: Gate) -> Gate:
    """The gate without what live against itself says nothing of: quality, and objectives that ask
    for better than live.

    Raises:
        GreenlightError: nothing is left.
    """
    kept = [
        each
        for each in gate.objectives
        if can_be_planned(each) or (each.scope == "absolute" and each.kind.source not in QUALITY)
    ]
    if not kept:
        raise GreenlightError(
            f"the gate {gate.name} has no objective that compares with live, so it cannot be"
            " calibrated. Name another with --gate."
        )
    return gate.model_copy(update={"objectives": kept})


def pool_runs(runs: Sequence[Samples]) -> Samples:
    """The samples of several runs as of one; a block stays within its run."""
    if len(runs) == 1:
        return runs[0]
    pairs = [run.pairs for run in runs if run.pairs is not None]
    offsets = np.cumsum([0, *(int(each.blocks[-1]) + 1 for each in pairs[:-1])])
    latencies = {
        metric: {
            role: np.concatenate([each.latencies[metric][role] for each in pairs]) for role in roles
        }
        for metric, roles in pairs[0].latencies.items()
    }
    blocks = np.concatenate(
        [each.blocks + offset for each, offset in zip(pairs, offsets, strict=True)]
    )
    failed = {role: sum(each.failed[role] for each in pairs) for role in pairs[0].failed}
    found = [run.counts for run in runs if run.counts is not None]
    counts = (
        {
            role: (sum(each[role][0] for each in found), sum(each[role][1] for each in found))
            for role in found[0]
        }
        if found
        else None
    )
    rates = [run.rates for run in runs if run.rates is not None]
    return Samples(
        pairs=Pairs(latencies, blocks, failed),
        counts=counts,
        rates=(
            {role: np.concatenate([each[role] for each in rates]) for role in rates[0]}
            if rates
            else None
        ),
    )


def measure_noises(samples: Samples, gate: Gate) -> dict[str, float]:
    """The noise of every objective that can be planned, by its phrase; see `greenlight.gate.power`.
    Infinite where there is no telling.
    """
    return {
        objective.phrase: _measure_noise(objective, samples)
        for objective in gate.objectives
        if can_be_planned(objective)
    }


def _measure_noise(objective: Objective, samples: Samples) -> float:
    try:
        if objective.kind.source == "errors":
            counts = samples.need("errors", samples.counts)
            return sum(errors for errors, _ in counts.values()) / sum(
                trials for _, trials in counts.values()
            )
        if objective.kind.source == "blocks":
            rates = samples.need("blocks", samples.rates)
            ratios = np.log(rates["candidate"] / rates["live"])
            return (
                float(ratios.std(ddof=1))
                if len(ratios) > 1 and np.isfinite(ratios).all()
                else math.inf
            )
        measure = measure_objective(objective, samples, objective.confidence)
        assert isinstance(measure, QuantileRatio | Mean | ShareDifference)
        return measure.noise(objective.confidence, objective.limit)
    except NoEvidenceError:
        return math.inf


def judge_equal_models(
    samples: Samples, gate: Gate, times: int, random: np.random.Generator
) -> EqualModelShares:
    """Judge equal models made of the samples. Logs its progress every two seconds.

    Args:
        gate: as `keep_calibratable` leaves it.
    """
    verdicts, used, said = {"promote": 0, "reject": 0, "inconclusive": 0}, 0, time.monotonic()
    for number in range(times):
        decided = decide(_draw_equal_model(samples, gate, random), gate)
        verdicts[decided.verdict] += 1
        used += decided.looks[-1].pairs
        if time.monotonic() - said >= PROGRESS_SECONDS:
            said = time.monotonic()
            log.info("judging equal models", extra={"figure": f"{number + 1}/{times}"})
    return EqualModelShares(
        verdicts["promote"] / times, verdicts["reject"] / times, used / times / gate.benchmark.pairs
    )


def _draw_equal_model(samples: Samples, gate: Gate, random: np.random.Generator) -> Samples:
    """As many pairs and throughput windows as the gate measures, drawn by block, each with its
    colors changed or not.
    """
    found = samples.need("requests", samples.pairs)
    size = gate.benchmark
    sizes = np.bincount(found.blocks)
    starts = np.cumsum(sizes) - sizes
    drawn = random.integers(0, len(sizes), math.ceil(size.pairs / sizes.mean() * 1.5) + 5)
    drawn = drawn[: int(np.searchsorted(np.cumsum(sizes[drawn]), size.pairs)) + 1]
    rows = np.concatenate(
        [np.arange(starts[block], starts[block] + sizes[block]) for block in drawn]
    )[: size.pairs]
    blocks = np.repeat(np.arange(len(drawn)), sizes[drawn])[: size.pairs]
    changed = random.random(len(rows)) < 0.5
    latencies = {}
    for metric, roles in found.latencies.items():
        one, other = roles["candidate"][rows], roles["live"][rows]
        latencies[metric] = {
            "candidate": np.where(changed, other, one),
            "live": np.where(changed, one, other),
        }
    failed = {role: int(np.isinf(values).sum()) for role, values in latencies["e2e"].items()}
    return Samples(
        pairs=Pairs(latencies, blocks, failed),
        counts=_draw_counts(samples, found, failed, len(rows), random),
        rates=_draw_rates(samples, size.throughput_blocks, random),
    )


def _draw_counts(
    samples: Samples, found: Pairs, failed: dict[str, int], pairs: int, random: np.random.Generator
) -> dict[str, tuple[int, int]]:
    """Failures of the drawn pairs, and of as many requests of throughput windows to a pair as were
    measured, failing as often as those did.
    """
    counts = samples.need("errors", samples.counts)
    others = sum(trials for _, trials in counts.values()) - 2 * len(found)
    errors = sum(number for number, _ in counts.values()) - sum(found.failed.values())
    each = round(others / 2 / len(found) * pairs)
    share = errors / others if others > 0 else 0.0
    return {
        role: (failed[role] + int(random.binomial(each, share)), pairs + each) for role in failed
    }


def _draw_rates(
    samples: Samples, blocks: int, random: np.random.Generator
) -> dict[str, np.ndarray] | None:
    if samples.rates is None or not len(samples.rates["live"]):
        return samples.rates
    drawn = random.integers(0, len(samples.rates["live"]), blocks)
    changed = random.random(blocks) < 0.5
    one, other = samples.rates["candidate"][drawn], samples.rates["live"][drawn]
    return {"candidate": np.where(changed, other, one), "live": np.where(changed, one, other)}


def calibrate(
    runs: Sequence[Samples],
    gate: Gate,
    service: str,
    target: str,
    release_id: str,
    digest: str,
    judged: int = EQUAL_MODELS,
    seed: int = 1,
) -> Calibration:
    """What live against itself says of a gate.

    It is resolvable when 97% of the equal models are promoted, two points more than a gate is
    planned for: a percentile like p95 rests on few requests, and a calibration that happened to
    see little noise must not promise too much. The pairs that single objectives need are no
    condition: each is planned with a reserve.

    Args:
        runs: of live against itself; every source of the gate must be there.

    Raises:
        GreenlightError: the gate has no objective that compares with live.
        NoEvidenceError: there are no samples.
    """
    asked, samples = keep_calibratable(gate), pool_runs(runs)
    found = measure_noises(samples, asked)
    known = {phrase: noise for phrase, noise in found.items() if math.isfinite(noise)}
    needs = {
        need.objective.title: need for need in plan(asked, known, _count_requests(samples, asked))
    }
    objectives = [
        _calibrate_objective(each, found.get(each.phrase), needs.get(each.title))
        for each in asked.objectives
    ]
    shares = judge_equal_models(samples, asked, judged, np.random.default_rng(seed))
    short = sorted(
        (each for each in objectives if not each.enough),
        key=lambda each: (each.needed or MOST_PAIRS) / (each.budget or 1),
        reverse=True,
    )
    resolvable = shares.promoted >= 1 - MISSED + RESERVE
    if resolvable:
        reason = (
            f"resolvable: an equal model is promoted in about {100 * shares.promoted:.0f}% of runs"
        )
    else:
        why = short[0].reason if short else "each objective alone would pass, but not all together"
        why += f" (and {len(short) - 1} more)" if len(short) > 1 else ""
        reason = (
            f"not resolvable: with {gate.benchmark.pairs:,} pairs this gate promotes an equal"
            f" model in only about {100 * shares.promoted:.0f}% of runs. {why}"
        )
    return Calibration(
        service=service,
        target=target,
        release_id=release_id,
        digest=digest,
        gate_name=gate.name,
        gate_digest=gate.digest,
        pairs=len(samples.need("requests", samples.pairs)),
        runs=len(runs),
        budget=gate.benchmark.pairs,
        objectives=objectives,
        judged=judged,
        promoted=shares.promoted,
        rejected=shares.rejected,
        inconclusive=max(0.0, 1 - shares.promoted - shares.rejected),
        pairs_used=shares.pairs_used,
        resolvable=resolvable,
        reason=reason,
    )


def _count_requests(samples: Samples, gate: Gate) -> int | None:
    """Of a color, that a run of the gate would send, at as many a pair as were measured."""
    if samples.counts is None or samples.pairs is None:
        return None
    trials = sum(number for _, number in samples.counts.values()) / len(samples.counts)
    return round(trials / len(samples.pairs) * gate.benchmark.pairs)


def _calibrate_objective(
    objective: Objective, noise: float | None, need: Need | None
) -> CalibratedObjective:
    """`need` is None for an absolute objective, of which only the judged equal models tell."""
    about = {"name": objective.title, "phrase": objective.phrase, "limit": objective.limit}
    if need is None:
        return CalibratedObjective(
            **about,
            noise=None,
            enough=True,
            reason="is absolute: no pairs are planned for it, but it is judged with the others",
        )
    if noise is None or not math.isfinite(noise):
        return CalibratedObjective(
            **about,
            noise=None,
            budget=need.budget,
            enough=False,
            reason=f"{objective.title}: its noise could not be measured",
        )
    return CalibratedObjective(
        **about,
        noise=noise,
        needed=need.needed,
        budget=need.budget,
        resolvable=need.resolvable,
        enough=need.enough,
        reason=(
            explain_shortfall(need)
            if not need.enough
            else f"needs {need.needed:,} {need.unit} of {need.budget:,}"
        ),
    )
