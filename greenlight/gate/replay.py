"""A decision made again, from the artifacts that it was made from."""

import tempfile
from pathlib import Path

from greenlight.benchmark.samples import BLOCKS, REQUESTS
from greenlight.core import storage
from greenlight.core.errors import InputError, IntegrityError
from greenlight.core.records import RECORD_FILE, Decision
from greenlight.gate.evidence import DOCUMENTS, record_digest
from greenlight.gate.judge import judge
from greenlight.gate.objectives import Gate, read_recorded

REPEATED = (
    "verdict",
    "action",
    "reason",
    "objectives",
    "looks",
    "planned_pairs",
    "gate_digest",
    "evaluation_digest",
    "benchmark_digest",
)
"""What a replay must repeat, to the last bit. Not the time, nor the version of the code."""


def load_decision(place: str) -> Decision:
    """Read a decision: its file, the folder of its artifact, or a gs:// URI of either.

    Raises:
        InputError: there is none.
    """
    name = place if place.endswith(".json") else storage.join(place, RECORD_FILE)
    try:
        return Decision.model_validate_json(storage.read_bytes(name))
    except OSError:
        raise InputError(
            "decision",
            place,
            "there is no such file; give gate.json of a run's history, or the folder of a decision",
        ) from None
    except ValueError:
        raise InputError(
            "decision",
            place,
            "is not the record of a decision; give gate.json of a run's history, or the folder of a"
            " decision",
        ) from None


def replay(decision: Decision, gate: Gate | None = None) -> Decision:
    """Judge the recorded artifacts again, by the recorded gate or by another.

    Raises:
        IntegrityError: the artifacts are gone or are not those that were judged, or the decision
            does not hold its gate.
    """
    if gate is None:
        if not decision.gate:
            raise IntegrityError("the decision does not hold its gate. Name one with --gate.")
        gate = read_recorded(decision.gate)
        if gate.digest != decision.gate_digest:
            raise IntegrityError(
                "the gate in the decision is not the one that its digest is of. It was changed, or"
                " another version of Greenlight made it; name one with --gate."
            )
    with tempfile.TemporaryDirectory() as name:
        evaluation = _fetch_artifact(
            decision.evaluation_uri, Path(name) / "evaluation", (RECORD_FILE, DOCUMENTS)
        )
        benchmark = _fetch_artifact(
            decision.benchmark_uri, Path(name) / "benchmark", (RECORD_FILE, REQUESTS, BLOCKS)
        )
        for what, folder, wanted in (
            ("evaluation", evaluation, decision.evaluation_digest),
            ("benchmark", benchmark, decision.benchmark_digest),
        ):
            if record_digest(folder) != wanted:
                raise IntegrityError(
                    f"the {what} that was judged is not in {folder} any more. Put the artifact"
                    " back, or judge the run's other copy."
                )
        again = judge(
            evaluation,
            benchmark,
            decision.deployment,
            gate,
            decision.action != "hold",
            decision.code_version,
        )
    return again.model_copy(
        update={"evaluation_uri": decision.evaluation_uri, "benchmark_uri": decision.benchmark_uri}
    )


def find_differences(decision: Decision, again: Decision) -> list[str]:
    """The fields in which a replay is not bit for bit what was decided."""
    before, after = decision.model_dump(mode="json"), again.model_dump(mode="json")
    return [name for name in REPEATED if before[name] != after[name]]


def _fetch_artifact(uri: str, folder: Path, names: tuple[str, ...]) -> Path:
    """The artifact's folder; fetched into `folder` when it lies in a bucket."""
    if not storage.is_remote(uri):
        return Path(uri)
    folder.mkdir()
    for name in names:
        try:
            storage.download_file(storage.join(uri, name), folder / name)
        except FileNotFoundError:
            continue  # it may have been missing then, too: the digests tell
    return folder
