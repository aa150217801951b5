"""The load generators as processes of their own: headless Locust that reads a
job file, and whose output files are read as they grow.
"""

import array
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field

from greenlight.benchmark.plan import Plan, Side
from greenlight.benchmark.planned_requests import PlannedRequest
from greenlight.benchmark.samples import (
    BLOCK_LINES,
    LOOP_LAGS,
    REQUEST_LINES,
    STOP,
    Block,
    CollectedRequests,
    LineFile,
)
from greenlight.benchmark.workload import Workload
from greenlight.core.safe_path import safe_environment

LOCUSTFILE = Path(__file__).parent / "locustfile.py"
LOG = "locust.log"
GRACE_SECONDS = 10


class Job(BaseModel):
    """The whole input of a generator."""

    plan: Plan
    workload: Workload
    sides: list[Side]
    planned: list[PlannedRequest]
    folder: Path = Field(
        description="Folder to which it writes requests.jsonl, blocks.jsonl and loop-lags.f32."
    )
    parent: int = Field(description="Pid of the step; the generator ends when it is gone.")
    users: int = Field(description="Number of users that it keeps ready for all phases.")
    worker: int = Field(0, description="Number of this worker, from 0.")
    workers: int = 1
    barrier: str = Field(
        "", description="Folder or gs:// prefix through which workers wait for each other."
    )

    @classmethod
    def load(cls, path: str) -> Self:
        return cls.model_validate_json(Path(path).read_bytes())


class _Process:
    def __init__(self, job: Job) -> None:
        self.folder = job.folder
        self.folder.mkdir(parents=True)
        self.requests, self.blocks = (
            LineFile(job.folder / REQUEST_LINES),
            LineFile(job.folder / BLOCK_LINES),
        )
        path = job.folder / "job.json"
        path.write_text(job.model_dump_json())
        command = [
            sys.executable,
            "-m",
            "locust",
            "-f",
            str(LOCUSTFILE),
            "--headless",
            "--only-summary",
            "--loglevel",
            "WARNING",
        ]
        command += ["--users", str(job.users), "--spawn-rate", str(job.users), "--job", str(path)]
        with open(job.folder / LOG, "wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | safe_environment(),
                cwd=job.folder,  # where no locust.conf or pyproject.toml of others is read
            )

    def last_error_line(self) -> str:
        """The last line of its log that names an error, or else the last line."""
        lines = [
            line.strip()
            for line in (self.folder / LOG).read_text(errors="replace").splitlines()
            if line.strip()
        ]
        return next(
            (line for line in reversed(lines) if "rror" in line),
            lines[-1] if lines else "it wrote nothing",
        )[:300]


class Generators:
    """Running generators. `requests` and `blocks` grow with each `read`."""

    def __init__(self, jobs: list[Job]) -> None:
        self.requests = CollectedRequests(len(jobs[0].sides))
        self.blocks: list[Block] = []
        self.processes = [_Process(job) for job in jobs]

    def wait(self, seconds: float) -> int | None:
        """0 when all have done their work, the exit code of one that failed, or None when they
        still run after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            codes = [each.process.poll() for each in self.processes]
            if failed := next((code for code in codes if code), None):
                return failed
            if all(code == 0 for code in codes):
                return 0
            if (left := deadline - time.monotonic()) <= 0:
                return None
            time.sleep(min(0.02, left))

    def read(self) -> None:
        """Take in what was written since the last call. All workers ran the same blocks: those of
        the first are taken.
        """
        for number, each in enumerate(self.processes):
            self.requests.add(each.requests.read())
            if number == 0:
                self.blocks += [Block(**line) for line in each.blocks.read()]

    def end_pairs(self) -> None:
        """Let them finish the pairs that were begun, and begin no more."""
        for each in self.processes:
            (each.folder / STOP).touch()

    def read_loop_lags(self) -> "array.array[float]":
        """Of all together. Of one that was ended early there are none."""
        lags = array.array("f")
        for each in self.processes:
            if (path := each.folder / LOOP_LAGS).exists():
                lags.frombytes(path.read_bytes())
        return lags

    def close(self) -> None:
        """Terminate them, and kill those that do not end in time. What they have written stays."""
        running = [each.process for each in self.processes if each.process.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def last_error_line(self) -> str:
        failed = next(
            (each for each in self.processes if each.process.returncode), self.processes[0]
        )
        return failed.last_error_line()

    def read_log(self) -> bytes:
        return b"".join((each.folder / LOG).read_bytes() for each in self.processes)
