"""Processes that are forked from one that has imported the libraries: a step of the pipeline starts
several, each of which would spend most of its time on that.

What runs in them is what the pipeline runs. Only how they start is replaced.
"""

import importlib
import json
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from greenlight.core import child_process
from greenlight.core.child_process import SETTINGS, ChildFailedError
from greenlight.core.errors import GreenlightError, InputError
from tests.model_matrix import export_server
from tests.model_matrix.export_server import die_with_parent, silence

Result = TypeVar("Result")
LIBRARIES = (
    "torch",
    "transformers",
    "bitsandbytes",
    "llmcompressor",
    "openvino_genai",
    "pyarrow.parquet",
    "greenlight.quantize.candidate",
    "greenlight.resolve.inspection",
    "greenlight.serving.engines.transformers",
)
USERS = (
    "greenlight.quantize.llm_compressor",
    "greenlight.quantize.methods.bnb",
    "greenlight.quantize.methods.smallest",
    "greenlight.quantize.reload_check",
)
"""Modules that call `run_module`."""
SECONDS = 300.0


class LateError(Exception):
    """What was raised in a forked process, its last line and its traceback."""


def import_libraries() -> None:
    os.environ.update(SETTINGS)
    for name in LIBRARIES:
        importlib.import_module(name)


def in_child(work: Callable[..., Result], *arguments: Any, seconds: float = SECONDS) -> Result:
    """Call `work` in a forked process, in silence.

    Raises:
        GreenlightError: as raised there.
        LateError: anything else was, or it took too long.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.setpgid(0, 0)
        die_with_parent()
        silence(os.devnull)
        try:
            answer: Any = (work(*arguments), None)
        except InputError as error:
            answer = (None, (InputError, (error.field, str(error.value), error.fix)))
        except GreenlightError as error:
            answer = (None, (GreenlightError, (str(error),)))
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
            answer = (None, (LateError, (said, traceback.format_exc())))
        with os.fdopen(writing, "wb") as file:
            file.write(pickle.dumps(answer))
        os._exit(0)
    os.close(writing)
    content, end = b"", time.monotonic() + seconds
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while time.monotonic() < end:
            if select.select([pipe], [], [], 1)[0]:
                if not (part := pipe.read(1 << 16)):
                    break
                content += part
        else:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            raise LateError(f"not done after {seconds:.0f} s", "")
    os.waitpid(process, 0)
    if not content:
        raise LateError("the process died", "")
    result, raised = pickle.loads(content)
    if raised is not None:
        kind, said = raised
        raise kind(*said)
    return result


def start_by_forking(export: "Export") -> None:
    """From now on the steps fork their processes."""
    for name in USERS:
        module: Any = importlib.import_module(name)
        module.run_module = run_module
    openvino: Any = importlib.import_module("greenlight.quantize.openvino")
    openvino.run_python = export.run_python


def run_module(module: str, arguments: list[str], scratch: Path, label: str) -> int:
    """As `child_process.run_module`, in a forked process."""
    process = os.fork()
    if not process:
        die_with_parent()
        silence(scratch / "output.log")
        os.environ["TMPDIR"] = str(scratch)
        code = 1
        try:
            importlib.import_module(module).work(*arguments)
            code = 0
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)
    _raise_if_failed(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), scratch, label)
    return 0


class Export:
    """A process of the export environment that forks one for each call."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.address = folder / "export.socket"
        self.process = subprocess.Popen(
            [str(python), export_server.__file__, str(self.address)],
            env=os.environ | SETTINGS | {"PYTHONPATH": ""},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )

    def run_python(
        self,
        python: Path,
        code: str,
        arguments: list[str],
        scratch: Path,
        label: str,
        environment: dict[str, str] | None = None,
    ) -> int:
        """As `child_process.run_python`."""
        variables = {"TMPDIR": str(scratch), **(environment or {})}
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(self.address))
            request = {
                "code": code,
                "arguments": arguments,
                "environment": variables,
                "output": str(scratch / "output.log"),
            }
            link.sendall(json.dumps(request).encode() + b"\n")
            answered = link.recv(16)
        _raise_if_failed(int(answered or b"1"), scratch, label)
        return 0

    def wait(self) -> "Export":
        while not self.address.exists():
            if self.process.poll() is not None:
                raise GreenlightError("the export environment does not start: make install")
            time.sleep(0.1)
        return self

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def _raise_if_failed(code: int, scratch: Path, label: str) -> None:
    if code:
        tail = "\n".join(
            (scratch / "output.log")
            .read_text(errors="replace")
            .splitlines()[-child_process.TAIL_LINES :]
        )
        raise ChildFailedError(child_process._reason(label, code, tail), tail)
