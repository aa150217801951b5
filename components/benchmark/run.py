"""One benchmark from start to end: check the endpoints, run the generator, check them again, keep the samples, sum up."""

import contextlib
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from components.benchmark.generator import LOG, Generator, Job
from components.benchmark.prompts import load_prompts
from components.benchmark.samples import BLOCKS, REQUESTS, CountedBlock, Request, count_blocks, file_digest, summarize, write_parquet
from components.benchmark.versions import changed, mismatch, read_versions, unreachable
from components.benchmark.workload import Role, Side, Workload
from components.errors import InputError
from components.records import RECORD_FILE, BenchmarkResult, ColorSummary, Deployment, Release

log = logging.getLogger("greenlight.benchmark")

GENERATOR_FOLDER = "generator"
PROGRESS_SECONDS = 1.0
POLL_SECONDS = 0.1
GONE_AFTER, GONE_WINDOW = 5, 200


def run_benchmark(
    deployment: Deployment | None, endpoints_a: Sequence[str], endpoints_b: Sequence[str], output_folder: Path | str, workload: Workload
) -> BenchmarkResult:
    """Measure a (the candidate) against b (live), side by side, or a alone.

    Leaves `requests.parquet`, `blocks.parquet` and Locust's own log in `output_folder`; the caller saves the record there.

    Args:
        deployment: what the endpoints must serve, checked before and after. None: any two endpoints, which must not change.
        endpoints_a: URLs of the candidate; empty: those of the deployment.
        endpoints_b: URLs of live; empty: those of the deployment, or none.

    Returns:
        The result. When anything cut the measurement short or put in doubt what was measured, it is not `complete`, gives the
        `reason`, and holds what was measured until then: that alone is no reason to raise.

    Raises:
        InputError: the prompts cannot be read, or without a deployment: an endpoint is missing or does not answer.
    """
    started = time.monotonic()
    prompts = load_prompts(workload.prompts)
    sides = _sides(deployment, endpoints_a, endpoints_b)
    folder = _empty(Path(output_folder))

    before = read_versions(sides)
    if deployment is None and (silent := unreachable(before)):
        raise InputError("endpoint", silent.split(" ", 1)[0].removesuffix("/version"), f"{silent.split(' ', 1)[1]}; give the URL of a running server")
    releases = {"candidate": deployment.candidate, "live": deployment.live} if deployment else {}
    reason = _mismatch(sides, releases, before)
    requests: list[Request] = []
    blocks: list[CountedBlock] = []
    if not reason:
        generator_folder = folder / GENERATOR_FOLDER
        generator_folder.mkdir()
        job = Job(plan=workload, sides=sides, prompts=prompts, folder=generator_folder, parent=os.getpid())
        requests, blocks, reason = _generate(job)
        os.replace(generator_folder / LOG, folder / LOG)
        shutil.rmtree(generator_folder)
        after = read_versions(sides)
        reason = reason or changed(before, after) or _mismatch(sides, releases, after)

    write_parquet(folder / REQUESTS, Request, requests)
    write_parquet(folder / BLOCKS, CountedBlock, blocks)
    if reason:
        log.warning("the benchmark is not complete: %s", reason)
    summaries = {side.role: _summary(side.role, releases.get(side.role), requests, blocks) for side in sides}
    return BenchmarkResult(
        complete=not reason,
        reason=reason,
        candidate=summaries["candidate"],
        live=summaries.get("live"),
        pairs=_full_pairs(requests, len(sides)),
        concurrency=workload.concurrency,
        max_tokens=workload.max_tokens,
        block_tokens=workload.block_tokens,
        seed=workload.seed,
        seconds=time.monotonic() - started,
        samples_uri=str(folder.resolve()),
        requests_digest=file_digest(folder / REQUESTS),
        blocks_digest=file_digest(folder / BLOCKS),
    )


def _sides(deployment: Deployment | None, endpoints_a: Sequence[str], endpoints_b: Sequence[str]) -> list[Side]:
    urls = {"candidate": tuple(endpoints_a), "live": tuple(endpoints_b)}
    colors = {"candidate": "", "live": ""}
    if deployment:
        urls = {"candidate": urls["candidate"] or tuple(deployment.candidate.endpoints), "live": urls["live"] or tuple(deployment.live.endpoints)}
        colors = {"candidate": deployment.candidate.color, "live": deployment.live.color}
    if not urls["candidate"]:
        raise InputError("endpoint-a", "", "give the URL of the server to measure, such as http://127.0.0.1:8000")
    for url in (url for both in urls.values() for url in both):
        if not url.startswith(("http://", "https://")):
            raise InputError("endpoint", url, "give a URL that starts with http:// or https://")
    roles: tuple[Role, ...] = ("candidate", "live")
    return [Side(role=role, color=colors[role], endpoints=urls[role]) for role in roles if urls[role]]


