"""When a schedule starts runs: a cron expression and its bounds, read from the command line and
checked.
"""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from greenlight.core.errors import InputError
from greenlight.pipelines.runners.interface import Timetable

FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 7),
)
NAMES = {
    name: number
    for names in (
        ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
        ["-", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    )
    for number, name in enumerate(names)
}
EXAMPLE = 'write five fields, such as "0 3 * * 1" for Mondays at 3'


def read_timetable(cron: str, max_concurrent_runs: int, start: str, end: str) -> Timetable:
    """The timetable that the options describe.

    Raises:
        InputError: names the option that is wrong, its value and the fix.
    """
    check_cron(cron)
    if max_concurrent_runs < 1:
        raise InputError(
            "max_concurrent_runs",
            max_concurrent_runs,
            "use 1 or more; only one run can roll out a service at a time",
        )
    first, last = _read_time("start", start), _read_time("end", end)
    if last and last <= max(first or last.min.replace(tzinfo=UTC), datetime.now(UTC)):
        raise InputError("end", end, "is before the schedule begins; give a later time, or none")
    return Timetable(cron=cron, max_concurrent_runs=max_concurrent_runs, start=first, end=last)


def check_cron(cron: str) -> None:
    """Raises InputError: `cron` is no cron expression of five fields, each within its range."""
    *zone, text = (
        re.split(r"^(?:CRON_)?TZ=(\S+)\s+", cron)
        if cron.startswith(("TZ=", "CRON_TZ="))
        else [cron]
    )
    try:
        for name in filter(None, zone):
            ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise InputError(
            "cron", cron, "there is no such time zone; write one such as TZ=Europe/Zurich"
        ) from None
    values = text.split()
    if len(values) != len(FIELDS):
        raise InputError("cron", cron, EXAMPLE)
    for value, (name, low, high) in zip(values, FIELDS, strict=True):
        for part in value.split(","):
            if not _fits(part, low, high):
                fix = f"{part!r} is not a {name}, {low} to {high}; {EXAMPLE}"
                raise InputError("cron", cron, fix)


def _fits(part: str, low: int, high: int) -> bool:
    """Whether a part of a field is `*`, a number, a name or a range, perhaps with a step, and lies
    from `low` to `high`.
    """
    match = re.fullmatch(r"(?:\*|(\w+)(?:-(\w+))?)(?:/([1-9]\d*))?", part)
    if not match:
        return False
    ends = [
        int(end) if end.isdecimal() else NAMES.get(end.lower(), -1)
        for end in match.groups()[:2]
        if end
    ]
    return ends == sorted(ends) and all(low <= end <= high for end in ends)


def _read_time(field: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(field, text, "write a time such as 2027-01-31T03:00:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
