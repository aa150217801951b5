"""The wait with a deadline and lines of progress."""

import time
from collections.abc import Callable

import pytest

from greenlight.core import waiting
from greenlight.core.waiting import Interval, report_meanwhile, wait_for


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(waiting, "time", made)
    return made


def after(seconds: float) -> Callable[[float], str | None]:
    return lambda elapsed: f"found after {elapsed:g}" if elapsed >= seconds else None


def test_it_returns_what_it_finds_and_reports_on_the_way(clock: Clock) -> None:
    reports: list[float] = []
    found = wait_for(after(5), seconds=60, interval=0.5, report=reports.append, report_interval=2)
    assert found == "found after 5" and reports == [2, 4]


def test_it_gives_up_in_time(clock: Clock) -> None:
    assert wait_for(after(60), seconds=3, interval=1) is None
    assert clock.now == 103


def test_it_looks_once_at_least(clock: Clock) -> None:
    assert wait_for(lambda elapsed: "there", seconds=0, interval=1) == "there"
    assert clock.now == 100


def test_what_is_false_is_found_all_the_same(clock: Clock) -> None:
    assert wait_for(lambda elapsed: 0, seconds=10, interval=1) == 0
    assert clock.now == 100


def test_an_error_ends_the_wait() -> None:
    def fail(elapsed: float) -> None:
        raise RuntimeError("gone")

    began = time.monotonic()
    with pytest.raises(RuntimeError, match="gone"):
        wait_for(fail, seconds=60, interval=1)
    assert time.monotonic() - began < 1


def test_an_interval_begins_anew(clock: Clock) -> None:
    interval = Interval(2)
    over = []
    for _ in range(7):
        over.append(interval.is_over())
        clock.sleep(1)
    assert over == [False, False, True, False, True, False, True]


def test_reports_meanwhile_from_a_thread() -> None:
    said = list[float]()
    with report_meanwhile(said.append, 0.02):
        time.sleep(0.2)
    count = len(said)
    assert count >= 2 and said == sorted(said)
    time.sleep(0.05)
    assert len(said) == count
