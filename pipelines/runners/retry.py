"""Calls to a cloud, made again while it is unavailable."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from greenlight.pipelines.runners.interface import CloudRunner, UnavailableError

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How calls to a cloud that is unavailable are made again. The wait doubles after each failed
    call.

    Attributes:
        first_wait: seconds before the first retry.
        longest_wait: the longest wait between two calls, in seconds.
        give_up_after: seconds of waiting, all waits together, after which a failed call is not
            made again.
    """

    first_wait: float = 1.0
    longest_wait: float = 60.0
    give_up_after: float = 3600.0


def call_with_retry(
    runner: CloudRunner, call: Callable[[], T], policy: RetryPolicy, say: Callable[[str], None]
) -> T:
    """The result of a call, made again with a new sign-in while the cloud is unavailable.

    Args:
        say: gets a line for each failed call.

    Raises:
        UnavailableError: the cloud was unavailable for longer than the policy allows.
    """
    import tenacity

    def before_retry(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        say(f"{error}; trying again in {state.upcoming_sleep:g} s")
        runner.reconnect()

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(UnavailableError),
        wait=tenacity.wait_exponential(policy.first_wait, policy.longest_wait),
        stop=lambda state: state.idle_for >= policy.give_up_after,
        before_sleep=before_retry,
        reraise=True,
    )
    return retrying(call)
