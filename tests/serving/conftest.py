"""Real server processes on both engines, shared by the tests of a session."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving.server_process import ROOT, TINY, Server

EXPORTER = ROOT / ".venv-openvino/bin/optimum-cli"


@pytest.fixture(scope="session")
def openvino_model() -> Path:
    """The built-in model as OpenVINO int8. The export takes 25 s and is kept in .cache, by the
    digest of its source.
    """
    if not EXPORTER.is_file():
        pytest.skip(
            "no .venv-openvino: the OpenVINO export environment is not installed (`make install`)"
        )
    digest = hashlib.sha256(
        b"".join(path.read_bytes() for path in sorted(TINY.iterdir()) if path.is_file())
    ).hexdigest()[:16]
    folder = ROOT / f".cache/serving-tests/openvino-int8-{digest}"
    if not folder.is_dir():
        partial = folder.with_name(f".{folder.name}.{os.getpid()}")
        command = [
            str(EXPORTER),
            "export",
            "openvino",
            "--model",
            str(TINY),
            "--task",
            "text-generation-with-past",
            "--weight-format",
            "int8",
            str(partial),
        ]
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )
        try:
            partial.rename(folder)
        except OSError:  # another session was faster
            shutil.rmtree(partial)
    return folder


@pytest.fixture(scope="session")
def starting() -> Iterator[dict[str, Server]]:
    """The transformers server takes seconds to import; start it before anybody waits for it."""
    servers = {
        "transformers": Server(
            model_id=TINY,
            release_id="test-release",
            model_digest="sha256:given",
            default_temperature=0,
            log_level="debug",
        )
    }
    yield servers
    for server in servers.values():
        server.stop()


@pytest.fixture(scope="session", params=["openvino", "transformers"])
def server(request: pytest.FixtureRequest, starting: dict[str, Server]) -> Server:
    """A shared server on each engine, with room for 64 requests. Tests must leave it as they found
    it.
    """
    if request.param == "openvino" and "openvino" not in starting:
        model = request.getfixturevalue("openvino_model")
        starting["openvino"] = Server(
            model_id=model,
            release_id="test-release",
            model_digest="sha256:given",
            default_temperature=0,
            log_level="debug",
        )
    running = starting[request.param]
    if not any(line["event"] == "ready" for line in running.log_lines):
        running.wait_ready()
    return running


@pytest.fixture
def start(openvino_model: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers of a test's own on the OpenVINO engine, which are ready in a second."""
    servers: list[Server] = []

    def start_server(**settings: object) -> Server:
        servers.append(Server(**{"model_id": openvino_model, "default_temperature": 0, **settings}))
        return servers[-1].wait_ready()

    yield start_server
    for running in servers:
        running.stop()


@pytest.fixture(scope="module")
def narrow(openvino_model: Path) -> Iterator[Server]:
    """A server with one place and a queue of one."""
    running = Server(
        model_id=openvino_model, default_temperature=0, max_running=1, max_queue=1
    ).wait_ready()
    yield running
    running.stop()
