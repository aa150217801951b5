"""What a runner is: it takes the compiled pipeline and its parameters somewhere, and what is known
of a run there.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from greenlight.core.errors import GreenlightError
from greenlight.core.step import StepEvent
from greenlight.resolve.parameters import Parameters

Listener = Callable[[StepEvent], None]
"""Gets each event of the steps when it happens."""

RunState = Literal["waiting", "running", "succeeded", "failed", "cancelled"]
TaskState = Literal["waiting", "running", "done", "reused", "failed", "skipped"]
ENDED: tuple[RunState, ...] = ("succeeded", "failed", "cancelled")


class UnavailableError(GreenlightError):
    """The cloud cannot be reached for now, has too much to do, or wants a new sign-in: the same
    call may work later.
    """


class Runner(ABC):
    @abstractmethod
    def run(self, parameters: Parameters, run_id: str, listener: Listener) -> bool:
        """Run the pipeline to its end. True when no step failed."""


class Task(BaseModel):
    """A step of a run in a cloud."""

    model_config = ConfigDict(frozen=True)

    step: str
    state: TaskState
    message: str = ""
    """Why it failed, as the cloud says; the step itself leaves a better message in the history."""


def merge_tasks(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """One task per step: the iterations of a loop count as one, which has failed when one has, and
    is done when all are.
    """
    by_step: dict[str, list[Task]] = {}
    for task in tasks:
        by_step.setdefault(task.step, []).append(task)
    return tuple(
        next(task for state in _PRECEDENCE for task in found if task.state == state)
        for found in map(_mark_running, by_step.values())
    )


_PRECEDENCE: tuple[TaskState, ...] = ("failed", "running", "waiting", "done", "reused", "skipped")


def _mark_running(tasks: list[Task]) -> list[Task]:
    """A loop of which some iterations have ended and others wait is running."""
    states = {task.state for task in tasks}
    return [
        task.model_copy(update={"state": "running"})
        if task.state == "waiting" and states > {"waiting"}
        else task
        for task in tasks
    ]


class CloudRun(BaseModel):
    """A run in a cloud, as it is now."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    state: RunState
    history: str
    """Where its steps leave their records. Empty where the cloud does not say."""
    began: datetime | None = None
    tasks: tuple[Task, ...] = ()
    message: str = ""


class Timetable(BaseModel):
    """When a schedule starts runs. Checked where it is made: greenlight/cli/timetable.py."""

    model_config = ConfigDict(frozen=True)

    cron: str
    """Five fields; a prefix TZ=Europe/Zurich (Vertex) names the time zone, else it is UTC."""
    max_concurrent_runs: int = 1
    start: datetime | None = None
    end: datetime | None = None


class Schedule(BaseModel):
    """A schedule in a cloud, as it is now."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: Literal["active", "paused", "completed"]
    cron: str
    max_concurrent_runs: int
    next_run: datetime | None = None
    end: datetime | None = None


class CloudRunner(ABC):
    """The pipeline in a cloud. Every method may raise UnavailableError, and may then be called
    again: none does its work twice.
    """

    @abstractmethod
    def submit(self, parameters: Parameters, run_id: str) -> str:
        """Start the run of that id, unless it is there already. Returns the id by which the cloud
        and its records know it.
        """

    @abstractmethod
    def get_run(self, run_id: str) -> CloudRun:
        """The run as it is now. Raises InputError when there is none."""

    @abstractmethod
    def cancel(self, run_id: str) -> None:
        """Ask the cloud to end the run."""

    @abstractmethod
    def link(self, run_id: str) -> str:
        """The page of the run in the cloud's console."""

    @abstractmethod
    def reconnect(self) -> None:
        """Sign in anew at the next call."""

    @abstractmethod
    def create_schedule(self, name: str, parameters: Parameters, timetable: Timetable) -> Schedule:
        """Start runs by the clock, unless a schedule of that name is there already."""

    @abstractmethod
    def schedules(self) -> list[Schedule]:
        """All schedules of the pipeline, by name."""

    @abstractmethod
    def pause_schedule(self, name: str) -> None: ...

    @abstractmethod
    def resume_schedule(self, name: str) -> None: ...

    @abstractmethod
    def update_schedule(
        self, name: str, parameters: Parameters | None, timetable: Timetable
    ) -> Schedule:
        """Another timetable, and with `parameters` also another pipeline."""

    @abstractmethod
    def delete_schedule(self, name: str) -> None: ...
