"""A benchmark inside the cluster: pods are only reached there. The runner may be anywhere; what
it and the Job exchange lies in the bucket.

    <store>/order.json     what to measure, and what to request
    <store>/evaluation/    what the gate's planned looks need beside it
    <store>/<worker>/      record.json, requests.parquet, blocks.parquet, locust.log: what each pod
                           measured

The runner makes a Job of it, with a pod for each worker of the workload, waits, downloads
the results and merges them. Killed and run again, it finds the Job that it made, or its results.
"""

import array
import logging
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from greenlight.benchmark.barrier import Barrier
from greenlight.benchmark.generator import LOG
from greenlight.benchmark.planned_requests import PlannedRequest, ServedModel, plan_requests
from greenlight.benchmark.run import assemble, make_sides, run_benchmark
from greenlight.benchmark.samples import BLOCKS, REQUESTS, Block
from greenlight.benchmark.workload import Workload, workers_used
from greenlight.core import storage
from greenlight.core.errors import GreenlightError
from greenlight.core.records import RECORD_FILE, BenchmarkResult, Deployment, Part
from greenlight.gate.looks import Looks
from greenlight.gate.objectives import Gate

if TYPE_CHECKING:
    from greenlight.rollout.kubernetes.target import KubernetesTarget

log = logging.getLogger("greenlight.benchmark")

ORDER, EVALUATION = "order.json", "evaluation"
MEASURED = (REQUESTS, BLOCKS, LOG)
MARGIN_S = 300.0  # for the Job's pods to be scheduled, to import, and to upload


class JobOrder(Part):
    """What the Job is to do. Without an evaluation the gate's looks wait until all is measured.

    The Job's image may be older than who orders: like a record it leaves out newer fields.
    """

    deployment: Deployment
    gate: Gate
    workload: Workload
    planned: list[PlannedRequest]
    evaluated: bool


def run_in_cluster(
    target: "KubernetesTarget",
    deployment: Deployment,
    gate: Gate,
    workload: Workload,
    evaluation: str,
    store: str,
    folder: Path,
) -> BenchmarkResult:
    """Have a Job in the target's cluster measure, and download what it measured to `folder`.

    Args:
        evaluation: folder of the Evaluation, for the planned looks; empty: there are none before
            the end.

    Raises:
        DeployError: the Job failed. Holds the last lines of its log.
    """
    planned = plan_requests(workload, gate.benchmark, ServedModel(deployment.candidate))
    evaluated = (
        {path.name: path.read_bytes() for path in Path(evaluation).iterdir() if path.is_file()}
        if evaluation
        else {}
    )
    order = (
        JobOrder(
            deployment=deployment,
            gate=gate,
            workload=workload,
            planned=planned,
            evaluated=bool(evaluated),
        )
        .model_dump_json()
        .encode()
    )
    place = storage.join(store, deployment.candidate.release_id)
    for name, data in evaluated.items():
        storage.write_bytes(storage.join(place, EVALUATION, name), data)
    storage.write_bytes(storage.join(place, ORDER), order)
    pods = workers_used(gate.benchmark, workload)
    environment = {
        "BENCHMARK_STORE": place,
        "BENCHMARK_PODS": str(pods),
        "BENCHMARK_ATTEMPT": secrets.token_hex(4),
    }
    target.run_job(
        "benchmark",
        environment,
        key=place.encode() + order,
        seconds=gate.benchmark.time_limit + MARGIN_S,
        pods=pods,
    )
    folder.mkdir(parents=True, exist_ok=True)
    if pods > 1:
        return _merge(place, pods, deployment, gate, workload, folder)
    return _fetch(storage.join(place, "0"), folder).model_copy(update={"samples_uri": place})


def _fetch(place: str, folder: Path) -> BenchmarkResult:
    folder.mkdir(parents=True, exist_ok=True)
    for name in MEASURED:
        storage.download_file(storage.join(place, name), folder / name)
    return BenchmarkResult.model_validate_json(storage.read_bytes(storage.join(place, RECORD_FILE)))


def _merge(
    place: str, pods: int, deployment: Deployment, gate: Gate, workload: Workload, folder: Path
) -> BenchmarkResult:
    """What the pods measured, as if one had."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / str(worker) for worker in range(pods)]
        parts = [_fetch(storage.join(place, each.name), each) for each in folders]
        requests = pa.concat_tables([pq.read_table(each / REQUESTS) for each in folders])
        rows = pq.read_table(folders[0] / BLOCKS, columns=list(Block.__annotations__)).to_pylist()
        (folder / LOG).write_bytes(b"".join((each / LOG).read_bytes() for each in folders))
    reason = next(
        (
            f"worker {number}: {part.reason}"
            for number, part in enumerate(parts)
            if not part.complete
        ),
        "",
    )
    blocks, seconds = [Block(**row) for row in rows], max(part.seconds for part in parts)
    lags = array.array("f")
    merged = assemble(
        folder,
        deployment,
        make_sides(deployment, [], []),
        gate.benchmark,
        workload,
        requests,
        blocks,
        lags,
        reason,
        seconds,
    )
    worst = {
        name: max(getattr(part.generator, name) for part in parts)
        for name in ("loop_lag_p50", "loop_lag_p99", "loop_lag_max")
    }
    return merged.model_copy(
        update={"samples_uri": place, "generator": merged.generator.model_copy(update=worst)}
    )


def main(store: str, worker: int, pods: int, attempt: str) -> int:
    """Inside a pod of the Job: measure, and leave the result in the store, the record last."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        order = JobOrder.model_validate_json(storage.read_bytes(storage.join(store, ORDER)))
        barrier = (
            Barrier(storage.join(store, "barrier", attempt), worker, pods) if pods > 1 else None
        )
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "result"
            looks = (
                Looks(
                    order.gate,
                    _fetch_evaluation(store, Path(temporary) / EVALUATION),
                    order.deployment,
                )
                if order.evaluated and not barrier
                else None
            )
            result = run_benchmark(
                order.deployment,
                [],
                [],
                folder,
                order.gate.benchmark,
                order.workload,
                looks,
                order.planned,
                barrier,
            )
            for name in MEASURED:
                place = storage.join(store, str(worker), name)
                if (folder / name).exists():
                    storage.upload_file(folder / name, place)
                else:
                    storage.write_bytes(place, b"")
        storage.write_bytes(
            storage.join(store, str(worker), RECORD_FILE), result.model_dump_json(indent=2).encode()
        )
    except GreenlightError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    log.info(
        "%s: %d pairs in %.1f s",
        "complete" if result.complete else result.reason,
        result.pairs,
        result.seconds,
    )
    return 0


def _fetch_evaluation(store: str, folder: Path) -> Path:
    folder.mkdir()
    for name in storage.list_names(storage.join(store, EVALUATION)):
        storage.download_file(storage.join(store, EVALUATION, name), folder / name)
    return folder


if __name__ == "__main__":
    number = int(os.environ.get("JOB_COMPLETION_INDEX", "0"))
    sys.exit(
        main(
            os.environ["BENCHMARK_STORE"],
            number,
            int(os.environ["BENCHMARK_PODS"]),
            os.environ["BENCHMARK_ATTEMPT"],
        )
    )
