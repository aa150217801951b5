"""The measurements: every contender at every concurrency, in rounds, in an order that changes from round to round, one server awake at a time."""

import os
import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
from rich.console import Console

from benchmarks.serving import client, inprocess
from benchmarks.serving.client import Load
from benchmarks.serving.contenders import CONTENDERS, NEW_TOKENS, ServerKind
from benchmarks.serving.model import openvino_model, prompts
from benchmarks.serving.process import ServerProcess

WARMUP_SECONDS = 1.0
OTHERS_ALLOWED = 0.1  # cores that others may use during a measurement
INPROCESS = "inprocess"
# What is compared at one concurrency is measured in one go, so that both sides of a ratio are seconds apart.
BLOCKS = {
    1: ("openvino", INPROCESS, "transformers-serve", "vllm"),
    8: ("openvino", INPROCESS),
    32: ("openvino", "openvino-whole", INPROCESS, "transformers", "transformers-serve", "vllm"),
    64: ("openvino", INPROCESS),
}
progress = Console(file=sys.stderr, highlight=False, width=None if sys.stderr.isatty() else 160)


@dataclass(frozen=True)
class Measurement:
    """One window of one contender.

    Attributes:
        load: None for the limit in process.
        parent_us, children_us: CPU per token of the server's first process (ours: HTTP), and of its others (ours: the engine).
        others: cores that somebody else used meanwhile, which spoils the measurement.
    """

    contender: str
    concurrency: int
    round: int
    tokens_per_second: float
    load: Load | None
    parent_us: float
    children_us: float
    others: float


@contextmanager
def running(kinds: Iterable[ServerKind]) -> Iterator[dict[str, ServerProcess]]:
    """Start the servers one after the other, give each its first requests, and leave them paused. All are killed at the end."""
    servers: dict[str, ServerProcess] = {}
    try:
        for kind in kinds:
            server = servers[kind.name] = kind.start_and_wait()
            contender = next(each for each in CONTENDERS.values() if each.server == kind.name)
            for concurrency in (1, 32):  # what a server puts off until it sees such a batch is not measured
                client.drive(contender.job(server.port, concurrency, 0, 1))
            server.pause()
            progress.print(f"{kind.name} is ready after {server.ready_seconds:.2f} s")
        yield servers
    finally:
        for server in servers.values():
            server.stop()


def ready_seconds(kind: ServerKind, times: int) -> list[float]:
    seconds = []
    for _ in range(times):
        server = kind.start_and_wait()
        server.stop()
        seconds.append(server.ready_seconds)
    return seconds


def measure(servers: dict[str, ServerProcess], number: int, seconds: float) -> list[Measurement]:
    """One round."""
    order = random.Random(number)
    found = []
    for concurrency in order.sample(list(BLOCKS), len(BLOCKS)):
        names = [name for name in BLOCKS[concurrency] if name == INPROCESS or CONTENDERS[name].server in servers]
        for name in order.sample(names, len(names)):
            one = _inprocess(number, concurrency, seconds) if name == INPROCESS else _server(servers, name, number, concurrency, seconds)
            progress.print(f"round {number:2}  {concurrency:3} at a time  {name:20} {one.tokens_per_second:8.0f} tokens/s", end="")
            progress.print(f"  (others used {one.others:.2f} cores)" if one.others > OTHERS_ALLOWED else "", style="yellow")
            found.append(one)
    return found


def _inprocess(number: int, concurrency: int, seconds: float) -> Measurement:
    before = _cpu_of_others(0.0)
    limit = inprocess.drive(inprocess.Job(str(openvino_model()), prompts(), NEW_TOKENS, concurrency, WARMUP_SECONDS, seconds))
    others = _cpu_of_others(0.0) - before
    return Measurement(INPROCESS, concurrency, number, limit.tokens_per_second, None, 0.0, limit.us_per_token, others / seconds)


def _server(servers: dict[str, ServerProcess], name: str, number: int, concurrency: int, seconds: float) -> Measurement:
    contender = CONTENDERS[name]
    server = servers[contender.server]
    server.resume()
    used = server.cpu_seconds()
    before = _cpu_of_others(sum(used))
    load = client.drive(contender.job(server.port, concurrency, WARMUP_SECONDS, seconds))
    parent, children = (1e6 * (now - then) / load.total_tokens for now, then in zip(server.cpu_seconds(), used, strict=True))
    others = _cpu_of_others(sum(server.cpu_seconds())) - before
    server.pause()
    return Measurement(name, concurrency, number, load.tokens_per_second, load, parent, children, others / seconds)


def _cpu_of_others(server: float) -> float:
    """CPU seconds of this machine that are neither the server's nor of this process and the clients that have ended."""
    machine = psutil.cpu_times()
    ours = os.times()
    mine: float = ours.user + ours.system + ours.children_user + ours.children_system
    total: float = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice  # guests are part of user
    return total - mine - server
