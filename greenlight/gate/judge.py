"""The step's work: read the artifacts, judge them, and record what was decided from what."""

import logging
from pathlib import Path

from greenlight.core.records import Action, BakeTest, Decision, Deployment, ObjectiveResult
from greenlight.gate.catalogue import QUALITY
from greenlight.gate.evidence import record_digest
from greenlight.gate.measurements import read_quality, read_samples
from greenlight.gate.objectives import Gate
from greenlight.gate.verdict import judge_samples

log = logging.getLogger("greenlight.gate")


def judge_quality(evaluation_folder: Path, gate: Gate) -> list[ObjectiveResult]:
    """The objectives of a gate that an evaluation alone can answer, as the gate will judge them.
    Bad evidence makes them inconclusive.
    """
    objectives = [objective for objective in gate.objectives if objective.kind.source in QUALITY]
    return (
        judge_samples(
            read_quality(evaluation_folder), gate.model_copy(update={"objectives": objectives})
        ).objectives
        if objectives
        else []
    )


def judge(
    evaluation_folder: Path | str,
    benchmark_folder: Path | str,
    deployment: Deployment,
    gate: Gate,
    auto_promote: bool = True,
    code_version: str = "",
) -> Decision:
    """Judge a candidate. Bad evidence never raises: it makes objectives inconclusive, with the
    reason.
    """
    evaluation_folder, benchmark_folder = Path(evaluation_folder), Path(benchmark_folder)
    judged = judge_samples(
        read_samples(evaluation_folder, benchmark_folder, deployment, gate), gate
    )
    for result in judged.objectives:
        log.info("%s: %s", result.status, result.reason)
    action: Action = (
        "retire" if judged.verdict != "promote" else "promote" if auto_promote else "hold"
    )
    return Decision(
        verdict=judged.verdict,
        action=action,
        reason=judged.reason,
        objectives=judged.objectives,
        looks=judged.looks,
        planned_pairs=gate.benchmark.pairs,
        deployment=deployment,
        gate_name=gate.name,
        gate_digest=gate.digest,
        gate=gate.model_dump_json(exclude_none=True),
        evaluation_digest=record_digest(evaluation_folder),
        benchmark_digest=record_digest(benchmark_folder),
        bake_seconds=gate.bake.seconds,
        bake_max_errors=gate.bake.max_errors,
        bake_test=BakeTest(**gate.bake.model_dump(include=set(BakeTest.model_fields))),
        keep_warm_seconds=max(gate.bake.keep_warm_seconds, gate.bake.seconds),
        code_version=code_version,
    )
