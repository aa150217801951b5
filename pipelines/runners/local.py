"""The DAG on this machine: kfp.local runs each step of the compiled pipeline as a process of its
own.
"""

import contextlib
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic import ValidationError

from greenlight.core.extras import require
from greenlight.core.safe_path import safe_environment
from greenlight.core.step import StepEvent
from greenlight.pipelines.compiler import compile_promotion
from greenlight.pipelines.runners.interface import Listener, Runner
from greenlight.resolve.parameters import Parameters

CACHE_HIT = re.compile(r"Task (?P<task>[\w-]+) cache hit")
LIBRARIES = ("tokenizers", "torch", "transformers", "openvino_genai", "uvicorn")
"""What the steps and the servers import: one of each group that the extra `local` brings."""

FAILURE = re.compile(r"ERROR - Task \S*'(?P<task>[\w-]+)'\S* finished with status")


def check_libraries() -> None:
    """Raises GreenlightError where a library that a run on this machine needs is not installed."""
    require("local", "A run on this machine", *LIBRARIES)


class LocalRunner(Runner):
    """Artifacts go to `<home>/runs/<pipeline>-<time>/<step>/`, the full log of a run to
    `<home>/logs/<run id>.log`.

    Finished downloads, quantizations and evaluations are reused from `<home>/cache` by the next
    run.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def log_path(self, run_id: str) -> Path:
        return self.home / "logs" / f"{run_id}.log"

    def run(self, parameters: Parameters, run_id: str, listener: Listener) -> bool:
        warnings.simplefilter("ignore")
        from kfp import components, dsl, local

        # as a backend does
        spec = run_loops_in_order(compile_promotion()).replace(
            dsl.PIPELINE_JOB_ID_PLACEHOLDER, run_id
        )
        local.init(
            runner=local.SubprocessRunner(use_venv=False),
            pipeline_root=str(self.home / "runs"),
            raise_on_error=False,
            enable_caching=True,
            cache_root=str(self.home / "cache"),
        )
        log_path = self.log_path(run_id)
        log_path.parent.mkdir(parents=True, exist_ok=True)
        failed = False

        def note_failure(event: StepEvent) -> None:
            nonlocal failed
            failed |= event.event == "failed"
            listener(event)

        with open(log_path, "w", buffering=1) as log, _send_events(run_id, log, note_failure):
            promotion = components.load_component_from_text(spec)
            with _steps_environment():
                promotion(**parameters.model_dump())
        return not failed


def run_loops_in_order(spec: str) -> str:
    """The pipeline with loops that take one item after the other: here they share a machine, on
    which a sweep also measures speed.
    """
    pipeline = yaml.safe_load(spec)
    dags = [
        pipeline["root"]["dag"],
        *(component["dag"] for component in pipeline["components"].values() if "dag" in component),
    ]
    for task in (
        task for dag in dags for task in dag["tasks"].values() if "parameterIterator" in task
    ):
        task["iteratorPolicy"] = {"parallelismLimit": 1}
    return yaml.safe_dump(pipeline, sort_keys=False)


@contextlib.contextmanager
def _steps_environment() -> Iterator[None]:
    """kfp.local starts the steps with the environment of this process. Not through the variables of
    its runner or of the compiled steps: those are part of its cache keys.
    """
    before = dict(os.environ)
    os.environ.update(safe_environment())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _send_events(run_id: str, log: io.TextIOBase, listener: Listener) -> Iterator[None]:
    """Send what kfp.local and the steps print to the log, and the events among it to the
    listener.
    """
    stream = _EventStream(run_id, log, listener)
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)  # cache hits are logged at this level
    try:
        with contextlib.redirect_stdout(stream):
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


class _EventStream(io.TextIOBase):
    """A text stream that finds the step events among the lines written to it."""

    def __init__(self, run_id: str, log: io.TextIOBase, listener: Listener) -> None:
        self.run_id, self.log, self.listener = run_id, log, listener
        self.pending = ""
        self.last_line = ""
        self.failed: set[str] = set()

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        self.log.write(text)
        *lines, self.pending = (self.pending + text).split("\n")
        for line in lines:
            self._line(line.strip())
        return len(text)

    def _line(self, line: str) -> None:
        if hit := CACHE_HIT.search(line):
            self.listener(self._event(hit["task"], "reused"))
        elif (failure := FAILURE.search(line)) and failure["task"].replace(
            "-", "_"
        ) not in self.failed:
            # It ended without an event of its own: killed, out of memory, or its component
            # could not be imported.
            self.listener(
                self._event(
                    failure["task"],
                    "failed",
                    f"the step's process ended early; its last line was: {self.last_line}",
                )
            )
        elif line.startswith('{"time":'):
            with contextlib.suppress(ValidationError):  # some library's own JSON
                event = StepEvent.model_validate_json(line)
                if event.event == "failed":
                    self.failed.add(event.step)
                self.listener(event)
        elif line:
            self.last_line = line

    def _event(self, task: str, event: str, message: str = "") -> StepEvent:
        return StepEvent(
            time="", run=self.run_id, step=task.replace("-", "_"), event=event, message=message
        )
