"""The load generator as a process of its own: Locust, headless, told by a job file what to do, followed through the files it writes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field

import components
from components.benchmark.samples import BLOCK_LINES, REQUEST_LINES, Block, LineFile, Request
from components.benchmark.workload import Plan, Side

LOCUSTFILE = Path(__file__).parent / "locustfile.py"
LOG = "locust.log"
GRACE_SECONDS = 10


class Job(BaseModel):
    """All that the generator is told."""

    plan: Plan
    sides: list[Side]
    prompts: list[str]
    folder: Path = Field(description="Where it leaves requests.jsonl and blocks.jsonl.")
    parent: int = Field(description="Pid of the step; the generator ends when it is gone.")

    @classmethod
    def load(cls, path: str) -> Self:
        return cls.model_validate_json(Path(path).read_bytes())


class Generator:
    """A running generator. `requests` and `blocks` grow with each `read`."""

    def __init__(self, job: Job) -> None:
        self.folder = job.folder
        self.requests: list[Request] = []
        self.blocks: list[Block] = []
        self._request_lines, self._block_lines = LineFile(job.folder / REQUEST_LINES), LineFile(job.folder / BLOCK_LINES)
        path = job.folder / "job.json"
        path.write_text(job.model_dump_json())
        users = str(max(job.plan.users, job.plan.concurrency))
        command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary", "--loglevel", "WARNING"]
        command += ["--users", users, "--spawn-rate", users, "--job", str(path)]
        # Locust puts the folder of its file on the path, not the root that our packages are imported from.
        root = str(Path(components.__file__).parent.parent)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
        with open(job.folder / LOG, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment)

    def wait(self, seconds: float) -> int | None:
        """Exit code, or None when it still runs after `seconds`."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def read(self) -> None:
        """Take in what was written since the last call."""
        self.requests += [Request(**line) for line in self._request_lines.read()]
        self.blocks += [Block(**line) for line in self._block_lines.read()]

    def close(self) -> None:
        """End it, by force if it does not hear. What it has written stays."""
        if self.process.poll() is None:
            self.process.terminate()
            if self.wait(GRACE_SECONDS) is None:
                self.process.kill()
                self.process.wait()

    def last_words(self) -> str:
        """The last line of its log that names an error, or else the last line."""
        lines = [line.strip() for line in (self.folder / LOG).read_text(errors="replace").splitlines() if line.strip()]
        return next((line for line in reversed(lines) if "rror" in line), lines[-1] if lines else "it wrote nothing")[:300]
