"""The one wait of this project: look again and again, say how it goes, give up in time."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

PROGRESS_SECONDS = 2.0
"""Between two lines about a wait, where nobody asks for another interval."""

Result = TypeVar("Result")


def wait_for(
    look: Callable[[float], Result | None],
    *,
    seconds: float,
    interval: float,
    report: Callable[[float], None] = lambda elapsed: None,
    report_interval: float = PROGRESS_SECONDS,
) -> Result | None:
    """Call `look` until it finds something; returns that, or None when the time is up.

    It looks once at least. Both functions get the seconds since the wait began. What they raise
    ends the wait.

    Args:
        look: returns None for "not yet".
        seconds: time to wait; math.inf waits forever.
        interval: seconds between two looks.
        report: logs how it goes.
        report_interval: seconds between two reports.
    """
    reports = Interval(report_interval)
    began = time.monotonic()
    while True:
        elapsed = time.monotonic() - began
        found = look(elapsed)
        if found is not None:
            return found
        if time.monotonic() - began >= seconds:
            return None
        if reports.is_over():
            report(elapsed)
        time.sleep(interval)


@contextmanager
def report_meanwhile(
    report: Callable[[float], None], interval: float = PROGRESS_SECONDS
) -> Iterator[None]:
    """Call `report` with the seconds so far, from a thread, while something works that says
    nothing itself.
    """
    ended, began = threading.Event(), time.monotonic()

    def work() -> None:
        while not ended.wait(interval):
            report(time.monotonic() - began)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Interval:
    """A stretch of time that begins anew each time it is found to be over."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._began = seconds, time.monotonic()

    def is_over(self) -> bool:
        now = time.monotonic()
        if now - self._began < self.seconds:
            return False
        self._began = now
        return True
