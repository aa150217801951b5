"""The measurements: every contender at every concurrency, in rounds, in an order that changes from
round to round, one server awake at a time.
"""

import os
import random
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
from rich.console import Console

from benchmarks.serving import client
from benchmarks.serving.client import Load
from benchmarks.serving.contenders import CONTENDERS, ServerKind
from benchmarks.serving.inprocess import InProcess, Window
from benchmarks.serving.model import openvino_model
from benchmarks.serving.process import MeasuredProcess, ServerProcess

WARMUP_SECONDS = 1.0
FIRST, FIRST_SECONDS = (1, 32), 3.0  # what is put off until there is such a batch is not measured
OTHERS_ALLOWED = 0.1  # cores that others may use during a measurement
INPROCESS = "inprocess"
# What is compared at one concurrency is measured in one go, so that both sides of a ratio are
# seconds apart.
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
        parent_us, children_us: CPU per token of the server's first process (ours: HTTP), and of its
            others (ours: the engine).
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


Running = dict[str, MeasuredProcess]  # by the name of the server, or INPROCESS


@contextmanager
def running(kinds: Iterable[ServerKind]) -> Iterator[Running]:
    """Start everything one after the other, give each its first requests, and leave it paused. All
    are killed at the end.
    """
    processes: Running = {}
    try:
        for kind in kinds:
            processes[kind.name] = server = kind.start_and_wait()
            server.pause()
            progress.print(f"{kind.name} is ready after {server.ready_seconds:.2f} s")
        processes[INPROCESS] = InProcess(openvino_model())
        for name in {name: name for block in BLOCKS.values() for name in block}:
            for concurrency in FIRST if _is_here(name, processes) else ():
                _load(processes, name, concurrency, 0, FIRST_SECONDS)
        yield processes
    finally:
        for process in processes.values():
            process.stop()


def ready_seconds(kind: ServerKind, times: int) -> list[float]:
    seconds = []
    for _ in range(times):
        server = kind.start_and_wait()
        server.stop()
        seconds.append(server.ready_seconds)
    return seconds


def measure(processes: Running, number: int, seconds: float) -> list[Measurement]:
    """One round."""
    order = random.Random(number)
    found = []
    for concurrency in order.sample(list(BLOCKS), len(BLOCKS)):
        names = [name for name in BLOCKS[concurrency] if _is_here(name, processes)]
        for name in order.sample(names, len(names)):
            one = _measure(processes, name, number, concurrency, seconds)
            disturbed = (
                f"  (others used {one.others:.2f} cores)" if one.others > OTHERS_ALLOWED else ""
            )
            progress.print(
                f"round {number:2}  {concurrency:3} at a time  {name:20}"
                f" {one.tokens_per_second:8.0f} tokens/s{disturbed}"
            )
            found.append(one)
    return found


def _measure(
    processes: Running, name: str, number: int, concurrency: int, seconds: float
) -> Measurement:
    process = processes[_process_of(name)]
    used = process.cpu_seconds()
    started, before = time.monotonic(), _cpu_of_others(sum(used))
    rate, tokens, load = _load(processes, name, concurrency, WARMUP_SECONDS, seconds)
    now_used = process.cpu_seconds()
    others = (_cpu_of_others(sum(now_used)) - before) / (time.monotonic() - started)
    parent, children = (
        1e6 * (now - then) / tokens for now, then in zip(now_used, used, strict=True)
    )
    return Measurement(name, concurrency, number, rate, load, parent, children, others)


def _load(
    processes: Running, name: str, concurrency: int, warmup: float, seconds: float
) -> tuple[float, int, Load | None]:
    """Tokens per second in the window, and all tokens."""
    process = processes[_process_of(name)]
    process.resume()
    try:
        if isinstance(process, InProcess):
            return *process.measure(Window(concurrency, warmup, seconds)), None
        assert isinstance(process, ServerProcess)
        load = client.drive(CONTENDERS[name].job(process.port, concurrency, warmup, seconds))
        return load.tokens_per_second, load.total_tokens, load
    finally:
        process.pause()


def _process_of(name: str) -> str:
    return INPROCESS if name == INPROCESS else CONTENDERS[name].server


def _is_here(name: str, processes: Running) -> bool:
    return _process_of(name) in processes


def _cpu_of_others(server: float) -> float:
    """CPU seconds of this machine that are neither the server's nor of this process and the clients
    that have ended.
    """
    machine = psutil.cpu_times()
    ours = os.times()
    mine: float = ours.user + ours.system + ours.children_user + ours.children_system
    # guests are part of user
    total: float = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice
    return total - mine - server
