"""The phases of a benchmark inside a load generator: warm-up, throughput windows, pairs. Runs under
Locust, hence gevent.
"""

import array
import functools
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gevent
from gevent.queue import JoinableQueue

from greenlight.benchmark.arrivals import due_times
from greenlight.benchmark.barrier import Barrier
from greenlight.benchmark.client import Client, Reply
from greenlight.benchmark.plan import Plan, Side
from greenlight.benchmark.planned_requests import PlannedRequest
from greenlight.benchmark.samples import BLOCK_LINES, LOOP_LAGS, REQUEST_LINES, STOP, Block, Request
from greenlight.benchmark.workload import Workload

PAUSE_AFTER_ERROR = 0.1
"""Seconds. A server that refuses at once is not asked thousands of times per second."""
LOOP_TICK = 0.01  # seconds
STOP_CHECK = 0.05  # seconds between checks for the file that ends the pairs

# Seconds since the epoch of `perf_counter() == 0`, read once: later steps of the clock do not reach
# the samples.
EPOCH = time.time() - time.perf_counter()


class Caller:
    """One user: a client for every endpoint."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.clients: dict[str, Client] = {}

    def generate(self, endpoint: str, request: PlannedRequest, max_tokens: int, seed: int) -> Reply:
        if endpoint not in self.clients:
            self.clients[endpoint] = Client(endpoint, self.timeout)
        return self.clients[endpoint].generate(request.messages or request.text, max_tokens, seed)

    def close(self) -> None:
        for client in self.clients.values():
            client.close()


Job = Callable[[Caller], object]


@dataclass(frozen=True, slots=True)
class Pair:
    """`due`: of open loop, on the clock of perf_counter."""

    number: int
    request: int
    sides: list[Side]
    due: float | None


class Recorder:
    """Appends samples to files, each line at once, so that what happened survives this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Open for as long as the process lives; line buffered.
        self.requests = open(folder / REQUEST_LINES, "w", buffering=1)  # noqa: SIM115
        self.blocks = open(folder / BLOCK_LINES, "w", buffering=1)  # noqa: SIM115

    def write_request(self, row: Request) -> None:
        self.requests.write(json.dumps(asdict(row)) + "\n")

    def write_block(self, row: Block) -> None:
        self.blocks.write(json.dumps(asdict(row)) + "\n")

    def write_loop_lags(self, lags: "array.array[float]") -> None:
        (self.folder / LOOP_LAGS).write_bytes(lags.tobytes())

    @property
    def stop_requested(self) -> bool:
        return (self.folder / STOP).exists()


