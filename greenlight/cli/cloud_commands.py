"""Runs in a cloud: what `greenlight run` does there, and `greenlight follow | cancel | ui`."""

import json
import sys
from typing import Annotated

import typer
from rich.console import Console

from greenlight.cli.cloud_runner import (
    call_with_retries,
    options_of_same_cloud,
    print_progress,
)
from greenlight.cli.options import takes
from greenlight.pipelines.runners.interface import CloudRun, CloudRunner, UnavailableError
from greenlight.pipelines.runners.open_cloud import open_runner
from greenlight.pipelines.runners.settings import CloudOptions
from greenlight.resolve.parameters import Parameters

EXIT_INTERRUPTED = 130

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Id of the run, as `greenlight run` printed it.")
]
OutcomeJsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help=(
            "Print the ended run as JSON on stdout, as `greenlight runs --json` does. Progress"
            " goes to stderr."
        ),
    ),
]


def register(app: typer.Typer) -> None:
    for command in (follow, cancel, ui):
        app.command(rich_help_panel="In a cloud")(command)


def run_in_cloud(parameters: Parameters, options: CloudOptions, wait: bool, as_json: bool) -> int:
    """Submit a run, and with `wait` follow it to its end. Returns the exit code.

    Raises:
        InputError: a parameter or an option is unusable. Nothing has been sent.
    """
    from greenlight.pipelines.start_in_cloud import submit_run

    console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False)
    try:
        runner, run_id = submit_run(parameters, options, print_progress)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    recipes, target = parameters.recipe_names, parameters.target
    console.print(f"run {run_id}: {parameters.model}, {recipes}, target {target}", soft_wrap=True)
    console.print(f"console    {runner.link(run_id)}", soft_wrap=True)
    if wait:
        return follow_in_cloud(runner, options, run_id, as_json)
    if as_json:
        print(json.dumps({"run_id": run_id, "link": runner.link(run_id)}, indent=2))
    return 0


def follow_in_cloud(runner: CloudRunner, options: CloudOptions, run_id: str, as_json: bool) -> int:
    """Show a run until it has ended. Returns its exit code, that of a local run with the same
    verdict.
    """
    from greenlight.cli.run_progress import RunProgress
    from greenlight.pipelines.start_in_cloud import follow_run

    console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False)
    again = options_of_same_cloud(options)
    try:
        with RunProgress(console).show() as progress:
            run = follow_run(runner, run_id, options, progress, print_progress)
        return _show_end(console, run, runner.link(run_id), as_json)
    except KeyboardInterrupt:
        print_progress(
            f"the run goes on; `greenlight follow {run_id} {again}` shows it again, `greenlight"
            f" cancel {run_id} {again}` ends it"
        )
        return EXIT_INTERRUPTED
    except UnavailableError as error:
        raise type(error)(
            f"{error}. The run goes on: `greenlight follow {run_id} {again}` shows it again"
        ) from None


def _show_end(console: Console, run: CloudRun, link: str, as_json: bool) -> int:
    """Print the verdict from the run's records, and where the cloud says that the run failed, the
    steps that did and why. Returns the exit code.
    """
    from greenlight.cli.run_outcome import show_outcome
    from greenlight.pipelines.runners.follow import failure_reason
    from greenlight.pipelines.start_in_cloud import cloud_exit_code

    if run.history:
        show_outcome(console, run.history, run.run_id, link, as_json)
    code = cloud_exit_code(run)
    if run.state == "succeeded":
        return code
    lines = [
        f"failed     {task.step}: {failure_reason(run, task)}"
        for task in run.tasks
        if task.state == "failed"
    ]
    for line in [*lines, f"{run.state:<10} {run.message or 'on the cloud'}".rstrip()]:
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"console    {link}", soft_wrap=True)
    return code


@takes(CloudOptions, from_environment=(CloudOptions,))
def follow(options: CloudOptions, run_id: RunArgument, as_json: OutcomeJsonOption = False) -> None:
    """Show a run in a cloud until it has ended, and exit with the code of its verdict.

    Ctrl-C ends only this command: the run goes on.
    """
    raise typer.Exit(follow_in_cloud(open_runner(options), options, run_id, as_json))


@takes(CloudOptions, from_environment=(CloudOptions,))
def cancel(options: CloudOptions, run_id: RunArgument) -> None:
    """Cancel a run in a cloud.

    The live color stays as it is. If the run was just moving the traffic, the next run or
    `greenlight recover` finishes the move.
    """
    runner = open_runner(options)
    call_with_retries(runner, options, lambda: runner.cancel(run_id))
    print(f"{run_id} was asked to end: {runner.link(run_id)}")


@takes(CloudOptions, from_environment=(CloudOptions,))
def ui(options: CloudOptions, run_id: RunArgument) -> None:
    """Print the address of a run's page in the cloud's console."""
    print(open_runner(options).link(run_id))
