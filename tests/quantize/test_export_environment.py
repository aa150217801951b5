"""Where the environment of the OpenVINO export is found, and how it is made. uv is a program that
writes down how it was called; tests/test_installed.py makes a real one.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from greenlight.core.errors import GreenlightError
from greenlight.quantize import export_environment
from greenlight.quantize.export_environment import (
    PACKAGES,
    PINS,
    check_export_python,
    export_python,
    find_export_python,
)

UV = """#!/bin/sh
echo "$PWD $*" >> "$CALLS"
sleep "${SECONDS_TO_TAKE:-0}"
case "$1" in
  venv) for folder; do :; done; mkdir -p "$folder/bin" && ln -s /bin/true "$folder/bin/python" ;;
  pip) [ -z "$UV_FAILS" ] || { echo "no route to the index"; exit 2; } ;;
esac
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache folder without an environment, on a machine without a checkout."""
    uv = tmp_path / "uv"
    uv.write_text(UV)
    uv.chmod(0o755)
    monkeypatch.setattr("uv.find_uv_bin", lambda: str(uv))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "elsewhere/venv"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(export_environment.VARIABLE, raising=False)
    if Path("/opt/openvino-export").exists():
        pytest.skip("this machine has the environment of the steps' image")
    return tmp_path / "cache/greenlight"


def calls(cache: Path) -> list[str]:
    return (cache.parents[1] / "calls").read_text().splitlines()


def test_the_variable_comes_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(export_environment.VARIABLE, sys.executable)
    assert export_python() == Path(sys.executable)
    missing = str(cache / "python")
    monkeypatch.setenv(export_environment.VARIABLE, missing)
    with pytest.raises(GreenlightError, match=f"GREENLIGHT_OPENVINO_PYTHON is {missing}"):
        check_export_python()


def test_that_of_a_checkout_is_found(cache: Path) -> None:
    python = Path(sys.prefix).parent / ".venv-openvino/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    assert export_python() == python


def test_it_is_made_once_from_the_pins(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    check_export_python()
    assert find_export_python() is None, "checking makes nothing"
    with caplog.at_level("INFO"):
        python = export_python()
    assert os.access(python, os.X_OK)
    assert python.parents[2] == cache
    (said, *_) = caplog.messages
    assert said.startswith("making the environment of the OpenVINO export in ")
    make, install = calls(cache)
    assert f"--python {sys.executable}" in make
    assert install.endswith(f"--constraint {PINS} {' '.join(PACKAGES)}")
    assert not install.startswith(f"{Path.cwd()} "), "uv reads settings from the current folder"
    assert export_python() == python
    assert len(calls(cache)) == 2


def test_other_pins_are_another_environment(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = export_python()
    pins = tmp_path / "pins.txt"
    pins.write_text(PINS.read_text() + "six==1.17.0\n")
    monkeypatch.setattr(export_environment, "PINS", pins)
    assert export_python() != first


def test_a_failure_says_what_uv_said_and_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_FAILS", "1")
    with pytest.raises(GreenlightError, match="could not be made: no route to the index"):
        export_python()
    assert find_export_python() is None
    monkeypatch.delenv("UV_FAILS")
    assert os.access(export_python(), os.X_OK)


def test_without_uv_the_extra_is_named(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "uv").rename(tmp_path / "no-uv")
    with pytest.raises(GreenlightError, match=r"which uv makes.*\[local\]"):
        check_export_python()


MAKE = """
import sys, uv
uv.find_uv_bin = lambda: sys.argv[1]
sys.prefix = sys.argv[2]
from greenlight.quantize.export_environment import export_python
print(export_python())
"""


def start(cache: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAKE, str(cache.parents[1] / "uv"), sys.prefix]
    environment = os.environ | {"SECONDS_TO_TAKE": str(seconds)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_two_at_once_make_one(cache: Path) -> None:
    pythons = [process.communicate()[0] for process in (start(cache, 1), start(cache, 1))]
    assert pythons[0] == pythons[1]
    assert len(calls(cache)) == 2


def test_killed_half_way_it_is_made_again(cache: Path) -> None:
    process = start(cache, 2)
    deadline = time.monotonic() + 30
    while not (cache.parents[1] / "calls").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert find_export_python() is None
    python = export_python()  # waits for the uv that was left behind, then makes it whole
    assert os.access(python, os.X_OK)
    assert len(calls(cache)) == 3
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [python.parents[1].name]
