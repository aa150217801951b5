"""Numbers as people read them."""

import math

import pytest

from greenlight.core import formats

NBSP = formats.NBSP


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (0, "0"),
        (0.0031, "0.0031"),
        (7.798e-05, "0.00007798"),
        (3e-9, "3.0e-09"),
        (46.7, "46.7"),
        (2410.4, "2,410"),
        (1_234_567.8, "1,234,568"),
        (-0.25, "-0.25"),
        (100, "100"),
        (0.99996, "1"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0008, "0.8 ms"),
        (0.0123, "12.3 ms"),
        (0.9999, "1 s"),
        (1, "1 s"),
        (66.996, "67 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (math.inf, "∞"),
        (None, "–"),
        (179.7, "3 min 0 s"),
        (3599.8, "1 h 0 min"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert formats.duration(seconds).replace(NBSP, " ") == text


def test_size_and_change() -> None:
    assert formats.size(4_300_000) == f"4.3{NBSP}MB"
    assert formats.size(999) == f"999{NBSP}B"
    assert formats.size(3.2e15) == f"3,200{NBSP}TB"
    assert formats.change(1.1, 1.0) == "+10.0%"
    assert formats.change(1.0002, 1.0) == "no change"
    assert formats.change(1.0, 0.0) == "–"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.31, "x live", "0.31 × live"),
        (1.0004, "x", "1.0004 ×"),
        (0.018, "points", "+1.80 points"),
        (0.978, "share", "97.80%"),
        (0.0123, "s", "12.3 ms"),
        (0.003, "nats", "0.003 nats"),
        (None, "s", "–"),
        (5.0, "", "5"),
    ],
)
def test_quantity(value: float | None, unit: str, text: str) -> None:
    assert formats.quantity(value, unit).replace(NBSP, " ") == text
