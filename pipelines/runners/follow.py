"""A run in a cloud followed to its end: what the cloud says of its tasks, and what its steps wrote,
told as the same events as a local run's.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

from greenlight.core import storage
from greenlight.core.history import StepError
from greenlight.core.records import Resolution
from greenlight.core.step import StepEvent
from greenlight.pipelines.runners.interface import (
    ENDED,
    CloudRun,
    CloudRunner,
    Listener,
    Task,
    UnavailableError,
)

log = logging.getLogger("greenlight")

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long to go on while a cloud does not answer, in seconds."""

    first: float = 1.0
    longest: float = 60.0
    total: float = 3600.0

    def waits(self) -> Iterator[float]:
        """How long to wait after each failed call, doubling; ends when the patience does."""
        wait, spent = self.first, 0.0
        while spent < self.total:
            yield wait
            spent += wait
            wait = min(wait * 2, self.longest)


def patiently(
    runner: CloudRunner, call: Callable[[], T], patience: Patience, say: Callable[[str], None]
) -> T:
    """The call, made again with a new sign-in as long as the cloud is away.

    Raises:
        UnavailableError: the patience ended first.
    """
    for wait in patience.waits():
        try:
            return call()
        except UnavailableError as error:
            say(f"{error}; trying again in {wait:g} s")
            time.sleep(wait)
            runner.reconnect()
    return call()


def follow(
    runner: CloudRunner,
    run_id: str,
    listener: Listener,
    patience: Patience,
    poll_seconds: float,
    say: Callable[[str], None],
) -> CloudRun:
    """Tell the listener what happens until the run has ended. Returns how it ended.

    Raises:
        UnavailableError: the cloud was not reached for longer than the patience. The run goes on.
        InputError: there is no such run.
    """
    told: dict[str, str] = {}
    while True:
        run = patiently(runner, lambda: runner.look(run_id), patience, say)
        for task in run.tasks:
            if told.get(task.step) not in (task.state, "done", "reused", "skipped"):
                for event in _events(run, task, told.get(task.step, "")):
                    listener(event)
                told[task.step] = task.state
        if run.state in ENDED:
            return run
        time.sleep(poll_seconds)


def last_words(run: CloudRun, task: Task) -> str:
    """Why a step failed: in its own words where it left some, else in the cloud's."""
    try:
        for folder in _folders(run, task.step):
            uri = storage.join(run.history, folder, f"{task.step}.error.json")
            try:
                return StepError.model_validate_json(storage.read_bytes(uri)).message
            except FileNotFoundError:
                continue
    except Exception as error:  # a bucket fails in many ways; the run is followed all the same
        log.warning("the records of %s cannot be read: %s", run.run_id, error)
    return (
        task.message.strip().splitlines()[-1]
        if task.message.strip()
        else "the cloud gives no reason; see its log"
    )


def _events(run: CloudRun, task: Task, before: str) -> Iterator[StepEvent]:
    if task.state in ("waiting", "skipped"):
        return
    if before not in ("running", "failed"):
        yield _event(run, task, "started")
    elif before == "failed":
        yield _event(run, task, "log", "tried again")
    if task.state == "done":
        yield _finished(run, task)
    elif task.state == "reused":
        yield _event(run, task, "reused")
    elif task.state == "failed":
        yield _event(run, task, "failed", last_words(run, task))


def _finished(run: CloudRun, task: Task) -> StepEvent:
    """As the step said it, with its figure. Kubeflow does not tell a cache hit from a step that
    ran; what was said before the run began does.
    """
    told = []
    try:
        for folder in _folders(run, task.step):
            with contextlib.suppress(FileNotFoundError):
                told.append(
                    StepEvent.model_validate_json(
                        storage.read_bytes(
                            storage.join(run.history, folder, f"{task.step}.event.json")
                        )
                    )
                )
    except Exception as error:
        log.warning("the records of %s cannot be read: %s", run.run_id, error)
    if not told:
        return _event(run, task, "finished")
    if run.began and all(datetime.fromisoformat(said.time) < run.began for said in told):
        return _event(run, task, "reused")
    if len(told) == 1:
        return told[0]
    figures = ", ".join(f"{said.candidate} {said.figure or 'left out'}" for said in told)
    return _event(run, task, "finished").model_copy(update={"figure": figures})


def _folders(run: CloudRun, step: str) -> list[str]:
    """Where in the history a step writes: the run's folder, or that of the build, which runs
    share.
    """
    if not run.history:
        return []
    if step not in ("download", "reference", "quantize", "evaluate"):
        return [run.run_id]
    found = Resolution.model_validate_json(
        storage.read_bytes(storage.join(run.history, run.run_id, "resolve.json"))
    )
    return {
        "download": [found.source_build],
        "reference": [found.reference_build],
        "quantize": found.candidate_builds,
        "evaluate": found.evaluation_builds,
    }[step]


def _event(
    run: CloudRun,
    task: Task,
    event: Literal["started", "finished", "reused", "failed", "log"],
    message: str = "",
) -> StepEvent:
    return StepEvent(time="", run=run.run_id, step=task.step, event=event, message=message)
