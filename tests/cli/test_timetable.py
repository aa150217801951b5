"""Cron expressions and times of a schedule, checked before anything is sent."""

import pytest

from greenlight.cli.timetable import check_cron, read_timetable
from greenlight.core.errors import InputError


@pytest.mark.parametrize(
    "cron",
    [
        "0 3 * * 1",
        "*/15 * * * *",
        "0 8-18/2 * * mon-fri",
        "5,35 0 1 jan *",
        "TZ=Europe/Zurich 0 3 * * 1",
        "CRON_TZ=America/New_York 0 3 * * *",
    ],
)
def test_cron(cron: str) -> None:
    check_cron(cron)


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "daily",
        "0 3 * *",
        "0 0 3 * * 1",
        "60 3 * * *",
        "0 24 * * *",
        "0 3 0 * *",
        "0 3 * 13 *",
        "0 3 * * 8",
        "0 5-3 * * *",
        "*/0 * * * *",
        "TZ=Mars/X 0 3 * * *",
    ],
)
def test_bad_cron_is_refused(cron: str) -> None:
    with pytest.raises(InputError, match="cron: "):
        check_cron(cron)


@pytest.mark.parametrize(
    ("times", "field"),
    [
        ((0, "", ""), "max_concurrent_runs"),
        ((1, "tomorrow", ""), "start"),
        ((1, "2127-01-02", "2127-01-01"), "end"),
        ((1, "", "2020-01-01"), "end"),
    ],
)
def test_bad_times_are_refused(times: tuple[int, str, str], field: str) -> None:
    with pytest.raises(InputError, match=f"{field}: "):
        read_timetable("0 3 * * *", *times)


def test_a_time_without_a_zone_is_utc() -> None:
    start = read_timetable("0 3 * * *", 1, "2127-01-01T03:00", "").start
    assert str(start) == "2127-01-01 03:00:00+00:00"
