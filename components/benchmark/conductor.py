"""The course of a benchmark inside the load generator: warm-up, pairs, throughput blocks. Runs under Locust, hence gevent."""

import functools
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gevent
from gevent.queue import JoinableQueue

from components.benchmark.client import Client, Reply
from components.benchmark.samples import BLOCK_LINES, REQUEST_LINES, Block, Request
from components.benchmark.workload import Plan, Side

PAUSE_AFTER_ERROR = 0.1  # seconds: a server that refuses at once is not asked thousands of times a second

# Seconds since the epoch of `perf_counter() == 0`, read once: later steps of the clock do not reach the samples.
EPOCH = time.time() - time.perf_counter()


class Caller:
    """One user: a client for every endpoint."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.clients: dict[str, Client] = {}

    def generate(self, endpoint: str, prompt: str, max_tokens: int, seed: int) -> Reply:
        if endpoint not in self.clients:
            self.clients[endpoint] = Client(endpoint, self.timeout)
        return self.clients[endpoint].generate(prompt, max_tokens, seed)

    def close(self) -> None:
        for client in self.clients.values():
            client.close()


Job = Callable[[Caller], object]


class Recorder:
    """Appends samples to files, each line at once, so that what happened survives this process."""

    def __init__(self, folder: Path) -> None:
        # Open for as long as the process lives; line buffered.
        self.requests = open(folder / REQUEST_LINES, "w", buffering=1)  # noqa: SIM115
        self.blocks = open(folder / BLOCK_LINES, "w", buffering=1)  # noqa: SIM115

    def request(self, row: Request) -> None:
        self.requests.write(json.dumps(asdict(row)) + "\n")

    def block(self, row: Block) -> None:
        self.blocks.write(json.dumps(asdict(row)) + "\n")


class Conductor:
    """Gives jobs to the users and waits for them, phase by phase.

    A user takes jobs from `jobs` for as long as it lives. `on_reply` is told of every measured request (for Locust's own statistics).
    """

    def __init__(self, plan: Plan, sides: list[Side], prompts: list[str], on_reply: Callable[[Side, Reply], None], recorder: Recorder | None = None) -> None:
        self.plan, self.sides, self.prompts, self.on_reply, self.recorder = plan, sides, prompts, on_reply, recorder
        self.jobs: JoinableQueue[Job] = JoinableQueue()
        self.random = random.Random(plan.seed)
        self.seeds = itertools.count(1)
        self.endpoints = {side.role: itertools.cycle(side.endpoints) for side in sides}

    def work(self, caller: Caller) -> None:
        """Do one job; waits for it."""
        job = self.jobs.get()
        try:
            job(caller)
        finally:
            self.jobs.task_done()

    def run(self) -> None:
        """Conduct the whole benchmark; returns when the last request has ended."""
        self.warm_up()
        self.run_pairs()
        self.run_blocks()

    def warm_up(self) -> None:
        """Load each color as the phases will, uncounted: engines compile, allocate and fill their caches on first use."""
        for side in self.sides:
            ask = functools.partial(self._ask, side, prompt=0, seed=0)
            self._all(self.plan.concurrency, functools.partial(ask, max_tokens=self.plan.block_tokens))
            for _ in range(2):
                self._all(1, functools.partial(ask, max_tokens=self.plan.max_tokens))

    def run_pairs(self) -> None:
        pairs = self._plan_pairs()
        self._all(self.plan.users, lambda caller: self._send_pairs(caller, pairs))

    def run_blocks(self) -> None:
        numbers = itertools.count()
        for pair in range(self.plan.throughput_blocks):
            for order, side in enumerate(self._shuffled()):
                self._run_block(next(numbers), pair, order, side)

    def _plan_pairs(self) -> Iterator[tuple[int, int, list[Side]]]:
        """Number, prompt and order of every pair. Each pass through the prompts takes them in a new order."""
        deck: list[int] = []
        for pair in range(self.plan.pairs) if self.plan.pairs else itertools.count():
            deck = deck or self.random.sample(range(len(self.prompts)), len(self.prompts))
            yield pair, deck.pop(), self._shuffled()

    def _shuffled(self) -> list[Side]:
        return self.random.sample(self.sides, len(self.sides))

    def _send_pairs(self, caller: Caller, pairs: Iterator[tuple[int, int, list[Side]]]) -> None:
        for pair, prompt, sides in pairs:
            seed = next(self.seeds)
            for order, side in enumerate(sides):
                self._measure(caller, side, prompt, seed, self.plan.max_tokens, phase="pairs", pair=pair, block=pair // self.plan.pairs_per_block, order=order)

    def _run_block(self, number: int, pair: int, order: int, side: Side) -> None:
        start = time.perf_counter() + self.plan.settle_seconds
        end = start + self.plan.block_seconds

        def load(caller: Caller) -> None:
            while time.perf_counter() < end:
                prompt, seed = self.random.randrange(len(self.prompts)), next(self.seeds)
                self._measure(caller, side, prompt, seed, self.plan.block_tokens, phase="throughput", pair=pair, block=number, order=order)

        self._all(self.plan.concurrency, load)  # streams in flight at the end are read to their end; the window leaves them out
        if self.recorder:
            self.recorder.block(Block(number, pair, order, side.role, side.color, start=EPOCH + start, seconds=self.plan.block_seconds))

    def _all(self, users: int, job: Job) -> None:
        """Have `users` users do the job at the same time, and wait until all have."""
        for _ in range(users):
            self.jobs.put(job)
        self.jobs.join()

    def _ask(self, side: Side, caller: Caller, prompt: int, seed: int, max_tokens: int) -> tuple[str, Reply]:
        endpoint = next(self.endpoints[side.role])
        return endpoint, caller.generate(endpoint, self.prompts[prompt], max_tokens, seed)

    def _measure(self, caller: Caller, side: Side, prompt: int, seed: int, max_tokens: int, **place: Any) -> None:
        intended = time.perf_counter()
        endpoint, reply = self._ask(side, caller, prompt, seed, max_tokens)
        if self.recorder:
            self.recorder.request(_row(side, endpoint, prompt, intended, reply, **place))
        self.on_reply(side, reply)
        if reply.error:
            gevent.sleep(PAUSE_AFTER_ERROR)


def _row(side: Side, endpoint: str, prompt: int, intended: float, reply: Reply, **place: Any) -> Request:
    stamps = reply.stamps
    return Request(
        **place,
        role=side.role,
        color=side.color,
        endpoint=endpoint,
        prompt=prompt,
        intended=EPOCH + intended,
        sent=EPOCH + reply.sent,
        ttft=stamps[0] - reply.sent if stamps else float("nan"),
        e2e=reply.ended - reply.sent,
        itls=[round(after - before, 7) for before, after in itertools.pairwise(stamps)],
        tokens_in=reply.tokens_in,
        tokens_out=len(stamps),
        status=reply.status,
        error=reply.error,
        detail=reply.detail,
        release=reply.release,
    )
