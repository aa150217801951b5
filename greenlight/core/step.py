"""What every component does around its work: logs as JSON lines, one record published to the run's
history, one clear error line.
"""

import contextlib
import json
import logging
import os
import select
import shutil
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

from greenlight.core import storage
from greenlight.core.errors import GreenlightError
from greenlight.core.records import Failure, Record
from greenlight.core.secrets import read_secrets

log = logging.getLogger("greenlight")

LAST_FAILURE = "last_failure"
"""Object in the folder of a build. It is passed to the steps that failed, so that a cache does not
take their failure for a result for ever.
"""

SECONDS = "GREENLIGHT_STEP_SECONDS"
"""Environment variable: the time limit of a step in seconds. The compiled pipeline sets it, because
Vertex has no such limit.
"""


class StepEvent(BaseModel):
    """One line of a step's output. `figure` is the one number that matters, for people.
    `candidate`: which of a sweep.
    """

    time: str
    severity: str = "INFO"
    run: str
    step: str
    event: str
    message: str = ""
    figure: str = ""
    candidate: str = ""


class Step:
    """A running step. `finish` is called once, when the work is done."""

    def __init__(self, name: str, run_id: str, history: str, candidate: str = "") -> None:
        self.name, self.run_id, self.history, self.candidate = name, run_id, history, candidate
        self.started = time.monotonic()

    def finish(self, record: Record, folder: str | None, figure: str) -> None:
        """Save the record as the artifact in `folder`, and publish a copy to the history."""
        if folder:
            record.save(folder)
        self.publish(f"{self.name}.json", record.model_dump_json(indent=2).encode())
        event = self.event("finished", figure=figure)
        # for who follows from afar, where stdout is not at hand
        self.publish(f"{self.name}.event.json", event.model_dump_json().encode())
        self._print(event)

    def publish(self, name: str, data: bytes) -> str:
        """Write one object of this run's history; returns its URI."""
        uri = storage.join(self.history, self.run_id, name)
        storage.write_bytes(uri, data)
        return uri

    def emit(self, event: str, message: str = "", figure: str = "", severity: str = "INFO") -> None:
        self._print(self.event(event, message, figure, severity))

    def event(
        self, event: str, message: str = "", figure: str = "", severity: str = "INFO"
    ) -> StepEvent:
        now = datetime.now(UTC).isoformat()
        return StepEvent(
            time=now,
            severity=severity,
            run=self.run_id,
            step=self.name,
            candidate=self.candidate,
            event=event,
            message=message,
            figure=figure,
        )

    def leave_out(self, failure: Failure, folder: str) -> None:
        """Leave a candidate out of the sweep: its failure stands where its artifact would, and the
        run goes on.
        """
        for made in Path(folder).glob("*"):  # half an artifact is worth nothing, and may be large
            shutil.rmtree(made) if made.is_dir() else made.unlink()
        failure.save(folder)
        event = self.event("left_out", message=failure.message, severity="WARNING")
        self.publish(f"{self.name}.event.json", event.model_dump_json().encode())
        self._print(event)

    def _print(self, event: StepEvent) -> None:
        print(event.model_dump_json(exclude_defaults=False), file=sys.__stdout__, flush=True)

    def fail(self, error: str, message: str) -> None:
        """Say that the step failed: on stdout, and as `<step>.error.json` in the history, since a
        backend loses the text.
        """
        self.emit("failed", message=message, severity="ERROR")
        # the message was printed; an unreachable history must not hide it
        with contextlib.suppress(Exception):
            self.publish(
                f"{self.name}.error.json",
                json.dumps({"step": self.name, "error": error, "message": message}).encode(),
            )
        sys.stdout.flush()


def last_failure(folder: str) -> str:
    """When a candidate of a sweep last failed, by what lies in the folder of its build. Empty: it
    never did.
    """
    try:
        return storage.read_bytes(storage.join(folder, LAST_FAILURE)).decode()
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def step(
    name: str, run_id: str, history: str, candidate: str = "", failure_folder: str = ""
) -> Iterator[Step]:
    """Run the work of a step inside this.

    Args:
        run_id: of the run, or the folder of a build that runs share.
        candidate: which one of a sweep this is about. Empty: there is no sweep.
        failure_folder: of a sweep, where the artifact goes: an error becomes a Failure there, and
            the step ends well.

    A GreenlightError ends the process with one clear line and exit code 1 (a backend loses the code
    and the text, so both are also left in the history as `<step>.error.json`); any other exception
    does the same and prints its traceback.
    """
    running = Step(name, run_id, history, candidate)
    _log_as_events(running)
    _end_with_reader()
    _end_in_time(running)
    running.emit("started")
    try:
        # of an earlier attempt: builds are shared by runs
        storage.delete(storage.join(history, run_id, f"{name}.error.json"))
        read_secrets()
        yield running
    except Exception as error:
        expected = isinstance(error, GreenlightError)
        message = str(error) if expected else f"{type(error).__name__}: {error}"
        if not expected:
            traceback.print_exc()
        if failure_folder:
            running.publish(LAST_FAILURE, datetime.now(UTC).isoformat().encode())
            running.leave_out(
                Failure(
                    candidate=candidate, step=name, error=type(error).__name__, message=message
                ),
                failure_folder,
            )
            return
        running.fail(type(error).__name__, message)
        raise SystemExit(getattr(error, "exit_code", 1)) from None


class _EventHandler(logging.Handler):
    def __init__(self, running: Step) -> None:
        super().__init__(logging.INFO)
        self.running = running

    def emit(self, record: logging.LogRecord) -> None:
        self.running.emit(
            "log",
            message=record.getMessage(),
            figure=getattr(record, "figure", ""),
            severity=record.levelname,
        )


def _log_as_events(running: Step) -> None:
    """Greenlight's own log lines become events; libraries log errors only."""
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.ERROR)
    log.handlers[:] = [_EventHandler(running)]
    log.setLevel(logging.INFO)
    log.propagate = False


def _end_with_reader() -> None:
    """End this process when whoever reads its output is gone: a runner that was killed must not
    leave a step working on.
    """
    if not (sys.__stdout__ and Path(f"/proc/self/fd/{sys.__stdout__.fileno()}").exists()):
        return
    poller = select.poll()
    poller.register(sys.__stdout__.fileno(), select.POLLERR)  # on a pipe: the read end was closed

    def watch() -> None:
        poller.poll()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-reader").start()


def _end_in_time(running: Step) -> None:
    """End this process with an error when it exceeds its time limit. There is nothing to undo:
    every step may die at any line and be run again.
    """
    if not (seconds := float(os.environ.get(SECONDS, 0))):
        return

    def end() -> None:
        running.fail(
            "Timeout",
            f"took longer than {seconds:g} s. Give it more time or a larger machine in the"
            " resources file, and run again",
        )
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
