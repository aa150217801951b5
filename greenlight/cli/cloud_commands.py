"""The commands about runs in a cloud: `greenlight follow | cancel | ui`, `greenlight schedule …`,
`greenlight template push`.
"""

import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from greenlight.cli.options import takes
from greenlight.core.errors import InputError
from greenlight.core.extras import require
from greenlight.pipelines.runners.interface import CloudRun, CloudRunner, UnavailableError
from greenlight.pipelines.runners.settings import (
    CloudOptions,
    check_runner,
    kubeflow_settings,
    vertex_settings,
)
from greenlight.resolve.parameters import Parameters

EXIT_INTERRUPTED = 130
PARAMETERS_FROM_ENVIRONMENT = {
    name: os.environ[f"GREENLIGHT_{name.upper()}"]
    for name in ("target", "service", "namespace", "history")
    if os.environ.get(f"GREENLIGHT_{name.upper()}")
}
"""What GREENLIGHT_TARGET and the like say for every command."""

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="The run's id, as `greenlight run` printed it.")
]
OutcomeJsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help=(
            "Print the run as `greenlight runs --json` does; what happens meanwhile goes to stderr."
        ),
    ),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
CronOption = Annotated[
    str,
    typer.Option(
        help=(
            'Five fields, such as "0 3 * * 1"; on Vertex "TZ=Europe/Zurich 0 3 * * 1" names a time'
            " zone, else it is UTC."
        )
    ),
]
ConcurrentOption = Annotated[int, typer.Option(help="Runs that may be under way at a time.")]
StartOption = Annotated[
    str, typer.Option(help="No run before this time, such as 2027-01-31T03:00:00Z.")
]
EndOption = Annotated[str, typer.Option(help="No run after this time.")]
TagOption = Annotated[
    list[str],
    typer.Option("--tag", help="Vertex: a name for this version, such as v1. May be given again."),
]

schedule = typer.Typer(
    no_args_is_help=True,
    help="Runs by the clock. One with nothing new to do ends at its first step as up_to_date.",
)
template = typer.Typer(
    no_args_is_help=True,
    help=(
        "The pipeline in the cloud's console, where a person starts it by filling in the"
        " parameters."
    ),
)


def register(app: typer.Typer) -> None:
    for command in (follow, cancel, ui):
        app.command(rich_help_panel="In a cloud")(command)
    app.add_typer(schedule, name="schedule", rich_help_panel="In a cloud")
    app.add_typer(template, name="template", rich_help_panel="In a cloud")


def open_runner(options: CloudOptions, defaults: Parameters | None = None) -> CloudRunner:
    """The runner that the options name. With `defaults` it can submit: the pipeline is compiled
    with them.

    Raises:
        InputError: an option is unusable. Nothing has been sent.
    """
    name = check_runner(options.runner)
    if name == "local":
        raise InputError("runner", name, "use vertex or kubeflow: this is about runs in a cloud")
    submits = defaults is not None
    settings = (
        vertex_settings(options, submits)
        if name == "vertex"
        else kubeflow_settings(options, submits)
    )
    if name == "vertex":
        _need_vertex()
    spec = compiled(options, defaults) if defaults else ""
    if name == "vertex":
        from greenlight.pipelines.runners.vertex import VertexRunner

        return VertexRunner(settings, spec)  # type: ignore[arg-type]
    from greenlight.pipelines.runners.kubeflow import KubeflowRunner

    return KubeflowRunner(settings, spec)  # type: ignore[arg-type]


def compiled(options: CloudOptions, defaults: Parameters) -> str:
    """The pipeline for the options' runner, as YAML text. Raises InputError."""
    from greenlight.pipelines.compiler import Build, compile_for, compile_promotion
    from greenlight.pipelines.resources import load_resources
    from greenlight.quantize.methods import check_in_cloud

    name = check_runner(options.runner)
    if name == "local":
        return compile_promotion()
    resources = load_resources(options.resources)
    accelerator = resources["quantize"].accelerator
    for method, _ in defaults.recipes:
        check_in_cloud(method, accelerator.type if accelerator else None)
    return compile_for(
        name, Build(options.components_image, resources, defaults, options.allow_tag)
    )


