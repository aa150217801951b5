"""A run, from its parameters to its outcome: what `greenlight run` and `greenlight.run` share."""

import contextlib
import os
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path

from greenlight.core.step import StepEvent
from greenlight.pipelines.outcome import Outcome
from greenlight.pipelines.runners.interface import Listener
from greenlight.pipelines.runners.local import LocalRunner, check_libraries
from greenlight.resolve.parameters import Parameters

PATHS = ("model", "calibration", "prompts", "text")
"""Parameters that may name a local file or folder."""


def new_run_id() -> str:
    """The time to the second, then four random hexadecimal digits: 20261201-093000-4f2a."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"


def prepare_here(parameters: Parameters) -> Parameters:
    """The parameters of a run on this machine: checked, with absolute paths and with the texts of
    their files.

    Raises:
        InputError: a value is unusable. Nothing has been downloaded or deployed.
        GreenlightError: this machine lacks a library or the hardware that the method needs.
    """
    check_libraries()
    prepared = with_absolute_paths(parameters)
    prepared.check()
    prepared.check_here()
    return read_files(prepared)


def with_absolute_paths(parameters: Parameters) -> Parameters:
    """The parameters with absolute local paths, since steps and later commands run in other
    folders.
    """
    home = Path(parameters.home).absolute()
    history = parameters.history
    if history == Parameters.model_fields["history"].default:
        history = str(home / "history")
    changes = {
        "home": str(home),
        "history": history if history.startswith("gs://") else str(Path(history).absolute()),
    }
    for field in PATHS:
        value = getattr(parameters, field)
        if Path(value).exists():
            changes[field] = str(Path(value).absolute())
    return parameters.model_copy(update=changes)


def read_files(parameters: Parameters) -> Parameters:
    """The parameters with the text of a gate or workload file in place of its path, so that the
    run records what judged it and what was sent, and steps elsewhere can read it.
    """
    files = {
        field: Path(value)
        for field in ("gate", "workload")
        if "\n" not in (value := getattr(parameters, field))
    }
    return parameters.model_copy(
        update={field: path.read_text() for field, path in files.items() if path.is_file()}
    )


def run_here(parameters: Parameters, listener: Listener | None = None) -> Outcome:
    """Run the pipeline on this machine to its end.

    Args:
        listener: called with each event of a step, as it happens.

    Raises:
        InputError: a parameter is unusable. Nothing has been downloaded or deployed.
        GreenlightError: this machine lacks a library or the hardware that the method needs.
    """
    prepared, run_id = prepare_here(parameters), new_run_id()
    runner = LocalRunner(Path(prepared.home))
    stdout, listen = sys.stdout, listener or ignore_event

    def call_listener(event: StepEvent) -> None:
        with contextlib.redirect_stdout(stdout):  # the runner sends what is printed to the log
            listen(event)

    with warnings.catch_warnings():  # the runner silences those of kfp; the caller's come back
        runner.run(prepared, run_id, call_listener)
    return Outcome.load(prepared.history, run_id, str(runner.log_path(run_id)))


def ignore_event(event: StepEvent) -> None:
    """The listener of a caller that wants no events."""
