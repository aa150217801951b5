"""What ends a forked step reaches who waits for it."""

import os
import time

import pytest

from greenlight.core.errors import GreenlightError, InputError
from tests.model_matrix.forked import LateError, in_child


def refuse() -> None:
    raise InputError("method", "bnb:4", "use another")


def fail() -> None:
    raise GreenlightError("the disk is full")


def test_a_result_and_what_was_raised_come_back() -> None:
    assert in_child(divmod, 7, 2) == (3, 1)
    with pytest.raises(InputError) as refused:
        in_child(refuse)
    assert refused.value.fix == "use another"
    with pytest.raises(GreenlightError, match="the disk is full"):
        in_child(fail)
    with pytest.raises(LateError, match="ZeroDivisionError"):
        in_child(divmod, 1, 0)


def test_one_that_dies_or_hangs_is_seen() -> None:
    with pytest.raises(LateError, match="died"):
        in_child(os._exit, 0)
    with pytest.raises(LateError, match="not done after 1 s"):
        in_child(time.sleep, 60, seconds=1)
