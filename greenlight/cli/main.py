"""The `greenlight` command."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from greenlight.cli import (
    cloud_commands,
    cost_command,
    gate_commands,
    history_commands,
    inspect_command,
    schedule_commands,
    service_commands,
    step_commands,
    template_command,
)
from greenlight.cli.cloud_commands import EXIT_INTERRUPTED, OutcomeJsonOption
from greenlight.cli.options import HistoryOptions, takes
from greenlight.core.errors import GreenlightError, InputError
from greenlight.pipelines.runners.open_cloud import compile_pipeline
from greenlight.pipelines.runners.settings import CloudOptions, check_runner
from greenlight.pipelines.start import new_run_id, prepare_here, read_files
from greenlight.resolve.parameters import Parameters
from greenlight.version import VERSION

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Quantize a model, deploy it green beside the live blue, benchmark the two against each"
        " other, and move the traffic only when a statistical gate says so.\n\n"
        "Exit codes: 0 promoted, held or up to date; 1 failure; 2 bad input; 3 rejected,"
        " inconclusive or rolled back."
    ),
)


def main() -> None:
    """Run the command. Every GreenlightError is one line on stderr and an exit code."""
    try:
        app()
    except GreenlightError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on from here", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None


def _print_version(asked: bool) -> None:
    if asked:
        print(f"greenlight {VERSION}")
        raise typer.Exit


@app.callback()
def greenlight(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version of the package and exit.",
        ),
    ] = False,
) -> None:
    """The options that stand before any command."""


@app.command()
@takes(
    Parameters,
    CloudOptions,
    from_environment=(CloudOptions,),
)
def run(
    values: Parameters,
    options: CloudOptions,
    wait: Annotated[
        bool,
        typer.Option(
            "--follow/--no-follow",
            help="Show a run in a cloud until it has ended.",
            rich_help_panel="Where the steps run",
        ),
    ] = True,
    as_json: OutcomeJsonOption = False,
) -> None:
    """Run the whole pipeline: from a model id to moved traffic.

    After a kill or an interruption, run the same command again: finished downloads, quantizations
    and evaluations are reused, and the rollout is repeated safely.
    """
    from greenlight.cli.run_outcome import show_outcome
    from greenlight.pipelines.runners.local import LocalRunner

    if check_runner(options.runner) != "local":
        raise SystemExit(cloud_commands.run_in_cloud(values, options, wait, as_json))
    parameters = prepare_here(values)
    console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False)
    run_id = new_run_id()
    runner = LocalRunner(Path(parameters.home))
    console.print(
        f"run {run_id}: {parameters.model}, {parameters.recipe_names}, target {parameters.target}",
        soft_wrap=True,
    )
    for line in _forecast_gate(parameters):
        console.print(f"warning: {line}", style="yellow", markup=False, soft_wrap=True)

    from greenlight.cli.run_progress import RunProgress

    with RunProgress(console).show() as progress:
        runner.run(parameters, run_id, progress)
    log = runner.log_path(run_id)
    raise SystemExit(show_outcome(console, parameters.history, run_id, log, as_json))


def _forecast_gate(parameters: Parameters) -> list[str]:
    """What the gate cannot show of an equal model, at the service's own noise where it was
    calibrated.
    """
    from greenlight.core.history import load_calibration
    from greenlight.gate.objectives import load_gate
    from greenlight.gate.sentences import forecast

    return forecast(
        load_gate(parameters.gate), load_calibration(parameters.history, parameters.service)
    )


@app.command("compile")
@takes(Parameters, CloudOptions, from_environment=(CloudOptions,))
def compile_command(
    values: Parameters,
    options: CloudOptions,
    output: Annotated[Path, typer.Argument(help="File that the YAML is written to.")] = Path(
        "promotion.yaml"
    ),
) -> None:
    """Compile the pipeline to YAML, the file that the runner runs.

    For a cloud, the parameters given here become the defaults of the pipeline.
    """
    if options.runner != "local":
        values.check_values()
    spec = compile_pipeline(options, read_files(values))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(spec)
    print(output)


@app.command()
@takes(HistoryOptions)
def report(
    options: HistoryOptions,
    run_id: Annotated[
        str, typer.Argument(metavar="RUN", help="Id of the run. Empty: the newest run.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            help=(
                "File that the HTML is written to. Default: beside the run's records, or in the"
                " current folder where those are in a bucket."
            )
        ),
    ] = None,
) -> None:
    """Write the report of a run again from its records, and print its path."""
    from greenlight.core import history as runs
    from greenlight.core import storage
    from greenlight.report.write import write_report

    history = options.place
    run_id = run_id or next(iter(runs.runs(history)), "")
    if not run_id:
        raise InputError(
            "home",
            str(options.home),
            "name a folder that holds runs; `greenlight run` makes the first",
        )
    path = output or (
        Path(f"report-{run_id}.html")
        if storage.is_remote(history)
        else Path(history) / run_id / "report.html"
    )
    write_report(history, run_id, path, None)
    print(path)


service_commands.register(app)
step_commands.register(app)
cloud_commands.register(app)
cost_command.register(app)
inspect_command.register(app)
history_commands.register(app)
app.add_typer(gate_commands.app)
app.add_typer(schedule_commands.app, rich_help_panel="In a cloud")
app.add_typer(template_command.app, rich_help_panel="In a cloud")


if __name__ == "__main__":
    main()
