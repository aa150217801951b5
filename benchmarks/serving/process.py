"""The processes under test: started once, stopped (as by SIGSTOP) while another is measured, and
killed at the end.
"""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from greenlight.core.errors import GreenlightError

POLL_SECONDS = 0.005


class MeasuredProcess:
    """A process and its children. `log` has what it wrote to stderr."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, talk: bool = False
    ) -> None:
        """With `talk`, stdin and stdout are pipes; else stdout goes to the log too."""
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self.started = time.monotonic()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                env=os.environ | environment,
                stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talk else output,
                stderr=output,
                text=True,
                start_new_session=True,
            )

    def pause(self) -> None:
        """Have it use no CPU at all: some servers poll while they have nothing to do."""
        for process in self.processes():
            process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        for process in self.processes():
            process.send_signal(signal.SIGCONT)

    def processes(self) -> list[psutil.Process]:
        """The process itself first. Raises GreenlightError when it has ended."""
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            raise self.failure("is gone") from None

    def cpu_seconds(self) -> tuple[float, float]:
        """CPU used so far by the process itself, and by its children."""
        seconds = [
            times.user + times.system
            for times in (process.cpu_times() for process in self.processes())
        ]
        return seconds[0], sum(seconds[1:])

    def resident_bytes(self) -> int:
        return sum(process.memory_info().rss for process in self.processes())

    def failure(self, what: str) -> GreenlightError:
        code = self.process.poll()
        ended = "" if code is None else f", ended with exit code {code}"
        return GreenlightError(
            f"{self.log.stem} {what}{ended}. Its log ({self.log})"
            f" ends:\n{self.log.read_text()[-3000:]}"
        )

    def stop(self) -> None:
        if self.process.poll() is None:
            for process in reversed(self.processes()):
                process.kill()
        self.process.wait()


class ServerProcess(MeasuredProcess):
    """A server on a free loopback port.

    Attributes:
        ready_seconds: from the start of the process to the first 200 on its route for that.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """`{port}` in the command and in the values of the environment becomes the port."""
        self.port = _free_port()
        self.ready_seconds = 0.0
        super().__init__(
            [word.format(port=self.port) for word in command],
            {name: value.format(port=self.port) for name, value in environment.items()},
            log,
        )

    def wait_ready(self, path: str, seconds: float) -> "ServerProcess":
        """Raises GreenlightError with the end of its log when the server does not become ready."""
        while time.monotonic() < self.started + seconds and self.process.poll() is None:
            if self._status(path) == 200:
                self.ready_seconds = time.monotonic() - self.started
                return self
            time.sleep(POLL_SECONDS)
        raise self.failure(f"was not ready after {time.monotonic() - self.started:.0f} s")

    def _status(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
