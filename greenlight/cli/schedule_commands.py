"""Scheduled runs in a cloud: `greenlight schedule create | list | pause | resume | update |
delete`.
"""

import json
from typing import Annotated

import typer
from pydantic import BaseModel, Field
from rich.console import Console
from rich.table import Table

from greenlight.cli.cloud_runner import call_with_retries
from greenlight.cli.options import takes
from greenlight.cli.timetable import read_timetable
from greenlight.core.errors import InputError
from greenlight.pipelines.runners.interface import Timetable
from greenlight.pipelines.runners.open_cloud import open_runner
from greenlight.pipelines.runners.settings import CloudOptions
from greenlight.pipelines.start import read_files
from greenlight.resolve.parameters import Parameters

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the schedule.")]
app = typer.Typer(
    name="schedule",
    no_args_is_help=True,
    help=(
        "Start runs in a cloud on a schedule. A run that finds nothing new ends at its first step"
        " as up_to_date."
    ),
)


class ScheduleOptions(BaseModel):
    """When a schedule starts runs."""

    cron: str = Field(
        description=(
            'When runs start, as a cron expression of five fields, such as "0 3 * * 1" for Mondays'
            ' at 3:00 UTC. On Vertex a time zone may stand before it: "TZ=Europe/Zurich 0 3 * * 1".'
        )
    )
    max_concurrent_runs: int = Field(
        1, description="Maximum number of this schedule's runs at the same time."
    )
    start: str = Field(
        "", description="Start no run before this time, such as 2027-01-31T03:00:00Z."
    )
    end: str = Field("", description="Start no run after this time, such as 2027-12-31T03:00:00Z.")

    def check(self) -> Timetable:
        """The timetable. Raises InputError."""
        return read_timetable(self.cron, self.max_concurrent_runs, self.start, self.end)


@app.command("create")
@takes(ScheduleOptions, Parameters, CloudOptions, from_environment=(CloudOptions,))
def create_schedule(
    schedule: ScheduleOptions,
    parameters: Parameters,
    options: CloudOptions,
    name: NameArgument,
) -> None:
    """Create a schedule that starts runs with these parameters."""
    times = schedule.check()
    parameters.check_for_cloud()
    parameters = read_files(parameters)
    runner = open_runner(options, parameters)
    if any(each.name == name for each in call_with_retries(runner, options, runner.schedules)):
        raise InputError(
            "name",
            name,
            "there is a schedule of that name; choose another, `greenlight schedule update` it (on"
            " Vertex), or delete it",
        )
    made = call_with_retries(
        runner, options, lambda: runner.create_schedule(name, parameters, times)
    )
    print(f"{made.name}: {made.cron}, {made.state}")


@app.command("list")
@takes(CloudOptions, from_environment=(CloudOptions,))
def list_schedules(
    options: CloudOptions,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the schedules of the pipeline, with when each starts its next run."""
    runner = open_runner(options)
    found = call_with_retries(runner, options, runner.schedules)
    if as_json:
        print(json.dumps([each.model_dump(mode="json") for each in found], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "state", "cron", "max runs", "next run", "until"):
        table.add_column(heading, no_wrap=True)
    for each in found:
        times = [f"{time:%Y-%m-%d %H:%M} UTC" if time else "" for time in (each.next_run, each.end)]
        table.add_row(each.name, each.state, each.cron, str(each.max_concurrent_runs), *times)
    Console(highlight=False).print(table)


@app.command("pause")
@takes(CloudOptions, from_environment=(CloudOptions,))
def pause_schedule(options: CloudOptions, name: NameArgument) -> None:
    """Start no more runs until the schedule is resumed. A run under way goes on."""
    runner = open_runner(options)
    call_with_retries(runner, options, lambda: runner.pause_schedule(name))
    print(f"{name} is paused")


@app.command("resume")
@takes(CloudOptions, from_environment=(CloudOptions,))
def resume_schedule(options: CloudOptions, name: NameArgument) -> None:
    """Start runs again, from the next scheduled time on. Missed runs are not made up for."""
    runner = open_runner(options)
    call_with_retries(runner, options, lambda: runner.resume_schedule(name))
    print(f"{name} is active")


@app.command("update")
@takes(ScheduleOptions, Parameters, CloudOptions, from_environment=(CloudOptions,))
def update_schedule(
    schedule: ScheduleOptions,
    parameters: Parameters,
    options: CloudOptions,
    name: NameArgument,
    times_only: Annotated[
        bool,
        typer.Option(
            "--times-only",
            help="Change only when runs start. Keep the schedule's pipeline and its parameters.",
        ),
    ] = False,
) -> None:
    """Change a schedule on Vertex: its times, its parameters, and its pipeline, which is compiled
    from the installed code.
    """
    times = schedule.check()
    if not times_only:
        parameters.check_for_cloud()
    wanted = None if times_only else read_files(parameters)
    runner = open_runner(options, wanted)
    made = call_with_retries(runner, options, lambda: runner.update_schedule(name, wanted, times))
    print(f"{made.name}: {made.cron}, {made.state}")


@app.command("delete")
@takes(CloudOptions, from_environment=(CloudOptions,))
def delete_schedule(options: CloudOptions, name: NameArgument) -> None:
    """Delete a schedule. A run under way goes on."""
    runner = open_runner(options)
    call_with_retries(runner, options, lambda: runner.delete_schedule(name))
    print(f"{name} is deleted")
