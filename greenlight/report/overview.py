"""A history in short: a line per run, with every figure; and what two runs differ in."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice

from pydantic import Field

from greenlight.core import history as runs
from greenlight.core import storage
from greenlight.core.errors import InputError
from greenlight.core.history import OutcomeName, RunRecords, load_run
from greenlight.core.records import ObjectiveResult, Part, Release, Verdict
from greenlight.core.yaml_file import nearest
from greenlight.report.metric_labels import unit_of
from greenlight.report.scalars import scalars_of

AT_ONCE = 8  # runs that are read at the same time from a bucket


class RunLine(Part):
    """One run in short. Texts are empty where no record says."""

    run_id: str
    time: datetime | None = Field(description="When it began.")
    service: str
    outcome: OutcomeName
    verdict: Verdict | None = Field(description="None: it came to no decision.")
    reason: str = Field(description="Of the verdict, or of the first failure.")
    gate: str
    gate_digest: str
    objectives: int
    passed: int = Field(description="Objectives that passed.")
    source: str
    commit: str
    method: str
    bits: int | None
    engine: str
    release_id: str = Field(description="Of the candidate.")
    live_release_id: str = Field(description="What it was measured against.")
    moved_at: datetime | None = Field(description="When it moved the traffic, if it did.")
    code_version: str
    figures: dict[str, float] = Field(
        description=(
            "As in the report's metrics. A figure that was not measured is not there. For units see"
            " `unit_of`."
        )
    )


def line_of(run: RunRecords) -> RunLine:
    decision, candidate = run.decision, candidate_of(run)
    deployment = run.deployment or (decision.deployment if decision else None)
    failure = next(
        (f"{error.step}: {error.message}" for error in run.errors),
        next((f"{each.name}: {each.reason}" for each in run.unreadable), ""),
    )
    resolved = run.resolution
    return RunLine(
        run_id=run.run_id,
        time=run.time,
        service=run.service,
        outcome=run.outcome,
        verdict=decision.verdict if decision else None,
        reason=failure or (decision.reason if decision else resolved.reason if resolved else ""),
        gate=decision.gate_name if decision else "",
        gate_digest=decision.gate_digest if decision else "",
        objectives=len(decision.objectives) if decision else 0,
        passed=(
            sum(objective.status == "pass" for objective in decision.objectives) if decision else 0
        ),
        source=candidate.source if candidate else resolved.source if resolved else "",
        commit=candidate.commit if candidate else resolved.commit if resolved else "",
        method=candidate.method if candidate else str(run.parameters.get("method", "")),
        bits=candidate.bits if candidate else None,
        engine=candidate.engine if candidate else "",
        release_id=candidate.release_id if candidate else "",
        live_release_id=deployment.live.release_id if deployment else "",
        moved_at=run.promotion.switched_at if run.promotion else None,
        code_version=decision.code_version if decision else "",
        figures=scalars_of(run),
    )


def read_runs(history: str, service: str = "", limit: int | None = None) -> list[RunRecords]:
    """The runs of a service, newest first; those of which nothing says the service among them.

    Args:
        service: empty: all services.
        limit: how many at most. None: all.
    """
    found = (
        run
        for run in _each(history, runs.runs(history))
        if run.exists and (not service or run.service in ("", service))
    )
    return list(islice(found, limit))


def _each(history: str, ids: list[str]) -> Iterator[RunRecords]:
    """In order; from a bucket a few at a time, and no more than are asked for."""
    at_once = AT_ONCE if storage.is_remote(history) else 1
    with ThreadPoolExecutor(at_once) as pool:
        for start in range(0, len(ids), at_once):
            yield from pool.map(
                lambda run_id: load_run(history, run_id), ids[start : start + at_once]
            )


def newest_run(history: str) -> str:
    """The id of the newest run. Raises InputError: the history holds no run."""
    for run_id in runs.runs(history):
        return run_id
    raise InputError("history", history, "holds no run; `greenlight run` makes the first")


def find_run(history: str, run_id: str, field: str) -> RunRecords:
    """A run that must be there.

    Args:
        field: how messages call what the user gave.

    Raises:
        InputError: the history holds nothing of it.
    """
    run = load_run(history, run_id)
    known = [] if run.exists else runs.runs(history)
    if not run.exists and not known:
        raise InputError(
            field,
            run_id,
            f"{history} holds no run; name another place with --history, or GREENLIGHT_HISTORY",
        )
    if not run.exists:
        raise InputError(
            field,
            run_id,
            f"there is no such run in {history}; {nearest(run_id, known[:5])} `greenlight runs`"
            " lists them",
        )
    return run


class Change(Part):
    """Something that two runs were made of, or with."""

    name: str
    a: str
    b: str


class Difference(Part):
    """One figure of two runs. None: not measured in that run."""

    name: str
    unit: str
    a: float | None
    b: float | None
    difference: float | None = Field(
        description="b - a. None when either is missing or not finite."
    )
    relative: float | None = Field(description="b / a - 1. None when a is 0 as well.")


class ObjectiveDifference(Part):
    """One objective of two decisions. None: that gate did not have it."""

    name: str
    a: ObjectiveResult | None
    b: ObjectiveResult | None
    bound: float | None = Field(
        description=(
            "Bound of b less bound of a, in the unit of the limit. None when either is missing or"
            " not finite."
        )
    )


class Comparison(Part):
    """What two runs differ in."""

    a: RunLine
    b: RunLine
    changes: list[Change] = Field(description="What is not the same.")
    metrics: list[Difference]
    objectives: list[ObjectiveDifference]


def compare(a: RunRecords, b: RunRecords) -> Comparison:
    """What run `b` differs in from run `a`. What a run did not come to is None."""
    one, other = line_of(a), line_of(b)
    # the objectives have a list of their own, and the lines say how it ended
    elsewhere = (
        "objective",
        "promoted",
        "verdict_",
    )
    names = [
        name
        for name in dict.fromkeys([*one.figures, *other.figures])
        if not name.startswith(elsewhere)
    ]
    results = [
        {result.name: result for result in run.decision.objectives} if run.decision else {}
        for run in (a, b)
    ]
    return Comparison(
        a=one,
        b=other,
        changes=_changes(a, b),
        metrics=[
            _difference(name, one.figures.get(name), other.figures.get(name)) for name in names
        ],
        objectives=[
            _objective(name, results[0].get(name), results[1].get(name))
            for name in dict.fromkeys([*results[0], *results[1]])
        ],
    )


def candidate_of(run: RunRecords) -> Release | None:
    return (
        run.deployment.candidate
        if run.deployment
        else run.decision.deployment.candidate
        if run.decision
        else None
    )


def _changes(a: RunRecords, b: RunRecords) -> list[Change]:
    one, other = _made_of(a), _made_of(b)
    return [
        Change(name=name, a=one.get(name, ""), b=other.get(name, ""))
        for name in dict.fromkeys([*one, *other])
        if one.get(name, "") != other.get(name, "")
    ]


def _made_of(run: RunRecords) -> dict[str, str]:
    """What went into a run, by name: the model, how it was quantized, what judged it, what served
    it, and by which code.
    """
    found: dict[str, str] = {}
    if run.resolution:
        found |= {
            "model": run.resolution.source,
            "commit": run.resolution.commit,
            "checkpoint": run.resolution.checkpoint,
        }
    if candidate := candidate_of(run):
        found |= {
            "model": candidate.source,
            "commit": candidate.commit,
            "method": candidate.method,
            "bits": str(candidate.bits),
        }
        found |= {
            "engine": candidate.engine,
            "replicas": str(candidate.replicas),
            "content digest": candidate.digest,
        }
        found["image"] = ", ".join(
            sorted({instance.build for instance in candidate.instances} - {""})
        )
    if deployment := run.deployment or (run.decision.deployment if run.decision else None):
        live = deployment.live
        found |= {
            "measured against": live.release_id,
            "image of live": ", ".join(
                sorted({instance.build for instance in live.instances} - {""})
            ),
        }
    if run.decision:
        found |= {
            "gate": run.decision.gate_name,
            "gate digest": run.decision.gate_digest,
            "code": run.decision.code_version,
        }
    if run.benchmark:
        found["workload"] = run.benchmark.workload
    if run.candidate:
        found |= {
            f"library {name}": version for name, version in sorted(run.candidate.libraries.items())
        }
    # said above, or only about where it ran
    known = {
        *found,
        "gate",
        "workload",
        "history",
        "home",
        "code_version",
    }
    found |= {
        f"parameter {name}": str(value)
        for name, value in sorted(run.parameters.items())
        if name not in known
    }
    return found


def _difference(name: str, a: float | None, b: float | None) -> Difference:
    known = a is not None and b is not None
    return Difference(
        name=name,
        unit=unit_of(name),
        a=a,
        b=b,
        difference=b - a if known else None,  # type: ignore[operator]
        relative=b / a - 1 if known and a else None,  # type: ignore[operator]
    )


def _objective(
    name: str, a: ObjectiveResult | None, b: ObjectiveResult | None
) -> ObjectiveDifference:
    before, after = (
        each.bound if each and each.bound is not None and math.isfinite(each.bound) else None
        for each in (a, b)
    )
    return ObjectiveDifference(
        name=name,
        a=a,
        b=b,
        bound=after - before if before is not None and after is not None else None,
    )
