"""A run in a cloud followed to its end: what the cloud says of its tasks and what its steps wrote,
as the same events that a local run emits.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Literal

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
)
from greenlight.pipelines.runners.retry import RetryPolicy, call_with_retry

log = logging.getLogger("greenlight")


def follow(
    runner: CloudRunner,
    run_id: str,
    listener: Listener,
    policy: RetryPolicy,
    poll_seconds: float,
    say: Callable[[str], None],
) -> CloudRun:
    """Send the listener an event for each change until the run has ended. Returns how it ended.

    Raises:
        UnavailableError: the cloud was unavailable for longer than the policy allows. The run goes
            on.
        InputError: there is no such run.
    """
    states: dict[str, str] = {}
    while True:
        run = call_with_retry(runner, lambda: runner.get_run(run_id), policy, say)
        for task in run.tasks:
            if states.get(task.step) not in (task.state, "done", "reused", "skipped"):
                for event in _events(run, task, states.get(task.step, "")):
                    listener(event)
                states[task.step] = task.state
        if run.state in ENDED:
            return run
        time.sleep(poll_seconds)


def failure_reason(run: CloudRun, task: Task) -> str:
    """Why a step failed: the message that it left in the history, else that of the cloud."""
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
        yield _finish_event(run, task)
    elif task.state == "reused":
        yield _event(run, task, "reused")
    elif task.state == "failed":
        yield _event(run, task, "failed", failure_reason(run, task))


def _finish_event(run: CloudRun, task: Task) -> StepEvent:
    """The event that the step left, with its figure. Kubeflow does not distinguish a cache hit from
    a step that ran; an event from before the run began does.
    """
    left = []
    try:
        for folder in _folders(run, task.step):
            with contextlib.suppress(FileNotFoundError):
                left.append(
                    StepEvent.model_validate_json(
                        storage.read_bytes(
                            storage.join(run.history, folder, f"{task.step}.event.json")
                        )
                    )
                )
    except Exception as error:
        log.warning("the records of %s cannot be read: %s", run.run_id, error)
    if not left:
        return _event(run, task, "finished")
    if run.began and all(datetime.fromisoformat(each.time) < run.began for each in left):
        return _event(run, task, "reused")
    if len(left) == 1:
        return left[0]
    figures = ", ".join(f"{each.candidate} {each.figure or 'left out'}" for each in left)
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