def _empty(folder: Path) -> Path:
    """The output folder without anything that an attempt before this one left."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (RECORD_FILE, REQUESTS, BLOCKS, LOG):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / GENERATOR_FOLDER, ignore_errors=True)
    return folder


def _mismatch(sides: Sequence[Side], releases: dict[str, Release], versions: dict) -> str:
    problems = (mismatch(side.endpoints, releases[side.role], versions) for side in sides if side.role in releases)
    return next(filter(None, problems), "")


def _generate(job: Job) -> tuple[list[Request], list[CountedBlock], str]:
    """Run the generator to its end. Returns requests, blocks, and why it is not all that was planned."""
    plan, reason = job.plan, ""
    with _sigterm() as asked_to_end, contextlib.closing(Generator(job)) as generator:
        deadline = time.monotonic() + plan.time_limit
        due = time.monotonic()
        while (code := generator.wait(POLL_SECONDS)) is None:
            if time.monotonic() >= due:
                due += PROGRESS_SECONDS
                generator.read()
                _log_progress(generator, job)
            if asked_to_end.is_set():
                reason = "it was asked to end (SIGTERM)"
            elif gone := _gone(generator.requests):
                reason = f"{gone} does not accept connections any more, {GONE_AFTER} times in a row"
            elif time.monotonic() > deadline:
                reason = f"the time limit of {plan.time_limit:g} s was over"
            if reason:
                break
        generator.close()
        generator.read()
        pairs, blocks = _full_pairs(generator.requests, len(job.sides)), len(generator.blocks)
        if not reason and code:
            reason = f"the load generator ended with exit code {code}: {generator.last_words()}"
        elif not reason and (pairs, blocks) != (plan.pairs, plan.throughput_blocks * len(job.sides)):
            reason = f"only {pairs} of {plan.pairs} pairs and {blocks} of {plan.throughput_blocks * len(job.sides)} throughput blocks were run"
    return generator.requests, count_blocks(generator.blocks, generator.requests), reason


@contextlib.contextmanager
def _sigterm() -> Iterator[threading.Event]:
    """Inside this, SIGTERM sets the event instead of ending the process: what was measured is still to be written."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield asked
        return
    previous = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, previous)


def _log_progress(generator: Generator, job: Job) -> None:
    plan, requests = job.plan, generator.requests
    if not requests:
        figure = "warm-up"
    elif requests[-1].phase == "pairs":
        figure = f"pairs {_full_pairs(requests, len(job.sides))}/{plan.pairs}"
    else:
        figure = f"block {len(generator.blocks)}/{plan.throughput_blocks * len(job.sides)}"
        if generator.blocks:
            last = count_blocks(generator.blocks[-1:], requests)[0]
            figure += f", {last.role} {last.tokens_per_second:,.0f} tok/s"
    failed = sum(1 for request in requests if request.error)
    log.info(figure + (f", {failed} failed" if failed else ""), extra={"figure": figure})


def _gone(requests: Sequence[Request]) -> str:
    """An endpoint that its latest requests could not connect to; empty when there is none. Waiting for a thousand more of them would show nothing."""
    seen: dict[str, list[str]] = {}
    for request in requests[-GONE_WINDOW:]:
        seen.setdefault(request.endpoint, []).append(request.error)
    return next((endpoint for endpoint, errors in seen.items() if errors[-GONE_AFTER:] == ["connect"] * GONE_AFTER), "")


def _full_pairs(requests: Sequence[Request], sides: int) -> int:
    sent: dict[int, int] = {}
    for request in requests:
        if request.phase == "pairs":
            sent[request.pair] = sent.get(request.pair, 0) + 1
    return sum(1 for count in sent.values() if count == sides)


def _summary(role: Role, release: Release | None, requests: Sequence[Request], blocks: Sequence[CountedBlock]) -> ColorSummary:
    """Latencies of the successful requests of the pairs, tokens per second of the blocks, counts of everything."""
    import numpy as np

    own = [request for request in requests if request.role == role]
    good = [request for request in own if request.phase == "pairs" and not request.error]
    rates = [block.tokens_per_second for block in blocks if block.role == role]
    return ColorSummary(
        release_id=release.release_id if release else "",
        digest=release.digest if release else "",
        requests=len(own),
        errors=sum(1 for request in own if request.error),
        output_tokens=sum(request.tokens_out for request in own),
        output_tokens_per_second=float(np.median(rates)) if rates else 0.0,
        ttft=summarize([request.ttft for request in good]),
        itl=summarize([sum(request.itls) / len(request.itls) for request in good if request.itls]),
        e2e=summarize([request.e2e for request in good]),
    )
