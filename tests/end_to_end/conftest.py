"""A greenlight command on a home of its own, and everything it started ended afterwards."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from greenlight.core.history import RunRecords, load_run, runs
from greenlight.rollout.state import ServiceStatus

# Fewer pairs than the gate `quick`, and no limit on latency: these tests are about the procedure,
# not about the numbers.
SMALL_GATE = """
name: small
confidence: 0.95
objectives:
  - {metric: kl_mean, scope: absolute, max: 0.5}
benchmark: {pairs: 10, throughput_blocks: 1, block_seconds: 0.3, max_tokens: 8, block_tokens: 8}
bake: {seconds: 1, max_errors: 0}
"""


@dataclass
class Home:
    """One home folder, one port, one service."""

    folder: Path
    port: int

    def popen(self, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "greenlight.cli.main", *args, "--home", str(self.folder)]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def __call__(self, *args: str) -> tuple[int, str]:
        """Run a command to its end; returns its exit code and what it printed."""
        process = self.popen(*args)
        output, _ = process.communicate(timeout=400)
        return process.returncode, output

    def run(self, *args: str) -> tuple[int, str]:
        """As `make run` does: of an option that is given twice, the last counts."""
        return self("run", "--port", str(self.port), "--gate", "quick", *args)

    def kill_when(self, sign: str, *args: str) -> None:
        """Start a run, and kill -9 the runner as soon as its log holds `sign`."""
        before = set(self.logs())
        process = self.popen("run", "--port", str(self.port), *args)
        deadline = time.monotonic() + 300
        while not any(sign in log.read_text() for log in set(self.logs()) - before):
            assert process.poll() is None, (
                f"the run ended before {sign!r}:\n{process.communicate()[0]}"
            )
            assert time.monotonic() < deadline, f"no {sign!r} in the log"
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()

    def logs(self) -> list[Path]:
        return list((self.folder / "logs").glob("*.log"))

    def status(self) -> ServiceStatus:
        code, output = self("status", "--json")
        assert code == 0, output
        return ServiceStatus.model_validate(json.loads(output))

    def newest(self) -> RunRecords:
        history = str(self.folder / "history")
        return load_run(history, runs(history)[0])


def make_home(folder: Path) -> Iterator[Home]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    home = Home(folder, port)
    yield home
    code, output = home("down")
    assert code == 0, output


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Shared by the tests of a module, which run in order."""
    yield from make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def fresh_home(tmp_path: Path) -> Iterator[Home]:
    yield from make_home(tmp_path / "home")


@pytest.fixture(scope="session")
def small_gate(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("gate") / "small.yaml"
    path.write_text(SMALL_GATE)
    return str(path)
