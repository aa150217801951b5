"""A command in a process of its own: how long it took, and the most memory that each process below
it held.
"""

import resource
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.quantize.device import GpuMemory

POLL_SECONDS = 0.05
CHECK = "greenlight.quantize.reload_check"
"""In the command line of the process that reloads."""


@dataclass
class Memory:
    """In bytes. `peak` counts pages of files that are mapped in, such as libraries; `anonymous`
    does not, and cannot be given back without swap.

    `gpu` is what is held of a GPU's memory, with what torch has there for itself.
    """

    peak: int = 0
    anonymous: int = 0
    gpu: int = 0


@dataclass
class Run:
    """`check` is of the reload check, `work` of all other processes: the highest of each.

    `cpu` is in seconds of one core, of all processes but the reload check: on a machine that others
    use too it says more than seconds do.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    check_cpu: float = 0.0
    failed: str = ""
    work: Memory = field(default_factory=Memory)
    check: Memory = field(default_factory=Memory)


def run(command: list[str], environment: dict[str, str], log: Path, limit_s: float) -> Run:
    """Run a command to its end, or to the limit; what it prints goes to the log."""
    found = Run()
    with GpuMemory() as gpu:
        began, cpu = time.monotonic(), _cpu_of_children()
        with open(log, "wb") as sink:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        ended = threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, found, gpu, ended))
        watcher.start()
        try:
            code = process.wait(limit_s)
            found.failed = "" if code == 0 else _last_line(log)
        except subprocess.TimeoutExpired:
            found.failed = f"not done after {limit_s:.0f} s"
        finally:
            found.seconds = time.monotonic() - began
            if process.poll() is None:
                process.kill()  # what it started dies with it
                process.wait()
            ended.set()
            watcher.join()
            found.cpu = _cpu_of_children() - cpu - found.check_cpu
    return found


def _watch(pid: int, found: Run, gpu: GpuMemory, ended: threading.Event) -> None:
    while not ended.wait(POLL_SECONDS):
        try:
            root = psutil.Process(pid)
            for process in [root, *root.children(recursive=True)]:
                _note(process, found, gpu)
        except (psutil.Error, OSError):
            continue  # one of them has just ended


def _note(process: psutil.Process, found: Run, gpu: GpuMemory) -> None:
    held = found.work
    if CHECK in " ".join(process.cmdline()):
        held, used = found.check, process.cpu_times()
        found.check_cpu = used.user + used.system
    values = dict(
        line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
    )
    if "VmHWM" in values:  # not of one that has ended
        held.peak = max(held.peak, 1024 * int(values["VmHWM"].split()[0]))
        held.anonymous = max(held.anonymous, 1024 * int(values["RssAnon"].split()[0]))
        held.gpu = max(held.gpu, gpu.peaks.get(process.pid, 0))


def _cpu_of_children() -> float:
    """Of those that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _last_line(log: Path) -> str:
    lines = [
        line.strip()
        for line in log.read_text(errors="replace").replace("\r", "\n").splitlines()
        if line.strip()
    ]
    return lines[-1][:200] if lines else "it printed nothing"
