"""Real server processes on both engines, shared by the tests of a session."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.serving import model
from tests.serving.server_process import TINY, Server


@pytest.fixture(scope="session")
def openvino_model() -> Path:
    """The built-in model as OpenVINO int8, the same that the benchmarks serve."""
    if not model.EXPORTER.is_file():
        pytest.skip(
            "no .venv-openvino: the OpenVINO export environment is not installed (`make install`)"
        )
    return model.openvino_model()


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
        starting["openvino"] = Server(
            model_id=request.getfixturevalue("openvino_model"),
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
