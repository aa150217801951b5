"""A real object store for the tests: fake-gcs-server, built once into `.cache/bin` of the repository.

Use it by importing the fixtures: `from tests.gcs import bucket, gcs_server`.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

MODULE = "github.com/fsouza/fake-gcs-server"
VERSION = "v1.56.1"
BINARY = Path(__file__).parents[1] / ".cache" / "bin" / f"fake-gcs-server-{VERSION}"
READY_SECONDS = 20


def build() -> Path:
    """The server's binary, built when it is not there yet (about a minute). Skips the test where it cannot be."""
    if BINARY.exists():
        return BINARY
    go = shutil.which("go")
    if go is None:
        pytest.skip(f"go is not installed, so {MODULE} cannot be built")
    BINARY.parent.mkdir(parents=True, exist_ok=True)
    own = BINARY.parent / f"build-{uuid.uuid4().hex}"  # two test runs may build at once
    environment = {**os.environ, "GOBIN": str(own), "CGO_ENABLED": "0"}
    built = subprocess.run([go, "install", f"{MODULE}@{VERSION}"], env=environment, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        shutil.rmtree(own, ignore_errors=True)
        pytest.skip(f"{MODULE} could not be built: {built.stderr.strip().splitlines()[-1]}")
    os.replace(own / "fake-gcs-server", BINARY)
    own.rmdir()
    return BINARY


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[str]:
    """The address of a running server."""
    binary = build()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [binary, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", f"127.0.0.1:{port}", "-backend", "memory", "-log-level", "error"]
    )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            assert process.poll() is None and time.monotonic() < deadline, "fake-gcs-server did not start"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


@pytest.fixture
def bucket(gcs_server: str, monkeypatch: pytest.MonkeyPatch):
    """A bucket of its own, as a google-cloud-storage Bucket; clients made in the test find it by themselves."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    from google.cloud import storage

    return storage.Client().create_bucket(f"test-{uuid.uuid4().hex}")
