"""Every recorded run of a service, judged by another gate."""

import logging
import time
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from greenlight.core import history as runs
from greenlight.core.errors import GreenlightError
from greenlight.core.records import Verdict
from greenlight.gate.objectives import Gate
from greenlight.gate.replay import replay

log = logging.getLogger("greenlight.gate")

PROGRESS_SECONDS = 2.0


class BacktestedRun(BaseModel):
    """One run. `verdict` None: it could not be judged, and `reason` says why."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    time: datetime | None
    recorded: Verdict | None
    recorded_gate: str
    verdict: Verdict | None
    reason: str

    @property
    def outcome(self) -> Literal["same", "changed", "skipped"]:
        return (
            "skipped"
            if self.verdict is None
            else "same"
            if self.verdict == self.recorded
            else "changed"
        )


def backtest(history: str, gate: Gate, service: str) -> list[BacktestedRun]:
    """Judge the runs of a service again from their artifacts, newest first. Logs its progress
    every two seconds.

    Args:
        service: empty: the runs of all services.
    """
    tried, said = [], time.monotonic()
    ids = runs.runs(history)
    for number, run_id in enumerate(ids):
        run = runs.load_run(history, run_id)
        if run.exists and (not service or run.service in ("", service)):
            tried.append(_try(run, gate))
        if time.monotonic() - said >= PROGRESS_SECONDS:
            said = time.monotonic()
            log.info(
                "judging the runs of %s again",
                service or "all services",
                extra={"figure": f"{number + 1}/{len(ids)}"},
            )
    return tried


def _try(run: runs.RunRecords, gate: Gate) -> BacktestedRun:
    decision, about = run.decision, {"run_id": run.run_id, "time": run.time}
    if decision is None:
        broken = next((each.reason for each in run.unreadable), "")
        return BacktestedRun(
            **about,
            recorded=None,
            recorded_gate="",
            verdict=None,
            reason=broken or f"it came to no decision: {run.outcome}",
        )
    recorded = {"recorded": decision.verdict, "recorded_gate": decision.gate_name}
    try:
        again = replay(decision, gate)
    except GreenlightError as error:
        return BacktestedRun(**about, **recorded, verdict=None, reason=str(error))
    return BacktestedRun(**about, **recorded, verdict=again.verdict, reason=again.reason)
