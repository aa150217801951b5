"""The work of `greenlight gate calibrate`: live against itself on its own target, judged, and kept
in the history for the warnings of later runs.
"""

import logging
import tempfile
from pathlib import Path

from greenlight.benchmark.run import run_benchmark
from greenlight.benchmark.workload import Workload
from greenlight.core import storage
from greenlight.core.errors import ConflictError, GreenlightError
from greenlight.core.history import CALIBRATIONS, calibration_file
from greenlight.core.records import BenchmarkResult, Calibration, Deployment, Release, utc_now
from greenlight.gate.calibration import calibrate, keep_calibratable
from greenlight.gate.evidence import read_pairs, read_rates
from greenlight.gate.measurements import Samples
from greenlight.gate.objectives import Gate
from greenlight.rollout.kubernetes.target import KubernetesTarget
from greenlight.rollout.state import Event
from greenlight.rollout.target import Target

log = logging.getLogger("greenlight.gate")


def calibrate_service(
    target: Target,
    gate: Gate,
    workload: Workload,
    pairs: int,
    runs: int,
    history: str,
    code_version: str = "",
) -> Calibration:
    """Measure live against itself, `runs` times, and judge whether the gate has enough pairs.
    Nothing is started, moved or scaled.

    Args:
        workload: what to send, and when: that of the runs to come.
        pairs: of one run; 0: as many as the gate measures.
        history: folder or gs:// prefix; the record goes to `calibrations/<service>.json` there.

    Raises:
        GreenlightError: nothing is live, live is not ready, or a measurement was cut short.
        ConflictError: a rollout is under way, or began meanwhile.
    """
    keep_calibratable(gate)  # a gate that cannot be calibrated is refused before an hour of load
    live, newest = _require_undisturbed(target)
    # all of them: an early end would say less
    size = gate.benchmark.model_copy(update={"pairs": pairs or gate.benchmark.pairs, "looks": 1})
    itself, began = Deployment(candidate=live, live=live), f"{utc_now():%Y%m%d-%H%M%S}"
    samples = []
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(runs):
            log.info(
                "measuring live against itself", extra={"figure": f"run {number + 1} of {runs}"}
            )
            folder = Path(temporary) / str(number)
            seeded = workload.model_copy(
                update={"seed": (size.seed if workload.seed is None else workload.seed) + number}
            )
            store = storage.join(history, CALIBRATIONS, target.service, f"{began}-{number + 1}")
            result = _measure(
                target, itself, gate.model_copy(update={"benchmark": size}), seeded, store, folder
            )
            if not result.complete:
                raise GreenlightError(
                    f"the benchmark of live against itself is not complete: {result.reason}."
                    " Fix that and calibrate again."
                )
            if _require_undisturbed(target)[1] != newest:
                raise ConflictError(
                    f"service {target.service} was changed while it was measured. Calibrate again."
                )
            (found, counts), rates = read_pairs(folder, result), read_rates(folder, result)
            samples.append(Samples(pairs=found, counts=counts, rates=rates))
    record = calibrate(samples, gate, target.service, target.kind, live.release_id, live.digest)
    record = record.model_copy(update={"workload": workload.name, "code_version": code_version})
    storage.write_bytes(
        calibration_file(history, target.service), record.model_dump_json(indent=2).encode()
    )
    return record


def _require_undisturbed(target: Target) -> tuple[Release, list[Event]]:
    """Live, with the instances that serve it now, and the newest event of the service."""
    state, holder = target.read(), target.holder()
    if holder is not None:
        raise ConflictError(
            f"{holder} works on service {target.service}, and load would disturb it. Calibrate"
            " when it has ended."
        )
    if state.switch is not None:
        raise ConflictError(
            f"a switch of the traffic of {target.service} is under way, or was interrupted."
            " `greenlight recover` completes it; then calibrate."
        )
    live = state.live_release
    if live is None:
        raise GreenlightError(
            f"service {target.service} has no live release to measure. `greenlight run` or"
            " `greenlight deploy` makes the first."
        )
    instances = [instance for instance in target.running(live.color) if target.is_ready(instance)]
    if len(instances) < live.replicas:
        raise GreenlightError(
            f"{live.release_id} on {live.color} has {len(instances)} of {live.replicas} servers"
            " ready. `greenlight recover` brings it up again."
        )
    return live.model_copy(update={"instances": instances}), state.history[-1:]


def _measure(
    target: Target, itself: Deployment, gate: Gate, workload: Workload, store: str, folder: Path
) -> BenchmarkResult:
    if isinstance(target, KubernetesTarget):  # its pods are only reached from inside
        from greenlight.gate.cluster_benchmark import run_in_cluster

        return run_in_cluster(target, itself, gate, workload, "", store, folder)
    return run_benchmark(itself, [], [], folder, gate.benchmark, workload)
