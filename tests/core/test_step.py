"""The frame of a step: what it prints, what it leaves, and when it ends."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def start(history: Path, work: str) -> subprocess.Popen[str]:
    code = (
        f"from greenlight.core.step import step\nwith step('gate', 'r1', {str(history)!r}) as"
        " running:\n" + textwrap.indent(work, "    ")
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_a_finished_step_leaves_its_record_twice(tmp_path: Path) -> None:
    work = (
        "from greenlight.core.records import Resolution\n"
        "record = Resolution(verdict='new', reason='', source='s', commit='c', fingerprint='f')\n"
        f"running.finish(record, {str(tmp_path / 'artifact')!r}, figure='7 MB')"
    )
    process = start(tmp_path / "history", work)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    events = [json.loads(line) for line in stdout.splitlines()]
    assert [event["event"] for event in events] == ["started", "finished"]
    assert events[-1]["figure"] == "7 MB"
    assert (tmp_path / "artifact" / "record.json").read_text().strip() == (
        tmp_path / "history" / "r1" / "gate.json"
    ).read_text().strip()
    assert json.loads((tmp_path / "history" / "r1" / "gate.event.json").read_text()) == events[-1]


def test_an_expected_error_is_one_line_and_stays_in_the_history(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        "from greenlight.core.errors import InputError\nraise InputError('bits', 3, 'use 4 or 8')",
    )
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 2
    assert stderr == ""
    assert json.loads(stdout.splitlines()[-1])["message"] == "bits: 3: use 4 or 8"
    assert json.loads((tmp_path / "r1" / "gate.error.json").read_text())["error"] == "InputError"


def test_an_unexpected_error_prints_its_traceback(tmp_path: Path) -> None:
    process = start(tmp_path, "raise KeyError('x')")
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Traceback" in stderr


def test_a_step_ends_with_the_runner_that_reads_it(tmp_path: Path) -> None:
    """A runner that was killed must not leave a step working on."""
    process = start(tmp_path, "import time\ntime.sleep(60)")
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    try:
        assert process.wait(timeout=10) == 1
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)


def test_a_step_whose_output_is_read_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path, "import time\ntime.sleep(1)")
    time.sleep(0.5)
    process.communicate(timeout=10)
    assert process.returncode == 0


def test_an_error_of_an_earlier_attempt_is_forgotten(tmp_path: Path) -> None:
    start(tmp_path, "raise KeyError('x')").communicate(timeout=30)
    assert (tmp_path / "r1" / "gate.error.json").exists()
    start(tmp_path, "pass").communicate(timeout=30)
    assert not (tmp_path / "r1" / "gate.error.json").exists()


def test_a_step_that_takes_too_long_ends_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENLIGHT_STEP_SECONDS", "0.5")
    process = start(tmp_path, "import time\ntime.sleep(60)")
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert json.loads(stdout.splitlines()[-1])["message"].startswith("took longer than 0.5 s")
    assert json.loads((tmp_path / "r1" / "gate.error.json").read_text())["error"] == "Timeout"
