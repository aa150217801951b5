"""One benchmark from start to end: check the endpoints, run the generator, check them again, keep
the samples, sum up.
"""

import array
import contextlib
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from greenlight.benchmark.barrier import Barrier
from greenlight.benchmark.generator import LOG, Generators, Job
from greenlight.benchmark.plan import Plan, Role, Side
from greenlight.benchmark.planned_requests import PlannedRequest, ServedModel, plan_requests
from greenlight.benchmark.samples import (
    BLOCKS,
    REQUESTS,
    Block,
    CollectedRequests,
    blocks_table,
    count_blocks,
)
from greenlight.benchmark.summary import (
    find_bottleneck,
    find_token_mismatch,
    measure_generator,
    summarize_color,
)
from greenlight.benchmark.versions import (
    find_change,
    find_mismatch,
    find_unreachable,
    read_versions,
)
from greenlight.benchmark.workload import Workload, users_needed, workers_used
from greenlight.core.errors import InputError
from greenlight.core.files import file_digest
from greenlight.core.records import RECORD_FILE, BenchmarkResult, Deployment, Release

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("greenlight.benchmark")

GENERATOR_FOLDER = "generator"
PROGRESS_SECONDS = 1.0
POLL_SECONDS = 0.1
GONE_AFTER = 5


class StoppingRule(Protocol):
    """What may end the pairs before all that were planned are run.

    Attributes:
        stopped_at: number of pairs after which it ended them; 0 while it has not.
    """

    stopped_at: int

    def should_stop(self, requests: CollectedRequests, blocks: Sequence[Block]) -> bool:
        """Whether what was measured until now is enough."""


def run_benchmark(
    deployment: Deployment | None,
    endpoints_a: Sequence[str],
    endpoints_b: Sequence[str],
    output_folder: Path | str,
    plan: Plan,
    workload: Workload,
    looks: StoppingRule | None = None,
    planned: list[PlannedRequest] | None = None,
    barrier: Barrier | None = None,
) -> BenchmarkResult:
    """Measure a (the candidate) against b (live), side by side, or a alone.

    Leaves `requests.parquet`, `blocks.parquet` and Locust's own log in `output_folder`; the caller
    saves the record there.

    Args:
        deployment: what the endpoints must serve, checked before and after. None: any two
            endpoints, which must not change.
        endpoints_a: URLs of the candidate; empty: those of the deployment.
        endpoints_b: URLs of live; empty: those of the deployment, or none.
        looks: of the gate, which may end the pairs early.
        planned: the requests of the workload, where that was prepared already.
        barrier: of several pods that measure together. This one then returns only its own part.

    Returns:
        The result. When anything cut the measurement short or put in doubt what was measured, it is
        not `complete`, gives the `reason`, and holds what was measured until then: that alone is no
        reason to raise.

    Raises:
        InputError: the prompts or the trace cannot be read, or without a deployment: an endpoint is
            missing or does not answer.
    """
    started = time.monotonic()
    sides = make_sides(deployment, endpoints_a, endpoints_b)
    releases: dict[str, Release] = (
        {"candidate": deployment.candidate, "live": deployment.live} if deployment else {}
    )
    models = {side.role: ServedModel(releases.get(side.role)) for side in sides}
    planned = plan_requests(workload, plan, models["candidate"]) if planned is None else planned
    folder = _clear_folder(Path(output_folder).absolute())

    before = read_versions(sides)
    if deployment is None and (silent := find_unreachable(before)):
        raise InputError(
            "endpoint",
            silent.split(" ", 1)[0].removesuffix("/version"),
            f"{silent.split(' ', 1)[1]}; give the URL of a running server",
        )
    reason = _find_mismatch(sides, releases, before)
    requests, blocks, loop_lags = CollectedRequests(len(sides)), list[Block](), array.array("f")
    if not reason:
        generator_folder = folder / GENERATOR_FOLDER
        jobs = _make_jobs(plan, workload, sides, planned, generator_folder, barrier)
        requests, blocks, loop_lags, log_text, reason = _generate(jobs, looks)
        (folder / LOG).write_bytes(log_text)
        shutil.rmtree(generator_folder)
        after = read_versions(sides)
        reason = reason or find_change(before, after) or _find_mismatch(sides, releases, after)
    table = requests.table()
    reason = reason or next(
        filter(
            None,
            (find_token_mismatch(side.role, models[side.role], planned, table) for side in sides),
        ),
        "",
    )
    stopped_at = looks.stopped_at if looks else 0
    return assemble(
        folder,
        deployment,
        sides,
        plan,
        workload,
        table,
        blocks,
        loop_lags,
        reason,
        time.monotonic() - started,
        stopped_at,
    )


