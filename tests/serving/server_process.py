"""A real `python -m greenlight.serving` and what tests ask of it."""

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TINY = ROOT / "greenlight/models/builtin/tiny"

LONG = {
    "prompt": "The import statement",
    "max_length": 900,
    "temperature": 0,
    "ignore_eos": True,
    "stream": True,
}


class Answer:
    """A whole answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of a stream, which must end with [DONE]."""
        *events, done, rest = self.body.decode().split("\n\n")
        assert done == "data: [DONE]" and rest == "", self.body
        return [json.loads(event.removeprefix("data: ")) for event in events]

    @property
    def text(self) -> str:
        return "".join(event["text"] for event in self.events)


class Server:
    """A running `python -m greenlight.serving`."""

    def __init__(self, python: str | Path = sys.executable, /, **settings: object) -> None:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("MODEL_ID", "PORT", "ENGINE")
        }
        environment |= {
            "PORT": "0",
            "NUM_THREADS": "1",
            **{name.upper(): str(value) for name, value in settings.items()},
        }
        self.log_lines: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [python, "-m", "greenlight.serving"],
            env=environment,
            cwd=ROOT,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = self.wait_for_log("listening")["port"]

    def wait_for_log(self, event: str) -> dict[str, Any]:
        assert self.process.stderr
        for line in self.process.stderr:
            self.log_lines.append(json.loads(line))
            if self.log_lines[-1]["event"] == event:
                return self.log_lines[-1]
        raise AssertionError(f"no event {event}: {self.log_lines}")

    def wait_ready(self) -> "Server":
        """Wait until the server is ready, which it may have been for long."""
        if not any(line["event"] == "ready" for line in self.log_lines):
            self.wait_for_log("ready")
        return self

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def open(
        self,
        body: Any,
        path: str = "/generate",
        connection: http.client.HTTPConnection | None = None,
    ) -> http.client.HTTPResponse:
        """Send a request and read no more than the head of the answer."""
        connection = connection or self.connect()
        connection.request(
            "POST", path, body if isinstance(body, bytes | str) else json.dumps(body)
        )
        return connection.getresponse()

    def post(self, body: Any, path: str = "/generate") -> Answer:
        return Answer(self.open(body, path))

    def get(self, path: str) -> Answer:
        connection = self.connect()
        connection.request("GET", path)
        return Answer(connection.getresponse())

    def metric(self, name: str, **labels: str) -> float:
        """The value of a series, 0 when it has not been counted yet."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        for line in self.get("/metrics").body.decode().splitlines():
            if re.match(rf"{name}[ {{]", line) and all(label in line for label in wanted):
                return float(line.split()[-1])
        return 0.0

    @property
    def engine_pid(self) -> int:
        children = (
            Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        )
        assert len(children) == 1
        return int(children[0])

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 20) -> int:
        return self.process.wait(seconds)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def eventually(condition: Callable[[], bool], seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return met


def alive(pid: int) -> bool:
    """Whether a process runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
