"""The processes of one service on this machine, found by a mark in their environment rather than by
a list that could be out of date.

A runner may be killed between starting a process and writing that down. The mark is there from the
process's first instruction.
"""

import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from greenlight.core.errors import DeployError
from greenlight.core.records import Instance
from greenlight.core.safe_path import safe_environment
from greenlight.core.waiting import wait_for
from greenlight.rollout.target import Timings

if TYPE_CHECKING:
    import psutil

log = logging.getLogger("greenlight.rollout")

SERVICE_MARK, GROUP_MARK, NAME_MARK = (
    "GREENLIGHT_SERVICE_FOLDER",
    "GREENLIGHT_GROUP",
    "GREENLIGHT_INSTANCE",
)
LOG_LINES = 12
KILL_MARGIN_S = 5.0
"""A server ends its streams by itself when its grace is over. Only one that does not is killed."""


@dataclass(frozen=True)
class Running:
    """A process that was started here. Children that it started itself (an engine) are not listed,
    they end with it.
    """

    group: str
    instance: Instance
    process: "psutil.Process"


class Processes:
    """Starts, finds and ends the processes of a service. A group is a color, or `proxy`."""

    def __init__(self, folder: Path, timings: Timings) -> None:
        self.folder, self.timings = folder, timings
        # to reap those that this process started itself
        self.children: dict[int, subprocess.Popen[bytes]] = {}

    def start(
        self, group: str, name: str, command: Sequence[str], port: int, environment: dict[str, str]
    ) -> Instance:
        """Start a process that outlives this one: a session of its own, nothing inherited but the
        environment, output to its log file.
        """
        import psutil

        path = self.log_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        marks = {
            SERVICE_MARK: str(self.folder),
            GROUP_MARK: group,
            NAME_MARK: name,
            "HOST": "127.0.0.1",
            "PORT": str(port),
        }
        # what serves needs no secret
        inherited = {key: value for key, value in os.environ.items() if key != "HF_TOKEN"}
        with open(path, "wb") as output:
            child = subprocess.Popen(
                command,
                env={**inherited, **safe_environment(), **environment, **marks},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.children[child.pid] = child
        with contextlib.suppress(psutil.NoSuchProcess):
            return _instance(psutil.Process(child.pid), name, port)
        return Instance(name=name, url=_url(port), pid=child.pid)

    def find(self, group: str | None = None) -> list[Running]:
        """What runs here, of one group or of all, by name."""
        found = {
            process.pid: (process, marks)
            for process, marks in self._marked()
            if group in (None, marks[GROUP_MARK])
        }
        own = []
        for process, marks in found.values():
            if _parent(process) in found:
                continue  # a child of a server carries its mark too, and ends with it
            with contextlib.suppress(Exception):  # gone meanwhile
                own.append(
                    Running(
                        marks[GROUP_MARK],
                        _instance(process, marks[NAME_MARK], int(marks["PORT"])),
                        process,
                    )
                )
        return sorted(own, key=lambda running: running.instance.name)

    def end(self, group: str, keep: Collection[int] = ()) -> None:
        """End a group, but for the processes `keep`, and everything that its processes started.
        Streams in flight may finish, for `drain` seconds.

        Raises:
            DeployError: a process could not be ended.
        """
        import psutil

        ending = [running for running in self.find(group) if running.instance.pid not in keep]
        for running in ending:
            self._send_sigterm(running)
        self._wait_until_ended(
            group, [running.process for running in ending], self.timings.drain + KILL_MARGIN_S
        )
        remaining = [
            process
            for process, marks in self._marked()
            if marks[GROUP_MARK] == group and not {process.pid, _parent(process)} & set(keep)
        ]
        for process in remaining:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if stuck := self._wait_until_ended(group, remaining, KILL_MARGIN_S):
            raise DeployError(
                f"process {stuck[0].pid} of {group} does not end, not even by SIGKILL. End it by"
                " hand, then run this again."
            )

    def _send_sigterm(self, running: Running) -> None:
        """SIGTERM, once: a server that gets a second one cuts its streams. A run that was killed
        may have sent the first.
        """
        sent = self.log_path(running.instance.name).with_suffix(".ending")
        process = f"{running.instance.pid} {running.instance.started:.0f}"
        if sent.exists() and sent.read_text() == process:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.instance.pid, signal.SIGTERM)
        sent.write_text(process)

    def has_ended(self, instance: Instance) -> bool:
        """Has the process ended?"""
        import psutil

        self._reap()
        try:
            process = psutil.Process(instance.pid)
            return abs(process.create_time() - instance.started) >= 2 or _ended(process)
        except psutil.NoSuchProcess:
            return True

    def describe_end(self, instance: Instance) -> str:
        """How a process ended, as far as is known, and the last lines of its log."""
        child = self.children.get(instance.pid)
        code = child.poll() if child else None
        how = (
            "" if code is None else f" by signal {-code}" if code < 0 else f" with exit code {code}"
        )
        return f"{how}. {self.last_lines(instance)}"

    def last_lines(self, instance: Instance) -> str:
        path = self.log_path(instance.name)
        try:
            lines = path.read_text(errors="replace").splitlines()[-LOG_LINES:]
        except OSError:
            lines = []
        return f"The last lines of {path}:\n" + "\n".join(
            f"    {line}" for line in lines or ["(empty)"]
        )

    def log_path(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def _marked(self) -> list[tuple["psutil.Process", dict[str, str]]]:
        """Every process of this service that has not ended, with its environment."""
        import psutil

        self._reap()
        marked = []
        for process in psutil.process_iter():
            # another user's, or gone meanwhile: not ours
            with contextlib.suppress(psutil.Error, OSError):
                environment = process.environ()
                if environment.get(SERVICE_MARK) == str(self.folder) and not _ended(process):
                    marked.append((process, environment))
        return marked

    def _wait_until_ended(
        self, group: str, processes: "list[psutil.Process]", seconds: float
    ) -> "list[psutil.Process]":
        """Wait for processes to end; returns those that have not."""
        left = processes

        def look(elapsed: float) -> bool | None:
            nonlocal left
            left = [process for process in left if not _ended(process)]
            return None if left else True

        def report(elapsed: float) -> None:
            log.info(
                "%s: waiting for streams in flight, %d processes left",
                group,
                len(left),
                extra={"figure": f"draining {elapsed:.0f} s"},
            )

        wait_for(
            look,
            seconds=seconds,
            interval=min(self.timings.poll, 0.05),
            report=report,
            report_interval=self.timings.progress,
        )
        return left

    def _reap(self) -> None:
        for child in self.children.values():
            child.poll()


def _instance(process: "psutil.Process", name: str, port: int) -> Instance:
    return Instance(name=name, url=_url(port), pid=process.pid, started=process.create_time())


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _ended(process: "psutil.Process") -> bool:
    """A zombie has ended; it waits for the process that started it to notice."""
    import psutil

    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _parent(process: "psutil.Process") -> int:
    import psutil

    try:
        return process.ppid()
    except psutil.Error:
        return 0
