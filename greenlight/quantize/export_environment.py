"""The Python environment of the OpenVINO export, which cannot share one with transformers 5.17.

`make install` makes it in a checkout and Dockerfile.components in the image. Elsewhere uv makes it
when it is first needed, in the user's cache folder.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from greenlight.core.errors import GreenlightError
from greenlight.core.extras import how_to_install
from greenlight.core.files import hold_lock, user_cache

log = logging.getLogger("greenlight.quantize")

VARIABLE = "GREENLIGHT_OPENVINO_PYTHON"
"""Names the interpreter of an environment that has optimum-intel."""
PINS = Path(__file__).parents[1] / "pins" / "openvino-export.txt"
PACKAGES = (
    "nncf",
    "openvino",
    "openvino-tokenizers",
    "optimum-intel",
    "torch",
    "transformers",
    # What our own modules import there.
    "jinja2",
    "pydantic",
    "pyyaml",
)


def export_python() -> Path:
    """The interpreter of the export environment, which is made when there is none.

    Raises:
        GreenlightError: it cannot be made, or the one that the variable names is not there.
    """
    return find_export_python() or _make(_cached())


def check_export_python() -> None:
    """Check that there is an export environment, or that one can be made. Takes milliseconds.

    Raises:
        GreenlightError: neither; says what to do.
    """
    if find_export_python() is None:
        _find_uv()


def find_export_python() -> Path | None:
    """The interpreter of the export environment; None where it has to be made.

    Raises:
        GreenlightError: the one that the variable names is not there.
    """
    if given := os.environ.get(VARIABLE):
        if not os.access(given, os.X_OK):
            raise GreenlightError(
                f"{VARIABLE} is {given}, which is no program. Set it to the interpreter of an"
                " environment that has optimum-intel, or unset it: one is then found or made."
            )
        return Path(given)
    places = (
        Path(sys.prefix).parent / ".venv-openvino",
        Path("/opt/openvino-export"),
        _cached(),
    )
    pythons = (place / "bin" / "python" for place in places)
    return next((python for python in pythons if os.access(python, os.X_OK)), None)


def _cached() -> Path:
    """Where it is made: a folder for these versions on this version of Python."""
    content = f"{sys.version_info[:2]} {PACKAGES} {PINS.read_text()}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return user_cache() / f"openvino-export-{digest}"


def _make(folder: Path) -> Path:
    """Make the environment beside its place and move it there, so that what is there is whole."""
    uv = _find_uv()
    python, partial = folder / "bin" / "python", folder.with_suffix(".partial")
    with hold_lock(folder.with_suffix(".lock"), _say_waiting) as lock:
        if os.access(python, os.X_OK):  # another run made it meanwhile
            return python
        log.info(
            "making the environment of the OpenVINO export in %s, once: it takes a minute, or as"
            " long as downloading torch takes",
            folder,
        )
        started = time.monotonic()
        for leftover in (partial, folder):  # of a run that was killed, or of a Python that is gone
            shutil.rmtree(leftover, ignore_errors=True)
        _run(lock, uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(partial))
        target = ("--python", str(partial / "bin" / "python"))
        _run(lock, uv, "pip", "install", "--quiet", *target, "--constraint", str(PINS), *PACKAGES)
        partial.rename(folder)
        log.info(
            "made the environment of the OpenVINO export",
            extra={"figure": f"{time.monotonic() - started:.0f} s"},
        )
    return python


def _say_waiting() -> None:
    log.info("waiting for another run, which makes the environment of the OpenVINO export")


def _run(lock: int, *command: str) -> None:
    # uv inherits the lock: when this process is killed, nobody else begins before uv has ended.
    # Not in the current folder, whose pyproject.toml may hold settings of uv.
    done = subprocess.run(
        command,
        pass_fds=[lock],
        cwd=PINS.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise GreenlightError(
            f"the environment of the OpenVINO export could not be made: {done.stdout.strip()}."
            f" Mend that, or set {VARIABLE} to the interpreter of an environment that has"
            " optimum-intel."
        )


def _find_uv() -> str:
    """The program uv: of this environment, or on the PATH."""
    with contextlib.suppress(ImportError, FileNotFoundError):
        from uv import find_uv_bin

        return str(find_uv_bin())
    if program := shutil.which("uv"):
        return program
    raise GreenlightError(
        "Methods of OpenVINO need optimum-intel in an environment of its own, which uv makes; there"
        f" is neither. {how_to_install('local')}"
    )
