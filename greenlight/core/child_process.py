"""A process of its own for each quantization: what it prints is kept apart, its memory is its own,
and it dies with the step.
"""

import logging
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

from greenlight.core.child_progress import ESCAPES, progress_in
from greenlight.core.errors import GreenlightError
from greenlight.core.waiting import PROGRESS_SECONDS, wait_for

log = logging.getLogger("greenlight.quantize")

PACKAGE_ROOT = Path(__file__).parents[2]
TAIL_LINES = 40

PEAK_FILE = "peak"
"""In the scratch folder: the peak memory of the last process in bytes."""

# Runs first in the child. PR_SET_PDEATHSIG (1): the kernel kills it when its parent dies, however
# that dies. The parent may have died before the call.
# It tells its peak memory itself, and that of processes of its own: what wait4 says of it counts
# what the parent held when it started it.
DIE_WITH_PARENT = f"""
import atexit, ctypes, os, resource, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv.pop(1)):
    sys.exit("the step that started this is gone")
def tell_peak():
    status = open("/proc/self/status")
    own = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    with open(os.path.join(os.environ["TMPDIR"], "{PEAK_FILE}"), "w") as file:
        file.write(str(1024 * max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)))
atexit.register(tell_peak)
"""

# No network, no telemetry (openvino_telemetry is silent in CI), and no threads that spin: on a busy
# machine those make small models 10 times slower.
# Memory of 4 MB and more goes back as soon as it is free: glibc would keep what is below 32 MB,
# which for layers of that size is more than the model takes.
# In huge pages, since getting it anew in small ones costs a tenth of the time.
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CI": "true",
    "GOMP_SPINCOUNT": "0",
    "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=4194304:glibc.malloc.hugetlb=1",
}


class ChildFailedError(GreenlightError):
    """The process of a method failed. `output` is the end of what it printed."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


def run_module(module: str, arguments: list[str], scratch: Path, label: str) -> int:
    """Run `work(*arguments)` of one of our modules; see `run_python`."""
    paths = [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return run_python(
        Path(sys.executable),
        f"from {module} import work; work(*sys.argv[1:])",
        arguments,
        scratch,
        label,
        environment,
    )


def run_python(
    python: Path,
    code: str,
    arguments: list[str],
    scratch: Path,
    label: str,
    environment: dict[str, str] | None = None,
) -> int:
    """Run Python code in a process that dies with this one; what it prints is shown only when it
    fails.

    Args:
        python: the interpreter.
        code: finds `arguments` in `sys.argv[1:]`.
        scratch: folder for its temporary files.
        label: who works, for people.
        environment: variables to set besides ours.

    Returns:
        Its peak memory in bytes, children included.

    Raises:
        ChildFailedError: it ended with anything but 0.
    """
    output, peak_file = scratch / "output.log", scratch / PEAK_FILE
    peak_file.unlink(missing_ok=True)
    variables = os.environ | SETTINGS | {"TMPDIR": str(scratch)} | (environment or {})
    with open(output, "wb") as sink:
        command = [str(python), "-c", DIE_WITH_PARENT + code, str(os.getpid()), *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, env=variables
        )
    try:
        peak = _wait(process, label, output)
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
    if process.returncode:
        tail = "\n".join(
            ESCAPES.sub("", output.read_text(errors="replace"))
            .replace("\r", "\n")
            .splitlines()[-TAIL_LINES:]
        )
        log.error("the end of what %s printed:\n%s", label, tail)
        raise ChildFailedError(_reason(label, process.returncode, tail), tail)
    return int(peak_file.read_text()) if peak_file.is_file() else peak


def _wait(process: subprocess.Popen[bytes], label: str, output: Path) -> int:
    """Wait for the end, log how far it has come, and return its peak memory in bytes."""

    def look(elapsed: float) -> int | None:
        # wait4 and not Popen.wait: only it tells the memory of this one child.
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if not pid:
            return None
        process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_maxrss * 1024

    def report(elapsed: float) -> None:
        progress = progress_in(output)
        log.info(
            "%s",
            f"{label}: {progress}" if progress else f"{label} is working",
            extra={"figure": f"{elapsed:.0f} s"},
        )

    peak = wait_for(
        look, seconds=math.inf, interval=0.05, report=report, report_interval=PROGRESS_SECONDS
    )
    assert peak is not None  # it waits for as long as it takes
    return peak


def _reason(label: str, code: int, tail: str) -> str:
    if code == -signal.SIGKILL:
        return (
            f"{label} was killed (signal 9), most likely because memory ran out. Use a machine with"
            " more memory, or a smaller model."
        )
    last = next(
        (line.strip() for line in reversed(tail.splitlines()) if line.strip()), "it printed nothing"
    )
    return (
        f"{label} failed with exit code {code}: {last}. The log above holds the end of its output;"
        " check that it supports this model."
    )


def own_peak_memory() -> int:
    """Of this process, in bytes. From VmHWM: unlike ru_maxrss it does not count what the process
    was before it started Python.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
