"""Numbers as people read them."""

import math

from greenlight.core.records import ObjectiveResult

MISSING = "–"
NBSP = "\u00a0"  # keeps a number and its unit on one line


def number(value: float | None, digits: int = 4) -> str:
    """Significant digits without trailing zeros, thousands separated; without an exponent down to a
    millionth.
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    if abs(value) < 1e-6:
        return f"{value:.1e}"
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(value: float | None, digits: int = 1) -> str:
    """A share, as in 98.7%."""
    return MISSING if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f}%"


def change(now: float, before: float) -> str:
    """How much more or less, as in +12.5%."""
    if before == 0 or not (math.isfinite(now) and math.isfinite(before)):
        return MISSING
    relative = 100 * (now / before - 1)
    return "no change" if abs(relative) < 0.05 else f"{relative:+,.1f}%"


def duration(seconds: float | None) -> str:
    """0.8 ms, 12.3 ms, 4.56 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None or math.isnan(seconds):
        return MISSING
    if math.isinf(seconds):
        return "∞"
    if abs(seconds) < 0.9995:
        return f"{number(seconds * 1e3, 3)}{NBSP}ms"
    if seconds < 100:
        return f"{number(seconds, 3)}{NBSP}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """Bytes in decimal units, as model hubs count them."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{number(count, 3)}{NBSP}{unit}"
        count /= 1000
    return f"{number(count, 3)}{NBSP}TB"


def quantity(value: float | None, unit: str) -> str:
    """A value with its unit: seconds in whatever of ms, s and min suits, shares (unit share) and
    their differences (unit points) in hundredths.
    """
    if value is None:
        return MISSING
    if unit == "s":
        return duration(value)
    if unit == "share":
        return percent(value, 2)
    if unit == "points":
        return f"{100 * value:+.2f}{NBSP}points"
    if unit in ("x", "x live"):
        # plain ratios lie close to 1
        return f"{number(value, 3 if unit == 'x live' else 5)} {unit.replace('x', '×')}".replace(
            " ", NBSP
        )
    return f"{number(value)} {unit}".rstrip().replace(" ", NBSP)


def measured(objective: ObjectiveResult, value: float | None) -> str:
    """A value of an objective, with its unit."""
    share = not objective.unit and objective.comparison.endswith("%")
    return quantity(value, "share" if share else objective.unit)


def short(digest: str, length: int = 12) -> str:
    """The beginning of a digest or commit, enough to tell two apart."""
    return digest.removeprefix("sha256:")[:length] or MISSING
