"""What the gate says to people: values with units, limits, and each objective in a sentence."""

import math

from components.gate.objectives import Gate, Objective

RATES = ("error_rate", "top1_agreement")


def show(objective: Objective, value: float) -> str:
    """A value with its unit."""
    if math.isinf(value):
        return "unbounded"
    if objective.scope == "vs_live":
        return f"{value:.2f}x live" if objective.comparison == "ratio" else f"{100 * value:+.2f} points against live"
    if objective.metric in RATES or objective.statistic == "over_slo":
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
    return f"{point(objective, value)}; at {percent(objective)} confidence{look} {side} {show(objective, bound)}; limit {limit(objective)}"


def broken(objective: Objective, value: float, opposite: float, look: str) -> str:
    side = "at least" if objective.at_most else "at most"
    shown = show(objective, opposite)
    return f"{point(objective, value)}; at {percent(objective)} confidence{look} {side} {shown}, beyond the limit {limit(objective)}"


SOURCES = {
    "requests": "the paired requests",
    "errors": "all requests of the benchmark",
    "blocks": "the throughput blocks",
    "documents": "the documents of the evaluation",
}


def explain(gate: Gate) -> list[str]:
    """What a gate means: a line for how it decides, one for each objective, and one for the watch after the switch."""
    plan, looks = gate.benchmark, gate.benchmark.look_pairs
    when = f"at most {plan.pairs:,} pairs, looked at after {', '.join(f'{pairs:,}' for pairs in looks)}" if len(looks) > 1 else f"{plan.pairs:,} pairs"
    lines = [f"The gate {gate.name} promotes when all {len(gate.objectives)} objectives pass, and rejects when one is shown to fail. It measures {when}."]
    lines += [f"{objective.title}: {_meaning(objective)}" for objective in gate.objectives]
    bake = gate.bake
    if bake.seconds:
        lines.append(f"After the switch it is watched for {bake.seconds:g} s, and rolled back when more than {bake.max_errors} probes fail.")
    return lines


def _meaning(objective: Objective) -> str:
    side = "at most" if objective.at_most else "at least"
    if objective.scope == "absolute":
        claim = f"{objective.phrase} of the candidate is {side} {limit(objective)}"
    elif objective.comparison == "difference":
        claim = f"{objective.phrase} of the candidate is {side} {100 * objective.limit:g} points more than live's"
    else:
        claim = f"{objective.phrase} of the candidate is {side} {objective.limit:g} times live's"
    if objective.better_by is not None:
        claim += f", which is {100 * objective.better_by:g}% better"
    return f"passes when it is {percent(objective)} sure that {claim}. {objective.kind.description} From {SOURCES[objective.kind.source]}."
