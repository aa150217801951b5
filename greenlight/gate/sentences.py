"""What the gate says to people: values with units, limits, and each objective in a sentence."""

import math
from collections.abc import Mapping, Sequence

from greenlight.core.records import Calibration
from greenlight.gate.objectives import Bake, Gate, Objective
from greenlight.gate.power import Need, plan


def show(objective: Objective, value: float) -> str:
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


def limit(objective: Objective) -> str:
    return show(objective, objective.limit)


def unit(objective: Objective) -> str:
    if objective.scope == "vs_live":
        return "x live" if objective.comparison == "ratio" else "points"
    return "" if objective.statistic == "over_slo" else objective.kind.unit


def percent(objective: Objective) -> str:
    return f"{100 * objective.confidence:.4g}%"


def point(objective: Objective, value: float) -> str:
    return f"{objective.phrase} is {show(objective, value)}"


def measured(objective: Objective, value: float, bound: float, look: str) -> str:
    """As in: p95 of E2E is 0.31x live; at 95% confidence at most 0.35x live; limit 1.1x live."""
    side = "at most" if objective.at_most else "at least"
    return (
        f"{point(objective, value)}; at {percent(objective)} confidence{look} {side}"
        f" {show(objective, bound)}; limit {limit(objective)}"
    )


def broken(objective: Objective, value: float, opposite: float, look: str) -> str:
    side = "at least" if objective.at_most else "at most"
    shown = show(objective, opposite)
    return (
        f"{point(objective, value)}; at {percent(objective)} confidence{look} {side} {shown},"
        f" beyond the limit {limit(objective)}"
    )


SOURCES = {
    "requests": "the paired requests",
    "errors": "all requests of the benchmark",
    "blocks": "the throughput windows",
    "documents": "the documents of the evaluation",
    "tasks": "the items of its tasks",
}


def explain(gate: Gate) -> list[str]:
    """What a gate means: a line for how it decides, one for each objective, and one for the watch
    after the switch.
    """
    plan, looks = gate.benchmark, gate.benchmark.look_pairs
    when = (
        f"at most {plan.pairs:,} pairs, looked at after"
        f" {', '.join(f'{pairs:,}' for pairs in looks)}"
        if len(looks) > 1
        else f"{plan.pairs:,} pairs"
    )
    lines = [
        f"The gate {gate.name} promotes when all {len(gate.objectives)} objectives pass, and"
        f" rejects when one is shown to fail. It measures {when}."
    ]
    lines += [f"{objective.title}: {_meaning(objective)}" for objective in gate.objectives]
    lines += cannot_see(gate)
    bake = gate.bake
    if bake.seconds:
        lines.append(
            f"After the switch it is watched for {bake.seconds:g} s, and rolled back when more than"
            f" {bake.max_errors} probes fail, {_slower(bake)}"
        )
    return lines


def _slower(bake: Bake) -> str:
    """The rest of the sentence on the watch."""
    late = "and 2 more for each that only the old color fails."
    if bake.max_seconds:
        late += f" One that takes longer than {bake.max_seconds:g} s has failed."
    if bake.max_slower is None:
        return f"{late} Latencies are not compared."
    load = (
        f", beyond what {bake.reference_pairs} pairs before the switch put down to load"
        if bake.reference_pairs
        else ""
    )
    sure = (
        f"it is {100 * bake.confidence:.4g}% sure that the new color takes more than"
        f" {bake.max_slower:g} times as long as the old one{load}"
    )
    return (
        f"{late} {bake.probes_per_second:g} times per second both colors are asked the same, and it"
        f" is rolled back when {sure}."
    )


def _meaning(objective: Objective) -> str:
    side = "at most" if objective.at_most else "at least"
    if objective.scope == "absolute":
        claim = f"{objective.phrase} of the candidate is {side} {limit(objective)}"
    elif objective.comparison == "difference":
        claim = (
            f"{objective.phrase} of the candidate is {side} {100 * objective.limit:g} points more"
            " than live's"
        )
    else:
        claim = f"{objective.phrase} of the candidate is {side} {objective.limit:g} times live's"
    if objective.better_by is not None:
        claim += f", which is {100 * objective.better_by:g}% better"
    return (
        f"passes when it is {percent(objective)} sure that {claim}. {objective.kind.description}"
        f" From {SOURCES[objective.kind.source]}."
    )


def cannot_see(gate: Gate, noises: Mapping[str, float] | None = None) -> list[str]:
    """Whether the gate's pairs can show that an equal model is one, in a line; none when nothing in
    it can be planned.

    Args:
        noises: measured ones by `Objective.phrase`; others are typical.
    """
    needs = plan(gate, noises)
    if not needs:
        return []
    noise = "as calibrated" if any(need.measured for need in needs) else "at typical noise"
    if not any(not need.enough for need in needs):
        return [
            f"What it can see: {noise}, its {gate.benchmark.pairs:,} pairs show an equal model to"
            " be one, and promote it in 95% of runs or more."
        ]
    return [
        f"What it cannot see: {noise}, its {gate.benchmark.pairs:,} pairs leave an equal model"
        f" inconclusive. They show {'; '.join(_groups(needs))}."
    ]


def _groups(needs: Sequence[Need]) -> list[str]:
    """Objectives with the same shortfall in one part of a sentence."""
    groups: dict[str, list[str]] = {}
    for need in needs:
        if not need.enough:
            groups.setdefault(_part(need), []).append(need.objective.phrase)
    return [f"{', '.join(phrases)} {found}" for found, phrases in groups.items()]


def _part(need: Need) -> str:
    side = "at best to be at most" if need.objective.at_most else "at best to be at least"
    found = f"{side} {_resolvable(need)}"
    return (
        f"{found}, and {show(need.objective, need.objective.limit)} takes {need.needed:,}"
        f" {need.unit}"
    )


def _resolvable(need: Need) -> str:
    """The limit that the budget can show, rounded to the easier side."""
    digits = 2 if need.objective.comparison == "ratio" else 4
    rounded = (math.ceil if need.objective.at_most else math.floor)(
        need.resolvable * 10**digits
    ) / 10**digits
    return show(need.objective, rounded)


def shortfall(need: Need) -> str:
    """Of an objective that cannot show within the budget that an equal model is one: what it needs,
    and what to do.
    """
    key = "throughput_blocks" if need.objective.kind.source == "blocks" else "pairs"
    noise = "with the noise of this service" if need.measured else "at typical noise"
    return (
        f"{need.objective.title} cannot be shown of an equal model: {noise} that takes"
        f" {need.needed:,} {need.unit}, and the gate measures {need.budget:,}. Raise"
        f" benchmark.{key}, or allow {_resolvable(need)}"
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
        f" Like it {len(short) - 1} more of {len(gate.objectives)} objectives: `greenlight gate"
        " explain`."
        if len(short) > 1
        else ""
    )
    hint = (
        "A model that is clearly better passes all the same. `greenlight gate calibrate` measures"
        " the noise of your own service."
    )
    return [f"{shortfall(short[0])}.{more}", *([] if measured else [hint])]