def run_in_cloud(parameters: Parameters, options: CloudOptions, wait: bool, as_json: bool) -> int:
    """Submit a run, and follow it to its end unless told not to. Returns the exit code.

    Raises:
        InputError: a parameter or an option is unusable. Nothing has been sent.
    """
    from greenlight.pipelines.runners.follow import Patience, patiently

    parameters.check_for_cloud()
    parameters = with_texts(parameters)
    runner = open_runner(options, parameters)
    wanted = f"promotion-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"
    console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False)
    try:
        run_id = patiently(
            runner,
            lambda: runner.submit(parameters, wanted),
            Patience(first=options.poll_seconds / 10),
            _say,
        )
    except (UnavailableError, KeyboardInterrupt) as error:
        _say(
            f"whether {wanted} was started is not known; look for it in the cloud's console before"
            " you start another"
        )
        if isinstance(error, KeyboardInterrupt):
            return EXIT_INTERRUPTED
        raise
    console.print(
        f"run {run_id}: {parameters.model}, {parameters.recipe_names}, target {parameters.target}",
        soft_wrap=True,
    )
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
    from greenlight.cli.display import RunView
    from greenlight.pipelines.runners.follow import Patience, follow

    console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False)
    try:
        with RunView(console).live() as view:
            run = follow(
                runner,
                run_id,
                view,
                Patience(first=options.poll_seconds / 10),
                options.poll_seconds,
                _say,
            )
        return _show_end(console, run, runner.link(run_id), as_json)
    except KeyboardInterrupt:
        again = _same_cloud(options)
        _say(
            f"the run goes on; `greenlight follow {run_id} {again}` shows it again, `greenlight"
            f" cancel {run_id} {again}` ends it"
        )
        return EXIT_INTERRUPTED
    except UnavailableError as error:
        raise type(error)(
            f"{error}. The run goes on: `greenlight follow {run_id} {_same_cloud(options)}` shows"
            " it again"
        ) from None


def _show_end(console: Console, run: CloudRun, link: str, as_json: bool) -> int:
    """The verdict as its records tell it; where the cloud says that it failed, the steps that did,
    and why.
    """
    from greenlight.cli.outcome import show_outcome
    from greenlight.pipelines.runners.follow import last_words

    code = show_outcome(console, run.history, run.run_id, link, as_json) if run.history else 1
    if run.state == "succeeded":
        return code
    for task in run.tasks:
        if task.state == "failed":
            console.print(
                f"failed     {task.step}: {last_words(run, task)}", markup=False, soft_wrap=True
            )
    console.print(
        f"{run.state:<10} {run.message or 'on the cloud'}".rstrip(), markup=False, soft_wrap=True
    )
    console.print(f"console    {link}", soft_wrap=True)
    return code or 1


@takes(CloudOptions, from_environment=(CloudOptions,))
def follow(options: CloudOptions, run_id: RunArgument, as_json: OutcomeJsonOption = False) -> None:
    """Show a run in a cloud until it has ended, with the exit code of its verdict. Ctrl-C leaves it
    running.
    """
    raise typer.Exit(follow_in_cloud(open_runner(options), options, run_id, as_json))


@takes(CloudOptions, from_environment=(CloudOptions,))
def cancel(options: CloudOptions, run_id: RunArgument) -> None:
    """End a run in a cloud. Live stays as it is, unless the traffic is being moved: the next run or
    `greenlight recover` finishes that.
    """
    runner = open_runner(options)
    _patiently(runner, options, lambda: runner.cancel(run_id))
    print(f"{run_id} is asked to end: {runner.link(run_id)}")


@takes(CloudOptions, from_environment=(CloudOptions,))
def ui(options: CloudOptions, run_id: RunArgument) -> None:
    """Print the address of a run's page in the cloud's console."""
    print(open_runner(options).link(run_id))


@schedule.command("create")
@takes(Parameters, CloudOptions, from_environment=(CloudOptions,), **PARAMETERS_FROM_ENVIRONMENT)
def create_schedule(
    parameters: Parameters,
    options: CloudOptions,
    name: NameArgument,
    cron: CronOption,
    max_concurrent_runs: ConcurrentOption = 1,
    start: StartOption = "",
    end: EndOption = "",
) -> None:
    """Start runs by the clock, with these parameters."""
    from greenlight.cli.schedules import timetable

    times = timetable(cron, max_concurrent_runs, start, end)
    parameters.check_for_cloud()
    runner = open_runner(options, with_texts(parameters))
    if any(each.name == name for each in _patiently(runner, options, runner.schedules)):
        raise InputError(
            "name",
            name,
            "there is a schedule of that name; choose another, `greenlight schedule update` it (on"
            " Vertex), or delete it",
        )
    made = _patiently(
        runner, options, lambda: runner.create_schedule(name, with_texts(parameters), times)
    )
    print(f"{made.name}: {made.cron}, {made.state}")