def assemble(
    folder: Path,
    deployment: Deployment | None,
    sides: Sequence[Side],
    plan: Plan,
    workload: Workload,
    requests: "pa.Table",
    blocks: Sequence[Block],
    loop_lags: "array.array[float]",
    reason: str,
    seconds: float,
    stopped_at: int = 0,
) -> BenchmarkResult:
    """Write the samples as Parquet and sum them up."""
    import numpy as np
    import pyarrow.parquet as pq

    releases = {"candidate": deployment.candidate, "live": deployment.live} if deployment else {}

    counted = count_blocks(blocks, requests)
    pq.write_table(requests, folder / REQUESTS)
    pq.write_table(blocks_table(counted), folder / BLOCKS)
    health = measure_generator(requests, np.asarray(loop_lags), workload, workload.workers)
    reason = reason or find_bottleneck(health)
    if reason:
        log.warning("the benchmark is not complete: %s", reason)
    summaries = {
        side.role: summarize_color(
            side.role, releases.get(side.role), requests, counted, workload, len(side.endpoints)
        )
        for side in sides
    }
    return BenchmarkResult(
        complete=not reason,
        reason=reason,
        candidate=summaries["candidate"],
        live=summaries.get("live"),
        pairs=_count_whole_pairs(requests, len(sides)),
        concurrency=plan.concurrency,
        max_tokens=workload.output_tokens.largest if workload.output_tokens else plan.max_tokens,
        block_tokens=plan.block_tokens,
        seed=plan.seed if workload.seed is None else workload.seed,
        seconds=seconds,
        stopped_at=stopped_at,
        workload=workload.model_dump_json(exclude_none=True),
        generator=health,
        samples_uri=str(folder.resolve()),
        requests_digest=file_digest(folder / REQUESTS),
        blocks_digest=file_digest(folder / BLOCKS),
    )


