"""The figures of a run as one flat dict of finite numbers: what KFP Metrics show, and what trends
are drawn from.
"""

import math
import re

from greenlight.core.history import RunRecords
from greenlight.core.records import ColorSummary, LatencySummary


def scalars_of(run: RunRecords) -> dict[str, float]:
    """Every figure that was measured. What was not is missing, and so is what is not finite, which
    KFP cannot store.
    """
    found: dict[str, float | None] = {
        "promoted": float(run.outcome in ("promoted", "already_live"))
    }
    if run.decision is not None:
        found["verdict_promote"] = float(run.decision.verdict == "promote")
        if run.decision.looks and run.decision.planned_pairs:
            found["pairs_used"] = run.decision.looks[-1].pairs / run.decision.planned_pairs
        found["objectives"] = float(len(run.decision.objectives))
        for objective in run.decision.objectives:
            name = f"objective_{_key(objective.name)}"
            found |= {
                f"{name}_estimate": objective.estimate,
                f"{name}_bound": objective.bound,
                f"{name}_limit": objective.limit,
            }
            found[f"{name}_passed"] = float(objective.status == "pass")
    if run.evaluation is not None:
        found |= {name: metric.value for name, metric in run.evaluation.metrics.items()}
        for task in run.evaluation.tasks:
            found |= {
                f"task_{_key(task.name)}_accuracy": task.accuracy,
                f"task_{_key(task.name)}_baseline_accuracy": task.baseline_accuracy,
            }
    if run.benchmark is not None:
        candidate, live = run.benchmark.candidate, run.benchmark.live
        found |= {"pairs": float(run.benchmark.pairs), **_color("candidate", candidate)}
        if live is not None:
            found |= _color("live", live)
            if live.output_tokens_per_second:
                found["output_tokens_per_second_ratio"] = (
                    candidate.output_tokens_per_second / live.output_tokens_per_second
                )
    if run.candidate is not None:
        found["candidate_bytes"] = float(run.candidate.bytes)
    if run.baseline is not None:
        found["baseline_bytes"] = float(run.baseline.bytes)
    made = {
        "download": run.baseline,
        "reference": run.reference,
        "quantize": run.candidate,
        "evaluate": run.evaluation,
        "benchmark": run.benchmark,
    }
    for step, record in made.items():
        if record is not None:
            found[f"{step}_seconds"] = record.seconds
    return {
        name: float(value)
        for name, value in found.items()
        if value is not None and math.isfinite(value)
    }


def _color(role: str, color: ColorSummary) -> dict[str, float | None]:
    found: dict[str, float | None] = {
        f"{role}_output_tokens_per_second": color.output_tokens_per_second
    }
    found |= {
        f"{role}_goodput": color.goodput,
        f"{role}_cost_per_million_tokens": color.cost_per_million_tokens,
    }
    if color.requests:
        found[f"{role}_error_rate"] = color.errors / color.requests
    latencies: dict[str, LatencySummary | None] = {
        "ttft": color.ttft,
        "itl": color.itl,
        "e2e": color.e2e,
    }
    for name, latency in latencies.items():
        if latency is not None:
            found |= {f"{role}_{name}_p50": latency.p50, f"{role}_{name}_p95": latency.p95}
    return found


def _key(name: str) -> str:
    """An objective's name as part of a metric's name."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "unnamed"
