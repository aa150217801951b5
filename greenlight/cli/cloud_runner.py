"""The cloud that a command talks to: called with retries, and found again by the next command."""

import sys
from collections.abc import Callable
from typing import TypeVar

from greenlight.pipelines.runners.interface import CloudRunner
from greenlight.pipelines.runners.settings import CloudOptions

T = TypeVar("T")

CALL_SECONDS = 120
"""How long one short call, such as a pause of a schedule, is retried."""


def call_with_retries(runner: CloudRunner, options: CloudOptions, call: Callable[[], T]) -> T:
    """The result of one short call, retried while the cloud is unavailable.

    Raises:
        UnavailableError: the cloud stayed unavailable for CALL_SECONDS.
    """
    from greenlight.pipelines.runners.retry import RetryPolicy, call_with_retry

    retries = RetryPolicy(first_wait=options.poll_seconds / 10, give_up_after=CALL_SECONDS)
    return call_with_retry(runner, call, retries, print_progress)


def options_of_same_cloud(options: CloudOptions) -> str:
    """The options by which another command finds the same run."""
    if options.runner == "vertex":
        return f"--runner vertex --project {options.project} --region {options.region}"
    return f"--runner {options.runner} --kfp-host {options.kfp_host}"


def print_progress(message: str) -> None:
    """On stderr, since results go to stdout."""
    print(message, file=sys.stderr, flush=True)
