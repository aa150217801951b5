"""The runs of a history: what every step of a run left behind, typed, with what is missing or
broken named instead of raised.

Layout of a history, a local folder or a gs:// prefix:

    <run_id>/<step>.json          the record of a finished step
    <run_id>/<step>.error.json    {"step", "error", "message"} of a failed one
    <run_id>/parameters.json      what the run was asked to do
    <run_id>/report.html          and report.json, a ReportSummary
    builds/<build>/…              the same for download, reference, quantize and evaluate, which
                                  runs share; `resolve` names the folders
    calibrations/<service>.json   the newest calibration of a service: live measured against itself
    moves/<service>/<time>.json   a Promotion: the traffic was moved by hand, without a run
"""

import contextlib
import json
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from greenlight.core import storage
from greenlight.core.records import (
    BenchmarkResult,
    Calibration,
    Decision,
    Deployment,
    Evaluation,
    Model,
    Promotion,
    Record,
    Reference,
    Resolution,
    Selection,
)

Step = Literal[
    "resolve",
    "download",
    "reference",
    "quantize",
    "evaluate",
    "select",
    "deploy_green",
    "benchmark",
    "gate",
    "promote",
    "retire",
]
OutcomeName = Literal[
    "promoted",
    "already_live",
    "rolled_back",
    "retired",
    "held",
    "up_to_date",
    "failed",
    "unfinished",
    "unreadable",
]

STEPS: tuple[Step, ...] = get_args(Step)
BUILDS = "builds"
CALIBRATIONS = "calibrations"
MOVES = "moves"
PARAMETERS = "parameters.json"
RECORD_OF: dict[Step, type[Record]] = {
    "resolve": Resolution,
    "download": Model,
    "reference": Reference,
    "quantize": Model,
    "evaluate": Evaluation,
    "select": Selection,
    "deploy_green": Deployment,
    "benchmark": BenchmarkResult,
    "gate": Decision,
    "promote": Promotion,
    "retire": Promotion,
}
READERS = 16  # objects of a bucket that are read at the same time
_TIME_IN_ID = re.compile(r"(20\d\d)-?([01]\d)-?([0-3]\d)[-T_]?([0-2]\d)-?([0-5]\d)-?([0-5]\d)")
_NEVER = datetime.min.replace(tzinfo=UTC)


