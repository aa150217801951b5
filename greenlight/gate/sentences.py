"""What the gate says to people: values with units, limits, each objective in a sentence, and the
sentence that explains a verdict.
"""

import math
from collections.abc import Mapping, Sequence

from greenlight.core.records import Calibration, ObjectiveResult, Verdict
from greenlight.gate.objectives import Bake, Gate, Objective
from greenlight.gate.power import Need, plan


def format_value(objective: Objective, value: float) -> str:
    """A value with its unit."""
    if math.isinf(value):
        return "unbounded"
    if objective.scope == "vs_live":
        return (
            f"{value:.2f}x live"
            if objective.comparison == "ratio"
            else f"{100 * value:+.2f} points against live"
        )
    if objective.kind.is_share or objective.statistic == "over_slo":
        return f"{100 * value:.2f}%"
    unit = objective.kind.unit
    if unit == "s":
        return f"{1000 * value:.4g} ms"
    return f"{value:.4g} {unit}".replace(" x", "x").strip()


def format_limit(objective: Objective) -> str:
    return format_value(objective, objective.limit)


def unit_of_limit(objective: Objective) -> str:
    if objective.scope == "vs_live":
        return "x live" if objective.comparison == "ratio" else "points"
    return "" if objective.statistic == "over_slo" else objective.kind.unit


def _format_confidence(objective: Objective) -> str:
    return f"{100 * objective.confidence:.4g}%"


def describe_bound(objective: Objective, value: float, bound: float, look: str) -> str:
    """As in: p95 of E2E is 0.31x live; at 95% confidence at most 0.35x live; limit 1.1x live."""
    side = "at most" if objective.at_most else "at least"
    return (
        f"{_describe_estimate(objective, value)}; at {_format_confidence(objective)}"
        f" confidence{look} {side} {format_value(objective, bound)};"
        f" limit {format_limit(objective)}"
    )


def describe_breach(objective: Objective, value: float, opposite: float, look: str) -> str:
    side = "at least" if objective.at_most else "at most"
    return (
        f"{_describe_estimate(objective, value)}; at {_format_confidence(objective)}"
        f" confidence{look} {side} {format_value(objective, opposite)},"
        f" beyond the limit {format_limit(objective)}"
    )


def explain_verdict(verdict: Verdict, results: Sequence[ObjectiveResult], flaw: str) -> str:
    """The one sentence that a decision gives as its reason: that of the first objective that did
    not pass, or that all did.

    Args:
        flaw: why nothing may be promoted, whatever the objectives say; empty where there is none.
    """
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


def _describe_estimate(objective: Objective, value: float) -> str:
    return f"{objective.phrase} is {format_value(objective, value)}"


SOURCES = {
    "requests": "the paired requests",
    "errors": "all requests of the benchmark",
    "blocks": "the throughput windows",
    "documents": "the documents of the evaluation",
    "tasks": "the items of the evaluation's tasks",
}
EQUAL_MODEL = "an equal model (one exactly as good as live)"


def explain(gate: Gate) -> list[str]:
    """What a gate means: a line for how it decides, one for each objective, and one for the bake
    after the switch.
    """
    plan, looks = gate.benchmark, gate.benchmark.look_pairs
    pair = "a pair is the same request to the candidate and to live"
    when = (
        f"at most {plan.pairs:,} pairs ({pair}) and may decide early, after"
        f" {', '.join(f'{pairs:,}' for pairs in looks[:-1])}"
        if len(looks) > 1
        else f"{plan.pairs:,} pairs ({pair})"
    )
    lines = [
        f"The gate {gate.name} promotes when all {len(gate.objectives)} objectives pass, and"
        " rejects when at least one is shown to fail. Everything else is inconclusive. It"
        f" measures {when}."
    ]
    lines += [
        f"{objective.title}: {_explain_objective(objective)}" for objective in gate.objectives
    ]
    lines += explain_power(gate)
    bake = gate.bake
    if bake.seconds:
        lines.append(
            f"After the switch the bake watches the new color for {bake.seconds:g} s. It rolls back"
            f" when more than {bake.max_errors} probes fail; {_explain_rollback(bake)}"
        )
    return lines


def _explain_rollback(bake: Bake) -> str:
    """The rest of the line on the bake."""
    late = "each probe that only the old color fails allows 2 more."
    if bake.max_seconds:
        late += f" A probe that takes longer than {bake.max_seconds:g} s counts as failed."
    if bake.max_slower is None:
        return f"{late} Latencies are not compared."
    load = (
        f", beyond the slowdown by load that {bake.reference_pairs} pairs before the switch showed"
        if bake.reference_pairs
        else ""
    )
    return (
        f"{late} {bake.probes_per_second:g} times per second both colors get the same prompt; it"
        f" also rolls back when, with {100 * bake.confidence:.4g}% confidence, the new color takes"
        f" more than {bake.max_slower:g} times as long as the old one{load}."
    )