@schedule.command("list")
@takes(CloudOptions, from_environment=(CloudOptions,))
def list_schedules(
    options: CloudOptions,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show the schedules of the pipeline."""
    runner = open_runner(options)
    found = _patiently(runner, options, runner.schedules)
    if as_json:
        print(json.dumps([each.model_dump(mode="json") for each in found], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "state", "cron", "at a time", "next run", "until"):
        table.add_column(heading, no_wrap=True)
    for each in found:
        times = [f"{time:%Y-%m-%d %H:%M} UTC" if time else "" for time in (each.next_run, each.end)]
        table.add_row(each.name, each.state, each.cron, str(each.max_concurrent_runs), *times)
    Console(highlight=False).print(table)


@schedule.command("pause")
@takes(CloudOptions, from_environment=(CloudOptions,))
def pause_schedule(options: CloudOptions, name: NameArgument) -> None:
    """Start no more runs. What runs goes on."""
    runner = open_runner(options)
    _patiently(runner, options, lambda: runner.pause_schedule(name))
    print(f"{name} is paused")


@schedule.command("resume")
@takes(CloudOptions, from_environment=(CloudOptions,))
def resume_schedule(options: CloudOptions, name: NameArgument) -> None:
    """Start runs again, from the next time on. What was missed stays missed."""
    runner = open_runner(options)
    _patiently(runner, options, lambda: runner.resume_schedule(name))
    print(f"{name} is active")


@schedule.command("update")
@takes(Parameters, CloudOptions, from_environment=(CloudOptions,), **PARAMETERS_FROM_ENVIRONMENT)
def update_schedule(
    parameters: Parameters,
    options: CloudOptions,
    name: NameArgument,
    cron: CronOption,
    max_concurrent_runs: ConcurrentOption = 1,
    start: StartOption = "",
    end: EndOption = "",
    times_only: Annotated[
        bool,
        typer.Option("--times-only", help="Leave the pipeline and its parameters as they are."),
    ] = False,
) -> None:
    """Change a schedule on Vertex: its times, its parameters, and the pipeline, which becomes that
    of this code.
    """
    from greenlight.cli.schedules import timetable

    times = timetable(cron, max_concurrent_runs, start, end)
    if not times_only:
        parameters.check_for_cloud()
    wanted = None if times_only else with_texts(parameters)
    runner = open_runner(options, wanted)
    made = _patiently(runner, options, lambda: runner.update_schedule(name, wanted, times))
    print(f"{made.name}: {made.cron}, {made.state}")


@schedule.command("delete")
@takes(CloudOptions, from_environment=(CloudOptions,))
def delete_schedule(options: CloudOptions, name: NameArgument) -> None:
    """Forget a schedule. What runs goes on."""
    runner = open_runner(options)
    _patiently(runner, options, lambda: runner.delete_schedule(name))
    print(f"{name} is deleted")


@template.command("push")
@takes(Parameters, CloudOptions, from_environment=(CloudOptions,), **PARAMETERS_FROM_ENVIRONMENT)
def push_template(parameters: Parameters, options: CloudOptions, tag: TagOption = []) -> None:  # noqa: B006  typer reads it, nobody writes it
    """Put the pipeline where the console offers it. The parameters given here become its defaults,
    enough for a first run.
    """
    parameters.check_for_cloud()
    if options.runner == "vertex" and not options.templates:
        raise InputError(
            "templates", "", "give the KFP repository; Terraform's output kfp_registry"
        )
    defaults = with_texts(parameters)
    runner = open_runner(options, defaults)
    if options.runner == "kubeflow":
        print(_patiently(runner, options, runner.push_template))  # type: ignore[attr-defined]
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "promotion.yaml"
        file.write_text(compiled(options, defaults))
        push = runner.push_template  # type: ignore[attr-defined]
        print(_patiently(runner, options, lambda: push(str(file), ["latest", *tag])))


def with_texts(parameters: Parameters) -> Parameters:
    """A gate or a workload in a file becomes its text, so that the run records what judged it and
    what was sent, and steps elsewhere can read it.
    """
    files = {
        field: Path(value)
        for field in ("gate", "workload")
        if "\n" not in (value := getattr(parameters, field))
    }
    return parameters.model_copy(
        update={field: path.read_text() for field, path in files.items() if path.is_file()}
    )


def _patiently(runner: CloudRunner, options: CloudOptions, call):
    from greenlight.pipelines.runners.follow import Patience, patiently

    return patiently(runner, call, Patience(first=options.poll_seconds / 10, total=120), _say)


def _same_cloud(options: CloudOptions) -> str:
    """The options by which another command finds the same run."""
    if options.runner == "vertex":
        return f"--runner vertex --project {options.project} --region {options.region}"
    return f"--runner {options.runner} --kfp-host {options.kfp_host}"


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _need_vertex() -> None:
    """Without importing it: that takes seconds."""
    require("vertex", "Runner vertex", "google.cloud.aiplatform_v1")