class StepError(BaseModel):
    """How a step failed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: str
    error: str = ""
    message: str = ""


@dataclass(frozen=True)
class Unreadable:
    """Something of a run that is there, or should be, and could not be read."""

    name: str
    reason: str


@dataclass(frozen=True)
class RunRecords:
    """What a run left. A record is None when its step did not finish, or when it is among the
    `unreadable`.
    """

    run_id: str
    resolution: Resolution | None = None
    baseline: Model | None = None
    reference: Reference | None = None
    candidate: Model | None = None
    evaluation: Evaluation | None = None
    selection: Selection | None = None
    deployment: Deployment | None = None
    benchmark: BenchmarkResult | None = None
    decision: Decision | None = None
    promotion: Promotion | None = None
    parameters: dict[str, object] = field(default_factory=dict)
    errors: tuple[StepError, ...] = ()
    """Of steps that left no record: a step that failed and then succeeded when it was run again is
    not here. In the order of the DAG.
    """
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def outcome(self) -> OutcomeName:
        """How the run ended. `unfinished`: it stopped without an error, so it was killed or it is
        still running.
        """
        if self.promotion is not None:
            return self.promotion.outcome
        if self.errors:
            return "failed"
        if self.decision is not None:
            return "held" if self.decision.action == "hold" else self._without_end()
        if self.resolution is not None and self.resolution.verdict == "up_to_date":
            return "up_to_date"
        return self._without_end()

    @property
    def exists(self) -> bool:
        """False when the history holds nothing of this run."""
        return bool(self.finished or self.errors or self.unreadable or self.parameters)

    @property
    def finished(self) -> tuple[Step, ...]:
        """The steps that left a readable record, in the order of the DAG."""
        records: dict[Step, Record | None] = {
            "resolve": self.resolution,
            "download": self.baseline,
            "reference": self.reference,
            "quantize": self.candidate,
            "evaluate": self.evaluation,
            "select": self.selection,
            "deploy_green": self.deployment,
            "benchmark": self.benchmark,
            "gate": self.decision,
            "retire"
            if self.promotion and self.promotion.outcome == "retired"
            else "promote": self.promotion,
        }
        return tuple(step for step in STEPS if records.get(step) is not None)

    @property
    def time(self) -> datetime | None:
        """When the run began, as near as its records tell."""
        times = [
            self.resolution and self.resolution.resolved_at,
            self.deployment and self.deployment.candidate.deployed_at,
            self.decision and self.decision.decided_at,
            self.promotion and self.promotion.switched_at,
        ]
        return min((_aware(time) for time in times if time), default=_time_in(self.run_id))

    @property
    def service(self) -> str:
        """The service that the run was for; empty when no record says."""
        return (
            self.deployment.candidate.service
            if self.deployment
            else str(self.parameters.get("service", ""))
        )

    def _without_end(self) -> OutcomeName:
        return "unreadable" if self.unreadable else "unfinished"


def runs(history: str) -> list[str]:
    """Ids of all runs, newest first, by the time that `resolve` recorded; a run that failed before
    that, by the time in its id.

    Costs one listing and one small read a run. Empty when there is no history yet.
    """
    ids = [
        name for name in storage.list_names(history) if name not in (BUILDS, CALIBRATIONS, MOVES)
    ]
    found = _read_all(storage.join(history, run_id, "resolve.json") for run_id in ids)
    times = {
        run_id: _resolved_at(data) or _time_in(run_id) or _NEVER
        for run_id, data in zip(ids, found, strict=True)
    }
    return sorted(ids, key=lambda run_id: (times[run_id], run_id), reverse=True)


def load_run(history: str, run_id: str) -> RunRecords:
    """Everything that a run left. Never raises for what is missing or broken: see `unreadable` and
    `exists`.
    """
    files, unreadable = _load_folder(history, run_id, STEPS)
    resolution = files.records.get("resolve")
    if isinstance(resolution, Resolution) and resolution.verdict == "new":
        for step, build in _builds(resolution, files.records.get("select")).items():
            if build and step not in files.records:
                shared, broken = _load_folder(history, build, [step])
                files.records |= shared.records
                files.errors |= shared.errors
                unreadable += broken
    errors = tuple(
        error for step in STEPS if (error := files.errors.get(step)) and step not in files.records
    )
    record = files.records.get
    return RunRecords(
        run_id=run_id,
        # RECORD_OF says which step leaves which record
        resolution=record("resolve"),  # type: ignore[arg-type]
        baseline=record("download"),  # type: ignore[arg-type]
        reference=record("reference"),  # type: ignore[arg-type]
        candidate=record("quantize"),  # type: ignore[arg-type]
        evaluation=record("evaluate"),  # type: ignore[arg-type]
        selection=record("select"),  # type: ignore[arg-type]
        deployment=record("deploy_green"),  # type: ignore[arg-type]
        benchmark=record("benchmark"),  # type: ignore[arg-type]
        decision=record("gate"),  # type: ignore[arg-type]
        promotion=record("promote") or record("retire"),  # type: ignore[arg-type]
        parameters=files.parameters,
        errors=errors,
        unreadable=tuple(unreadable),
    )


def _builds(resolution: Resolution, selection: Record | None) -> dict[Step, str]:
    """The folders of what the run shares with others. Of candidates: of the selected one, or of the
    only one. Empty while a sweep has not come to a choice.
    """
    place = 0 if len(resolution.candidate_builds) == 1 else None
    if isinstance(selection, Selection):
        # by name: a backend may collect a loop's results in any order
        names = [each.name for each in resolution.candidates]
        place = names.index(selection.chosen) if selection.chosen in names else place
    chosen = place is not None
    return {
        "download": resolution.source_build,
        "reference": resolution.reference_build,
        "quantize": resolution.candidate_builds[place or 0] if chosen else "",
        "evaluate": resolution.evaluation_builds[place or 0] if chosen else "",
    }


def calibration_file(history: str, service: str) -> str:
    return storage.join(history, CALIBRATIONS, f"{service}.json")


def load_calibration(history: str, service: str) -> Calibration | None:
    """The newest calibration of a service. None when there is none, or none that can be read: it
    only makes a warning better.
    """
    try:
        return Calibration.model_validate_json(
            storage.read_bytes(calibration_file(history, service))
        )
    except Exception:  # a bucket fails in many ways
        return None


def save_move(history: str, promotion: Promotion) -> None:
    """Note that a person moved the traffic, for trends. Nothing to note where it did not move."""
    if promotion.switched_at:
        name = f"{_aware(promotion.switched_at).astimezone(UTC):%Y%m%d-%H%M%S-%f}.json"
        storage.write_bytes(
            storage.join(history, MOVES, promotion.live.service, name),
            promotion.model_dump_json(indent=2).encode(),
        )


def load_moves(history: str, service: str) -> list[Promotion]:
    """The moves by hand of a service, oldest first. One that cannot be read is left out."""
    folder = storage.join(history, MOVES, service)
    found = []
    for data in _read_all(storage.join(folder, name) for name in storage.list_names(folder)):
        with contextlib.suppress(ValidationError):
            if isinstance(data, bytes):
                found.append(Promotion.model_validate_json(data))
    return found


@dataclass
class _Files:
    records: dict[Step, Record] = field(default_factory=dict)
    errors: dict[Step, StepError] = field(default_factory=dict)
    parameters: dict[str, object] = field(default_factory=dict)


def _load_folder(
    history: str, folder: str, steps: Iterable[Step]
) -> tuple[_Files, list[Unreadable]]:
    """The records, errors and parameters in one folder of a history, and what of it could not be
    read.
    """
    files, unreadable = _Files(), []
    kinds: dict[str, Step] = {}
    for step in steps:
        kinds |= {f"{step}.json": step, f"{step}.error.json": step}
    try:
        present = set(storage.list_names(storage.join(history, folder)))
    except Exception as error:  # a bucket fails in many ways; none may hide what else is known
        return files, [Unreadable(folder, _line(error))]
    names = [name for name in [*kinds, PARAMETERS] if name in present]
    for name, data in zip(
        names, _read_all(storage.join(history, folder, name) for name in names), strict=True
    ):
        try:
            if isinstance(data, Exception):
                raise data
            if name == PARAMETERS:
                files.parameters = {str(key): value for key, value in json.loads(data).items()}
            elif name.endswith(".error.json"):
                files.errors[kinds[name]] = StepError.model_validate_json(data)
            else:
                files.records[kinds[name]] = RECORD_OF[kinds[name]].model_validate_json(data)
        except Exception as error:
            unreadable.append(Unreadable(name, _line(error)))
    return files, unreadable


def _read_all(uris: Iterable[str]) -> list[bytes | Exception]:
    """The objects, or why each could not be read, in order."""
    uris = list(uris)

    def read(uri: str) -> bytes | Exception:
        try:
            return storage.read_bytes(uri)
        except Exception as error:
            return error

    if not any(storage.is_remote(uri) for uri in uris):
        return [read(uri) for uri in uris]
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(read, uris))


def _line(error: Exception) -> str:
    """Why something could not be read, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return (
            f"{error.error_count()} problems, first: {f'{place}: ' if place else ''}{first['msg']}"
        )
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _resolved_at(data: bytes | Exception) -> datetime | None:
    if isinstance(data, Exception):
        return None
    try:
        return (
            _aware(Resolution.model_validate_json(data).resolved_at)
            if b'"resolved_at"' in data
            else None
        )
    except ValidationError:
        return None


def _time_in(run_id: str) -> datetime | None:
    """The time in ids such as promotion-2026-11-23-19-20-01-123456 and 20261123-192001-4f2a."""
    match = _TIME_IN_ID.search(run_id)
    try:
        return (
            datetime.strptime("".join(match.groups()), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
            if match
            else None
        )
    except ValueError:
        return None


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
