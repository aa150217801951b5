import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from greenlight.core.child_process import ChildFailedError, run_python

PYTHON = Path(sys.executable)


def test_output_is_kept_away_and_memory_is_measured(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    peak = run_python(
        PYTHON,
        "print('noise', *sys.argv[1:]); x = bytearray(300_000_000)",
        ["a b"],
        tmp_path,
        "test",
    )
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "output.log").read_text() == "noise a b\n"
    assert 300_000_000 < peak < 2_000_000_000


def test_failure_shows_the_end_of_the_output(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(
            ChildFailedError, match="the library failed with exit code 1: ValueError: too small"
        ),
    ):
        run_python(
            PYTHON, "print('first'); raise ValueError('too small')", [], tmp_path, "the library"
        )
    assert "first" in caplog.text


def test_killed_child_is_said_to_be_out_of_memory(tmp_path: Path) -> None:
    with pytest.raises(ChildFailedError, match=r"signal 9.*more memory"):
        run_python(PYTHON, "os.kill(os.getpid(), signal.SIGKILL)", [], tmp_path, "the library")


def test_progress_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenlight.core.child_process.PROGRESS_SECONDS", 0.2)
    with caplog.at_level(logging.INFO):
        run_python(PYTHON, "import time; time.sleep(0.7)", [], tmp_path, "the library")
    assert caplog.text.count("the library is working") >= 2


def test_progress_is_that_of_the_library(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenlight.core.child_process.PROGRESS_SECONDS", 0.2)
    code = (
        "import time; print('\\rLoading weights:  40%|####      | 12/30 [00:03<00:04,  4.00it/s]',"
        " end='', flush=True); time.sleep(0.7)"
    )
    with caplog.at_level(logging.INFO):
        run_python(PYTHON, code, [], tmp_path, "the library")
    assert "the library: loading weights, 12 of 30" in caplog.text


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_child_dies_with_its_parent(tmp_path: Path, end: signal.Signals) -> None:
    marker = tmp_path / "pid"
    child = f"import time; open({str(marker)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    arguments = f"Path({sys.executable!r}), {child!r}, [], Path({str(tmp_path)!r}), 'x'"
    parent = (
        "from pathlib import Path; from greenlight.core.child_process import run_python;"
        f" run_python({arguments})"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    deadline = time.monotonic() + 60
    while not (marker.is_file() and marker.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pid = int(marker.read_text())
    os.kill(process.pid, end)
    process.wait()
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
