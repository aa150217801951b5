"""The part of a gate that a search for a model can keep to: its limits on quality against the
baseline, as text that travels through the DAG.
"""

from typing import Any

from greenlight.core.errors import InputError
from greenlight.core.yaml_file import check
from greenlight.gate.objectives import Gate

SEARCHABLE = ("kl_mean", "kl_p99", "top1_agreement", "perplexity_ratio")
"""Metrics that compare with the baseline, so that their limits mean the same on other text than the
held-out one.
"""


def write_quality_limits(gate: Gate) -> str:
    """`kl_mean max 0.05 at 0.95, top1_agreement min 0.9 at 0.95`: the figures after `at` are the
    one-sided confidence of the bound that keeps the limit.

    Raises:
        InputError: the gate has none of these objectives.
    """
    found = [each for each in gate.objectives if each.metric in SEARCHABLE]
    if not found:
        raise InputError(
            "gate",
            gate.name,
            "has no objective on quality, so every model would pass; add one on"
            f" {', '.join(SEARCHABLE[:-1])} or {SEARCHABLE[-1]}",
        )
    return ", ".join(
        f"{each.metric} {'max' if each.at_most else 'min'} {each.limit!r} at {each.confidence!r}"
        for each in found
    )


def parse_quality_limits(limits: str) -> Gate:
    """A gate with nothing but the objectives that `write_quality_limits` has written.

    Raises:
        InputError: it is no such text.
    """
    objectives: list[dict[str, Any]] = []
    for entry in limits.split(","):
        try:
            metric, side, limit, _, confidence = entry.split()
            # the gate had names for them
            named = (
                {"name": entry.strip()}
                if any(each["metric"] == metric for each in objectives)
                else {}
            )
            objectives.append(
                {"metric": metric, side: float(limit), "confidence": float(confidence)} | named
            )
        except ValueError:
            raise InputError(
                "limits",
                limits,
                "write them as `kl_mean max 0.05 at 0.95, top1_agreement min 0.9 at 0.95`",
            ) from None
    return check(
        "limits", limits, {"name": "limits", "confidence": 0.95, "objectives": objectives}, Gate
    )
