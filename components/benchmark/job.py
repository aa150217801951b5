"""A benchmark inside the cluster: pods are only reached there. The runner may be anywhere; what passes between the two lies in the bucket.

    <store>/order.json     what to measure, and with which prompts
    <store>/record.json, requests.parquet, blocks.parquet, locust.log     what was measured

The runner makes a Job of it, waits, and fetches. Killed and run again, it finds the Job that it made, or what that left.
"""

import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from components import storage
from components.benchmark.generator import LOG
from components.benchmark.prompts import load_prompts
from components.benchmark.run import run_benchmark
from components.benchmark.samples import BLOCKS, REQUESTS
from components.benchmark.workload import Plan, Workload
from components.errors import GreenlightError
from components.records import RECORD_FILE, BenchmarkResult, Deployment

if TYPE_CHECKING:
    from rollout.kubernetes.target import KubernetesTarget

log = logging.getLogger("greenlight.benchmark")

ORDER = "order.json"
MARGIN_S = 300.0  # for the Job's pod to be scheduled, to import, and to upload


class JobOrder(BaseModel):
    """What the Job is to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deployment: Deployment
    plan: Plan
    prompts: list[str]


def run_in_cluster(target: "KubernetesTarget", deployment: Deployment, workload: Workload, store: str, folder: Path) -> BenchmarkResult:
    """Have a Job in the target's cluster measure, and bring what it measured to `folder`.

    Raises:
        DeployError: the Job failed. Holds the last lines of its log.
    """
    plan = Plan(**workload.model_dump(include=set(Plan.model_fields)))
    order = JobOrder(deployment=deployment, plan=plan, prompts=load_prompts(workload.prompts)).model_dump_json().encode()
    place = storage.join(store, deployment.candidate.release_id)
    storage.write_bytes(storage.join(place, ORDER), order)
    target.run_job("benchmark", {"BENCHMARK_STORE": place}, key=place.encode() + order, seconds=workload.time_limit + MARGIN_S)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (REQUESTS, BLOCKS, LOG):
        storage.download_file(storage.join(place, name), folder / name)
    record = BenchmarkResult.model_validate_json(storage.read_bytes(storage.join(place, RECORD_FILE)))
    return record.model_copy(update={"samples_uri": place})


def main(store: str) -> int:
    """Inside the Job: measure, and leave the result in the store, the record last."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        order = JobOrder.model_validate_json(storage.read_bytes(storage.join(store, ORDER)))
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "result"
            prompts = Path(temporary) / "prompts.jsonl"
            prompts.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in order.prompts))
            result = run_benchmark(order.deployment, [], [], folder, Workload(prompts=str(prompts), **order.plan.model_dump()))
            for name in (REQUESTS, BLOCKS, LOG):
                if (folder / name).exists():
                    storage.upload_file(folder / name, storage.join(store, name))
                else:
                    storage.write_bytes(storage.join(store, name), b"")
        storage.write_bytes(storage.join(store, RECORD_FILE), result.model_dump_json(indent=2).encode())
    except GreenlightError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    log.info("%s: %d pairs in %.1f s", "complete" if result.complete else result.reason, result.pairs, result.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ["BENCHMARK_STORE"]))
