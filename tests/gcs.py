"""A real object store for the tests: fake-gcs-server, built once per machine by
tests/cluster/build.sh.

Use it by importing the fixtures: `from tests.gcs import bucket, gcs_server`.
"""

import contextlib
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

BUILD = Path(__file__).parent / "cluster/build.sh"
CANNOT = 3  # how build.sh ends where something is missing that it cannot make
READY_SECONDS = 20


def build() -> Path:
    """The server's binary, built when it is not there yet (about a minute). Skips the test where it
    cannot be.
    """
    built = subprocess.run([BUILD, "fake-gcs-server"], capture_output=True, text=True, check=False)
    if built.returncode == CANNOT:
        pytest.skip(f"fake-gcs-server cannot be built: {built.stderr.strip().splitlines()[-1]}")
    assert built.returncode == 0, built.stderr
    return Path(built.stdout.strip()) / "fake-gcs-server"


@contextlib.contextmanager
def running_server(host: str) -> Iterator[str]:
    """A server that listens on one address of this machine, at a free port. Gives its URL."""
    binary = build()
    with socket.socket() as probe:
        probe.bind((host, 0))
        address = f"{host}:{probe.getsockname()[1]}"
    port = address.rpartition(":")[2]
    process = subprocess.Popen(
        [
            binary,
            "-scheme",
            "http",
            "-host",
            host,
            "-port",
            port,
            "-public-host",
            address,
            "-backend",
            "memory",
            "-log-level",
            "error",
        ]
    )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            assert process.poll() is None and time.monotonic() < deadline, (
                "fake-gcs-server did not start"
            )
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://{address}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[str]:
    """The address of a running server."""
    with running_server("127.0.0.1") as address:
        yield address


@pytest.fixture
def bucket(gcs_server: str, monkeypatch: pytest.MonkeyPatch):
    """A bucket of its own, as a google-cloud-storage Bucket; clients made in the test find it by
    themselves.
    """
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    from google.cloud import storage as google

    from greenlight.core import storage

    storage._client.cache_clear()  # of an earlier test's server
    yield google.Client().create_bucket(f"test-{uuid.uuid4().hex}")
    storage._client.cache_clear()
