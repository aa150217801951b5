"""A run in a cloud, from its parameters to its outcome: what `greenlight run --runner …` and
`greenlight.run(cloud=…)` share.
"""

import logging
from collections.abc import Callable

from greenlight.core.history import load_run
from greenlight.pipelines.outcome import Outcome, exit_code_of
from greenlight.pipelines.runners.follow import follow
from greenlight.pipelines.runners.interface import (
    CloudRun,
    CloudRunner,
    Listener,
    UnavailableError,
)
from greenlight.pipelines.runners.open_cloud import open_runner
from greenlight.pipelines.runners.retry import RetryPolicy, call_with_retry
from greenlight.pipelines.runners.settings import CloudOptions
from greenlight.pipelines.start import ignore_event, new_run_id, read_files
from greenlight.resolve.parameters import Parameters

log = logging.getLogger("greenlight")


def submit_run(
    parameters: Parameters, options: CloudOptions, say: Callable[[str], None] = log.warning
) -> tuple[CloudRunner, str]:
    """Check the parameters and submit a run. Returns the runner, and the run's id in that cloud.

    Args:
        say: called with what a person should know meanwhile, such as a retry.

    Raises:
        InputError: a parameter or an option is unusable. Nothing has been sent.
        UnavailableError: the cloud was not reached. The run may have started all the same.
    """
    parameters.check_for_cloud()
    parameters = read_files(parameters)
    runner = open_runner(options, parameters)
    wanted = f"promotion-{new_run_id()}"
    try:
        run_id = call_with_retry(
            runner,
            lambda: runner.submit(parameters, wanted),
            RetryPolicy(first_wait=options.poll_seconds / 10),
            say,
        )
    except (UnavailableError, KeyboardInterrupt):
        say(
            f"whether {wanted} was started is not known; look for it in the cloud's console before"
            " you start another"
        )
        raise
    return runner, run_id


def follow_run(
    runner: CloudRunner,
    run_id: str,
    options: CloudOptions,
    listener: Listener | None = None,
    say: Callable[[str], None] = log.warning,
) -> CloudRun:
    """Wait until a run has ended. Returns it as the cloud knows it then.

    Raises:
        InputError: there is no such run.
        UnavailableError: the cloud stayed unavailable. The run goes on.
    """
    retries = RetryPolicy(first_wait=options.poll_seconds / 10)
    return follow(runner, run_id, listener or ignore_event, retries, options.poll_seconds, say)


def cloud_exit_code(run: CloudRun) -> int:
    """The exit code of a run that has ended: that of a local run with the same records, and never
    0 where the cloud says that it did not succeed.
    """
    code = exit_code_of(load_run(run.history, run.run_id)) if run.history else 1
    return code if run.state == "succeeded" else code or 1


def run_in_cloud(
    parameters: Parameters, options: CloudOptions, follows: bool, listener: Listener | None = None
) -> Outcome:
    """Submit a run, and with `follows` wait for its end. Raises what `submit_run` and `follow_run`
    raise.
    """
    runner, run_id = submit_run(parameters, options)
    if follows:
        return wait_for_run(runner, run_id, options, listener)
    history = parameters.history
    return Outcome(run_id, history, runner.link(run_id), load_run(history, run_id), None)


def wait_for_run(
    runner: CloudRunner, run_id: str, options: CloudOptions, listener: Listener | None = None
) -> Outcome:
    """The outcome of a run in a cloud, once it has ended. Raises what `follow_run` raises."""
    run = follow_run(runner, run_id, options, listener)
    records = load_run(run.history, run.run_id)
    return Outcome(run.run_id, run.history, runner.link(run_id), records, cloud_exit_code(run))