def _explain_objective(objective: Objective) -> str:
    side = "at most" if objective.at_most else "at least"
    if objective.scope == "absolute":
        claim = f"{side} {format_limit(objective)}"
    elif objective.comparison == "difference":
        claim = f"{side} {100 * objective.limit:g} percentage points more than that of live"
    else:
        claim = f"{side} {objective.limit:g} times that of live"
    if objective.better_by is not None:
        claim += f", which is {100 * objective.better_by:g}% better"
    return (
        f"passes when, with {_format_confidence(objective)} confidence, the candidate's"
        f" {objective.phrase} is {claim}. {objective.kind.description}"
        f" Measured on {SOURCES[objective.kind.source]}."
    )


def explain_power(gate: Gate, noises: Mapping[str, float] | None = None) -> list[str]:
    """Whether the gate's pairs are enough to promote an equal model, in one line; none when no
    objective can be planned.

    Args:
        noises: measured ones by `Objective.phrase`; others are typical.
    """
    needs = plan(gate, noises)
    if not needs:
        return []
    noise = "calibrated" if any(need.measured for need in needs) else "typical"
    pairs = f"{gate.benchmark.pairs:,} pairs"
    if all(need.enough for need in needs):
        return [
            f"What it can show: at {noise} noise, its {pairs} are enough to promote {EQUAL_MODEL}"
            " in 95% of runs or more."
        ]
    return [
        f"What it cannot show: at {noise} noise, its {pairs} are too few to promote {EQUAL_MODEL}"
        " reliably: the verdict will mostly be inconclusive. The tightest limits that such a model"
        f" passes reliably: {'; '.join(_group_shortfalls(needs))}."
    ]


def _group_shortfalls(needs: Sequence[Need]) -> list[str]:
    """Objectives with the same shortfall in one part of a sentence."""
    groups: dict[str, list[str]] = {}
    for need in needs:
        if not need.enough:
            groups.setdefault(_describe_shortfall(need), []).append(need.objective.phrase)
    return [f"{', '.join(phrases)} {found}" for found, phrases in groups.items()]


def _describe_shortfall(need: Need) -> str:
    side = "at most" if need.objective.at_most else "at least"
    return (
        f"{side} {_format_resolvable(need)} ({format_limit(need.objective)} needs"
        f" {need.needed:,} {need.unit})"
    )


def _format_resolvable(need: Need) -> str:
    """The limit that the budget can show, rounded to the easier side."""
    digits = 2 if need.objective.comparison == "ratio" else 4
    rounded = (math.ceil if need.objective.at_most else math.floor)(
        need.resolvable * 10**digits
    ) / 10**digits
    return format_value(need.objective, rounded)


def explain_shortfall(need: Need) -> str:
    """Of an objective that an equal model will probably not pass within the budget: what it needs,
    and what to do.
    """
    key = "throughput_blocks" if need.objective.kind.source == "blocks" else "pairs"
    noise = "the measured noise of this service" if need.measured else "typical noise"
    return (
        f"{need.objective.title} will probably not pass, even for {EQUAL_MODEL}: at {noise} it"
        f" needs {need.needed:,} {need.unit}, and the gate measures {need.budget:,}. Raise"
        f" benchmark.{key}, or allow {_format_resolvable(need)}"
    )


def forecast(gate: Gate, calibration: Calibration | None) -> list[str]:
    """What is known before a run of how it could end for an equal model: the objective that falls
    short most, none when all is well.
    """
    if calibration and calibration.gate_digest == gate.digest and calibration.resolvable:
        return []
    measured = (
        {each.phrase: each.noise for each in calibration.objectives if each.noise is not None}
        if calibration
        else {}
    )
    short = sorted(
        (need for need in plan(gate, measured) if not need.enough),
        key=lambda need: need.needed / need.budget,
        reverse=True,
    )
    if not short:
        return []
    more = (
        f" The same holds for {len(short) - 1} more of {len(gate.objectives)} objectives: see"
        " `greenlight gate explain`."
        if len(short) > 1
        else ""
    )
    hint = (
        "A model that is clearly better still passes. `greenlight gate calibrate` measures the"
        " noise of your own service."
    )
    return [f"{explain_shortfall(short[0])}.{more}", *([] if measured else [hint])]
