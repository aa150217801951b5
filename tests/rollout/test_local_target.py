"""Processes and ports of the local target, and what a command that only checks its input pays
for.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from greenlight.benchmark.plan import Side
from greenlight.benchmark.versions import read_versions
from greenlight.core.errors import InputError
from greenlight.rollout import lifecycle
from greenlight.rollout.local.ports import SERVING_PORTS, free_port
from greenlight.rollout.local.processes import Processes, _ended
from greenlight.rollout.local.target import LocalTarget
from greenlight.rollout.targets import open_target
from tests.rollout.stage import ROOT, TIMINGS, Load, Stage
from tests.rollout.stage import free_port as endpoint_port

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True);"
    " time.sleep(60)"
)
PARENT = (
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-S', '-c', 'import time;"
    " time.sleep(60)']); print('up', flush=True); time.sleep(60)"
)


@pytest.fixture
def processes(tmp_path: Path):
    made = Processes(tmp_path, TIMINGS)
    yield made
    for process, _ in made._marked():
        process.kill()


def start(processes: Processes, group: str, code: str):
    instance = processes.start(
        group, f"{group}-0", (sys.executable, "-S", "-c", code), free_port([]), {}
    )
    while "up" not in processes.log_path(f"{group}-0").read_text():
        time.sleep(0.01)
    return instance


def test_a_process_is_found_by_its_mark_by_whoever_looks(
    processes: Processes, tmp_path: Path
) -> None:
    instance = start(processes, "blue", PARENT)
    elsewhere = Processes(tmp_path, TIMINGS)
    assert [running.instance for running in elsewhere.find()] == [instance], (
        "its child is not an instance"
    )
    assert elsewhere.find("green") == [] and Processes(tmp_path / "other", TIMINGS).find() == []
    assert not elsewhere.has_ended(instance)


def test_the_end_of_a_process_is_the_end_of_its_children(processes: Processes) -> None:
    instance = start(processes, "blue", PARENT)
    child = psutil.Process(instance.pid).children()[0]
    processes.end("blue")
    assert processes.has_ended(instance) and _ended(child)
    processes.end("blue")


def test_a_child_whose_server_was_killed_is_ended_too(processes: Processes) -> None:
    instance = start(processes, "blue", PARENT)
    child = psutil.Process(instance.pid).children()[0]
    os.kill(instance.pid, signal.SIGKILL)
    processes.end("blue")
    assert _ended(child)


def test_a_process_that_does_not_listen_is_killed_in_the_end(tmp_path: Path) -> None:
    from greenlight.rollout.local import processes as module

    quick = Processes(tmp_path, type(TIMINGS)(drain=0.5, poll=0.05))
    instance = start(quick, "blue", STUBBORN)
    began = time.monotonic()
    quick.end("blue")
    assert (
        quick.has_ended(instance)
        and 0.5 <= time.monotonic() - began < 0.5 + module.KILL_MARGIN_S + 2
    )


def test_sigterm_is_sent_once_however_often_the_end_is_asked_for(processes: Processes) -> None:
    """A server takes the second one for haste, and cuts its streams."""
    count = (
        "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: print('term',"
        " flush=True))\nprint('up', flush=True)\nwhile True: time.sleep(0.1)"
    )
    start(processes, "blue", count)
    for _ in range(3):
        processes._send_sigterm(processes.find("blue")[0])
        time.sleep(0.2)
    assert processes.log_path("blue-0").read_text().count("term") == 1


def test_the_token_of_the_hub_does_not_reach_a_server(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    instance = start(processes, "blue", STUBBORN)
    assert "HF_TOKEN" not in psutil.Process(instance.pid).environ()


def test_streams_in_flight_outlive_the_runner_and_a_stop(stage: Stage) -> None:
    deployment = stage.deploy()
    with Load(stage, "keepalive", connections=2, tokens=100) as load:
        load.stop_file.touch()  # the streams that are in flight are the last
        stage.target.commit(stage.target.read().having(live="green"))
        began = time.monotonic()
        stage.target.stop("blue")
        assert time.monotonic() - began > 0.5
        result = load.stop()
    assert (result["cut"], result["failed"], result["whole"]) == (0, 0, 2)
    assert stage.target.processes.has_ended(deployment.live.instances[0])


def test_down_lets_streams_finish(stage: Stage) -> None:
    stage.deploy()
    with Load(stage, "keepalive", connections=2, tokens=100) as load:
        load.stop_file.touch()
        lifecycle.down(stage.target)
        result = load.stop()
    assert (result["cut"], result["failed"], result["whole"]) == (0, 0, 2)


def test_serving_ports_are_not_those_of_outgoing_connections() -> None:
    port = free_port([])
    assert port in SERVING_PORTS and SERVING_PORTS.stop <= 32_768
    with socket.create_server(("127.0.0.1", 0)):
        assert free_port([port]) != port


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_no_port(tmp_path: Path, port: int) -> None:
    with pytest.raises(InputError, match=f"port: {port}: use a number from 1 to 65535"):
        LocalTarget("llm", "default", str(tmp_path), port).check()


def test_the_endpoint_does_not_move_while_it_is_open(tmp_path: Path) -> None:
    target = LocalTarget("llm", "default", str(tmp_path), endpoint_port(), TIMINGS)
    target.open_endpoint()
    try:
        target.check()
        LocalTarget("llm", "default", str(tmp_path), 0, TIMINGS).check()
        with pytest.raises(
            InputError, match=f"is open on {target.port}; use that, or `greenlight down` first"
        ):
            LocalTarget("llm", "default", str(tmp_path), target.port + 1, TIMINGS).check()
        with pytest.raises(InputError, match="something else listens there"):
            LocalTarget("other", "default", str(tmp_path), target.port, TIMINGS).check()
    finally:
        target.close_endpoint()
    LocalTarget("llm", "default", str(tmp_path), target.port + 1, TIMINGS).check()


def test_an_unknown_target() -> None:
    with pytest.raises(InputError, match="target: 'nomad': use one of: local"):
        open_target("nomad", "llm", "default", ".", 8080)


@pytest.mark.alone
def test_a_check_is_cheap(tmp_path: Path) -> None:
    """Validation runs in every command: none of the heavy libraries, a fraction of a second."""
    code = f"""
import sys, time
from greenlight.rollout.targets import open_target

target = open_target("local", "llm", "default", {str(tmp_path)!r}, {endpoint_port()})
target.check()
assert target.live() is None
heavy = {{"psutil", "requests", "httpx", "aiohttp", "numpy", "kfp", "torch"}} & set(sys.modules)
assert not heavy, heavy
"""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    assert time.monotonic() - began < 2


def test_a_proxy_of_the_environment_does_not_stand_in_between(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    promotion = stage.promoted()
    assert promotion.outcome == "promoted" and promotion.errors == 0
    url = stage.target.endpoint
    (version,) = read_versions([Side(role="live", color="green", endpoints=(url,))]).values()
    assert isinstance(version, dict) and version["release_id"] == promotion.live.release_id
