"""Stub servers as processes of their own."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

STUB = Path(__file__).parent / "stub_server.py"
PROMPTS = [f"prompt {number}" for number in range(7)]


@dataclass
class Stub:
    process: subprocess.Popen[str]
    url: str
    log: Path

    def requests(self, count: int) -> list[dict[str, Any]]:
        """What the server did, request by request, once it has logged `count` of them."""
        deadline = time.monotonic() + 60
        while True:
            lines = self.log.read_text().splitlines() if self.log.exists() else []
            if len(lines) >= count or time.monotonic() > deadline:
                return [json.loads(line) for line in lines]
            time.sleep(0.01)

    def version(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/version", timeout=10) as response:
            return json.load(response)


StartStub = Callable[..., Stub]


@pytest.fixture
def start_stub(tmp_path: Path) -> Iterator[StartStub]:
    stubs: list[Stub] = []

    def start(**options: object) -> Stub:
        log = tmp_path / f"stub-{len(stubs)}.log"
        arguments = [
            part
            for name, value in options.items()
            for part in (f"--{name.replace('_', '-')}", *([] if value is True else [str(value)]))
        ]
        process = subprocess.Popen(
            [sys.executable, str(STUB), "--log", str(log), *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        stubs.append(Stub(process, f"http://127.0.0.1:{int(process.stdout.readline())}", log))
        return stubs[-1]

    yield start
    for stub in stubs:
        stub.process.kill()
        stub.process.wait()
        assert stub.process.stdout
        stub.process.stdout.close()


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
    return str(path)