def _make_jobs(
    plan: Plan,
    workload: Workload,
    sides: list[Side],
    planned: list[PlannedRequest],
    folder: Path,
    barrier: Barrier | None,
) -> list[Job]:
    """A job for each worker on this machine."""
    users = users_needed(plan, workload)
    if barrier:
        workers = [barrier.worker]
    else:
        count = workers_used(plan, workload)
        workers, barrier = list(range(count)), Barrier(str(folder / "barrier"), 0, count)
    return [
        Job(
            plan=plan,
            workload=workload,
            sides=sides,
            planned=planned,
            folder=folder / str(worker),
            parent=os.getpid(),
            users=-(-users // barrier.workers),
            worker=worker,
            workers=barrier.workers,
            barrier=barrier.place,
        )
        for worker in workers
    ]


def make_sides(
    deployment: Deployment | None, endpoints_a: Sequence[str], endpoints_b: Sequence[str]
) -> list[Side]:
    urls = {"candidate": tuple(endpoints_a), "live": tuple(endpoints_b)}
    colors, pods = {"candidate": "", "live": ""}, dict[str, str]()
    if deployment:
        urls = {
            "candidate": urls["candidate"] or tuple(deployment.candidate.endpoints),
            "live": urls["live"] or tuple(deployment.live.endpoints),
        }
        colors = {"candidate": deployment.candidate.color, "live": deployment.live.color}
        pods = {
            instance.url: instance.name
            for release in (deployment.candidate, deployment.live)
            for instance in release.instances
        }
    if not urls["candidate"]:
        raise InputError(
            "endpoint-a", "", "give the URL of the server to measure, such as http://127.0.0.1:8000"
        )
    for url in (url for both in urls.values() for url in both):
        if not url.startswith(("http://", "https://")):
            raise InputError("endpoint", url, "give a URL that starts with http:// or https://")
    roles: tuple[Role, ...] = ("candidate", "live")
    own = {role: {url: pods[url] for url in urls[role] if url in pods} for role in roles}
    return [
        Side(role=role, color=colors[role], endpoints=urls[role], pods=own[role])
        for role in roles
        if urls[role]
    ]


def _clear_folder(folder: Path) -> Path:
    """The output folder without anything that an attempt before this one left."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (RECORD_FILE, REQUESTS, BLOCKS, LOG):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / GENERATOR_FOLDER, ignore_errors=True)
    return folder


def _find_mismatch(
    sides: Sequence[Side], releases: dict[str, Release], versions: dict[str, dict[str, Any] | str]
) -> str:
    problems = (
        find_mismatch(side.endpoints, releases[side.role], versions)
        for side in sides
        if side.role in releases
    )
    return next(filter(None, problems), "")


def _generate(
    jobs: list[Job], looks: StoppingRule | None
) -> tuple[CollectedRequests, list[Block], "array.array[float]", bytes, str]:
    """Run the generators to their end. Returns requests, blocks, loop lags, their logs, and why it
    is not all that was planned.
    """
    plan, sides, reason = jobs[0].plan, len(jobs[0].sides), ""
    with _catch_sigterm() as terminated, contextlib.closing(Generators(jobs)) as running:
        deadline = time.monotonic() + plan.time_limit
        due = time.monotonic()
        while (code := running.wait(POLL_SECONDS)) is None:
            if time.monotonic() >= due:
                due += PROGRESS_SECONDS
                running.read()
                _log_progress(running, plan, sides)
                if (
                    looks
                    and not looks.stopped_at
                    and looks.should_stop(running.requests, running.blocks)
                ):
                    running.end_pairs()
            if terminated.is_set():
                reason = "it was ended by SIGTERM"
            elif gone := running.requests.find_gone_endpoint(GONE_AFTER):
                # waiting for a thousand more of them would show nothing
                reason = f"{gone} is unavailable: it refused {GONE_AFTER} connections in a row"
            elif time.monotonic() > deadline:
                reason = f"it reached its time limit of {plan.time_limit:g} s"
            if reason:
                break
        running.close()
        running.read()
        if not reason and code:
            reason = f"the load generator ended with exit code {code}: {running.last_error_line()}"
        return (
            running.requests,
            running.blocks,
            running.read_loop_lags(),
            running.read_log(),
            reason or _describe_shortfall(jobs, running, looks),
        )


def _describe_shortfall(jobs: list[Job], running: Generators, looks: StoppingRule | None) -> str:
    """What of the plan was not run, though nothing went wrong that is known of; empty when nothing
    is missing.
    """
    job, pairs, blocks = jobs[0], running.requests.pairs, len(running.blocks)
    planned, planned_blocks = job.plan.pairs, job.plan.throughput_blocks * len(job.sides)
    if job.workers > len(jobs):  # of several pods this one knows only its own
        planned = len(range(job.worker, planned, job.workers))
    enough = (looks is not None and pairs >= looks.stopped_at > 0) or (
        job.workload.seconds is not None and pairs > 0
    )
    if (enough or pairs == planned) and blocks == planned_blocks:
        return ""
    return (
        f"only {pairs} of {planned} pairs and {blocks} of {planned_blocks} throughput windows"
        " were run"
    )


@contextlib.contextmanager
def _catch_sigterm() -> Iterator[threading.Event]:
    """Inside this, SIGTERM sets the event instead of ending the process: what was measured is still
    to be written.
    """
    asked = threading.Event()
    # only the main thread may set handlers
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    previous = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, previous)


def _log_progress(running: Generators, plan: Plan, sides: int) -> None:
    requests = running.requests
    if not requests.rows:
        figure = "warm-up"
    elif requests.last_phase == "pairs":
        figure = f"pairs {requests.pairs}/{plan.pairs}"
    else:
        figure = f"block {len(running.blocks)}/{plan.throughput_blocks * sides}"
        if running.blocks:
            last = count_blocks(running.blocks[-1:], requests.table())[0]
            figure += f", {last.role} {last.tokens_per_second:,.0f} tok/s"
    log.info(
        figure + (f", {requests.failed} failed" if requests.failed else ""),
        extra={"figure": figure},
    )


def _count_whole_pairs(requests: "pa.Table", sides: int) -> int:
    import numpy as np
    import pyarrow.compute as pc

    numbers = requests["pair"].to_numpy()[pc.equal(requests["phase"], "pairs").to_numpy()]
    return int((np.unique(numbers, return_counts=True)[1] == sides).sum())
