"""The load generator by hand: Locust's web UI, or headless."""

import os
import socket
import subprocess
import sys
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from greenlight.benchmark.generator import LOCUSTFILE
from tests.benchmark.conftest import StartStub

QUICK: dict[str, Any] = {
    "pairs": 12,
    "concurrency": 4,
    "throughput_blocks": 2,
    "block_seconds": 0.3,
    "settle_seconds": 0.1,
    "max_tokens": 10,
    "block_tokens": 14,
    "timeout": 10,
}


def test_web_ui_by_hand(start_stub: StartStub, prompts: str) -> None:
    """The same file, driven in Locust's web UI: pairs until it is stopped, shown in Locust's
    statistics, and started again.
    """
    one, two, three = start_stub(), start_stub(), start_stub()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(LOCUSTFILE),
        "--web-host",
        "127.0.0.1",
        "--web-port",
        str(port),
        "--endpoint-a",
        one.url,
    ]
    environment = os.environ | {
        "GREENLIGHT_ENDPOINT_B": two.url,
        "GREENLIGHT_PROMPTS": prompts,
        "GREENLIGHT_MAX_LENGTH": "5",
    }
    locust = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    page = requests.Session()
    page.mount(
        "http://", HTTPAdapter(max_retries=Retry(connect=60, backoff_factor=0.2, backoff_max=1))
    )
    try:
        for endpoint_a, stub in ((one.url, one), (three.url, three)):
            swarm = {"user_count": 2, "spawn_rate": 2, "endpoint_a": endpoint_a}
            assert page.post(f"http://127.0.0.1:{port}/swarm", data=swarm, timeout=30).json()[
                "success"
            ]
            assert len(stub.requests(10)) >= 10
            statistics = page.get(f"http://127.0.0.1:{port}/stats/requests", timeout=30).json()[
                "stats"
            ]
            names = {(entry["method"], entry["name"]) for entry in statistics}
            assert names >= {
                (role, name) for role in ("candidate", "live") for name in ("TTFT", "ITL", "E2E")
            }
            page.get(f"http://127.0.0.1:{port}/stop", timeout=30)
        assert len(two.requests(18)) >= 18
    finally:
        page.close()
        locust.terminate()
        locust.wait()


def test_by_hand_refuses_bad_prompts_at_once() -> None:
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(LOCUSTFILE),
        "--headless",
        "--prompts",
        "/nothing.jsonl",
    ]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "there is no such file" in ended.stderr