class Scheduler:
    """Gives jobs to the users and waits for them, phase by phase.

    A user takes jobs from `jobs` for as long as it lives. `on_reply` is called with every
    measured request (for Locust's own statistics). Each of several workers goes through the same
    phases and does its share: every n-th pair, and its part of the users.
    """

    def __init__(
        self,
        plan: Plan,
        workload: Workload,
        sides: list[Side],
        planned: list[PlannedRequest],
        on_reply: Callable[[Side, Reply], None],
        recorder: Recorder | None = None,
        barrier: Barrier | None = None,
    ) -> None:
        self.plan, self.workload, self.sides, self.planned = plan, workload, sides, planned
        self.on_reply, self.recorder = on_reply, recorder
        self.barrier = barrier or Barrier("", 0, 1)
        self.jobs: JoinableQueue[Job] = JoinableQueue()
        seed = plan.seed if workload.seed is None else workload.seed
        self.random, self.arrivals = (
            random.Random(f"{seed} order"),
            random.Random(f"{seed} arrivals"),
        )
        self.own_random = random.Random(f"{seed} worker {self.barrier.worker}")
        self.seeds = itertools.count(1 + self.barrier.worker * 10**9)
        self.endpoints = {side.role: itertools.cycle(side.endpoints) for side in sides}
        self.loop_lags = array.array("f")
        self._checked_at, self._stopped = 0.0, False

    def work(self, caller: Caller) -> None:
        """Do one job; waits for it."""
        job = self.jobs.get()
        try:
            job(caller)
        finally:
            self.jobs.task_done()

    def run(self) -> None:
        """Run the whole benchmark; returns when the last request has ended."""
        self.warm_up()
        watch = gevent.spawn(self._watch_loop)
        self.run_blocks()
        self.run_pairs()
        watch.kill()
        if self.recorder:
            self.recorder.write_loop_lags(self.loop_lags)

    def warm_up(self) -> None:
        """Load each color as the phases will, uncounted: engines compile, allocate and fill their
        caches on first use.
        """
        count = self._own_share(
            self.plan.concurrency if self.workload.warm_up is None else self.workload.warm_up
        )
        for side in self.sides:
            send = functools.partial(self._send, side, request=0, seed=0)
            self._run_on_users(count, functools.partial(send, max_tokens=self.plan.block_tokens))
            for _ in range(2):
                self._run_on_users(
                    1, functools.partial(send, max_tokens=self.planned[0].output_tokens)
                )

    def run_blocks(self) -> None:
        numbers = itertools.count()
        for pair in range(self.plan.throughput_blocks):
            for order, side in enumerate(self._shuffle_sides()):
                self._run_block(next(numbers), pair, order, side)

    def run_pairs(self) -> None:
        """All pairs of the plan, or as many as there is time for, or until the file STOP says that
        what there is decides.
        """
        begin = self._wait_to_begin("pairs")
        pairs = self._plan_pairs(begin)
        if self.workload.open_loop:
            self._send_when_due(pairs)
            return
        stages = self.workload.stages
        for number, stage in enumerate(stages, 1):
            end = time.perf_counter() + stage.seconds if number < len(stages) else float("inf")
            self._run_on_users(
                self._own_share(stage.users or 1),
                lambda caller, end=end: self._send_pairs(caller, pairs, end),  # type: ignore[misc]
            )
        if not stages:
            self._run_on_users(
                self._own_share(self.workload.users or self.plan.users),
                lambda caller: self._send_pairs(caller, pairs, float("inf")),
            )

    def _plan_pairs(self, begin: float) -> Iterator[Pair]:
        """The pairs of this worker, in order. Each pass through the planned requests takes them in
        a new order; a trace is taken as it is.
        """
        last = begin + (self.workload.seconds or float("inf"))
        is_trace, left = self.workload.arrivals == "trace", list[int]()
        times = (
            due_times(self.workload, self.planned, self.arrivals)
            if self.workload.open_loop
            else itertools.repeat(None)
        )
        numbers = range(self.plan.pairs) if self.plan.pairs else itertools.count()
        count = len(self.planned)
        for number, at in zip(numbers, times, strict=False):
            if not left:
                in_order = list(range(count))[::-1]
                left = in_order if is_trace else self.random.sample(range(count), count)
            pair = Pair(
                number, left.pop(), self._shuffle_sides(), None if at is None else begin + at
            )
            if (pair.due or time.perf_counter()) > last or self._stop_requested():
                return
            if number % self.barrier.workers == self.barrier.worker:
                yield pair

    def _stop_requested(self) -> bool:
        if (
            self.recorder
            and not self._stopped
            and (now := time.perf_counter()) > self._checked_at + STOP_CHECK
        ):
            self._checked_at, self._stopped = now, self.recorder.stop_requested
        return self._stopped

    def _shuffle_sides(self) -> list[Side]:
        return self.random.sample(self.sides, len(self.sides))

    def _send_pairs(self, caller: Caller, pairs: Iterator[Pair], end: float) -> None:
        """Closed loop: one pair after the other, until there are no more or time is up."""
        while time.perf_counter() < end and (pair := next(pairs, None)):
            seed = next(self.seeds)
            for order, side in enumerate(pair.sides):
                self._measure_pair(caller, pair, order, side, seed)

    def _send_when_due(self, pairs: Iterator[Pair]) -> None:
        """Open loop: both requests of each pair when it is due, by whichever users are free."""
        for pair in pairs:
            assert pair.due is not None
            gevent.sleep(max(0.0, pair.due - time.perf_counter()))
            seed = next(self.seeds)
            for order, side in enumerate(pair.sides):
                self.jobs.put(
                    lambda caller, pair=pair, order=order, side=side, seed=seed: self._measure_pair(
                        caller, pair, order, side, seed
                    )
                )
        self.jobs.join()

    def _measure_pair(self, caller: Caller, pair: Pair, order: int, side: Side, seed: int) -> None:
        place = {
            "phase": "pairs",
            "pair": pair.number,
            "block": pair.number // self.plan.pairs_per_block,
            "order": order,
        }
        tokens = self.planned[pair.request].output_tokens
        self._measure(caller, side, pair.request, seed, tokens, pair.due, **place)

    def _run_block(self, number: int, pair: int, order: int, side: Side) -> None:
        start = self._wait_to_begin(f"block-{number}") + self.plan.settle_seconds
        end = start + self.plan.block_seconds
        place = {"phase": "throughput", "pair": pair, "block": number, "order": order}
        tokens = self.plan.block_tokens

        def load(caller: Caller) -> None:
            while time.perf_counter() < end:
                request, seed = self.own_random.randrange(len(self.planned)), next(self.seeds)
                self._measure(caller, side, request, seed, tokens, None, **place)

        # Streams in flight at the end are read to their end; the counted seconds leave them out.
        self._run_on_users(self._own_share(self.plan.concurrency), load)
        if self.recorder:
            at = {"start": EPOCH + start, "seconds": self.plan.block_seconds}
            self.recorder.write_block(Block(number, pair, order, side.role, side.color, **at))

    def _wait_to_begin(self, name: str) -> float:
        """When a phase begins, on the clock of perf_counter: now, or when all workers are there."""
        if self.barrier.workers == 1:
            return time.perf_counter()
        begin = self.barrier.wait(name) - EPOCH
        gevent.sleep(max(0.0, begin - time.perf_counter()))
        return begin

    def _own_share(self, total: int) -> int:
        """This worker's part of the users."""
        return total // self.barrier.workers + (self.barrier.worker < total % self.barrier.workers)

    def _run_on_users(self, users: int, job: Job) -> None:
        """Have `users` users do the job at the same time, and wait until all have."""
        for _ in range(users):
            self.jobs.put(job)
        self.jobs.join()

    def _watch_loop(self) -> None:
        """Record how late this process comes to what it should do: it stamps tokens late by as
        much.
        """
        while True:
            due = time.perf_counter() + LOOP_TICK
            gevent.sleep(LOOP_TICK)
            self.loop_lags.append(max(0.0, time.perf_counter() - due))

    def _send(
        self, side: Side, caller: Caller, request: int, seed: int, max_tokens: int
    ) -> tuple[str, Reply]:
        endpoint = next(self.endpoints[side.role])
        return endpoint, caller.generate(endpoint, self.planned[request], max_tokens, seed)

    def _measure(
        self,
        caller: Caller,
        side: Side,
        request: int,
        seed: int,
        max_tokens: int,
        due: float | None,
        **place: Any,
    ) -> None:
        ready = time.perf_counter()
        endpoint, reply = self._send(side, caller, request, seed, max_tokens)
        if self.recorder:
            self.recorder.write_request(
                _make_row(side, endpoint, request, max_tokens, ready, due, reply, **place)
            )
        self.on_reply(side, reply)
        if reply.error and due is None:
            gevent.sleep(PAUSE_AFTER_ERROR)


def _make_row(
    side: Side,
    endpoint: str,
    request: int,
    max_tokens: int,
    ready: float,
    due: float | None,
    reply: Reply,
    **place: Any,
) -> Request:
    origin = reply.sent if due is None else due
    stamps = reply.stamps
    return Request(
        **place,
        role=side.role,
        color=side.color,
        endpoint=endpoint,
        pod=side.pods.get(endpoint, ""),
        prompt=request,
        asked=max_tokens,
        intended=EPOCH + (ready if due is None else due),
        lag=0.0 if due is None else max(0.0, ready - due),
        sent=EPOCH + reply.sent,
        ttft=stamps[0] - origin if stamps else float("nan"),
        e2e=reply.ended - origin,
        itls=[round(after - before, 7) for before, after in itertools.pairwise(stamps)],
        tokens_in=reply.tokens_in,
        tokens_out=len(stamps),
        status=reply.status,
        error=reply.error,
        detail=reply.detail,
        release=reply.release,
    )
