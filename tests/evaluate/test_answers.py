"""Item by item: counts, flips, and files that are refused when they are not those of their
record.
"""

import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from greenlight.core.errors import IntegrityError
from greenlight.evaluate.answers import (
    ANSWERS_FILE,
    Answered,
    compare_answers,
    read_answers,
    standard_error,
    write_answers,
    write_both,
)


def answered(name: str, right: str, chat: bool = False) -> Answered:
    """`right`: an x for each item that was."""
    return Answered(
        name,
        2,
        chat,
        [f"{name}-{number}" for number in range(len(right))],
        [each == "x" for each in right],
    )


BASELINE = [answered("a", "xxxx...."), answered("b", "x.")]


def test_flips_are_counted_each_way() -> None:
    candidate = [answered("a", "x..xxx.x"), answered("b", "x.")]
    first, second = compare_answers(BASELINE, candidate)
    assert (first.items, first.accuracy, first.baseline_accuracy) == (8, 5 / 8, 4 / 8)
    assert (first.right_to_wrong, first.wrong_to_right) == (2, 3)
    assert (
        first.accuracy - first.baseline_accuracy
        == (first.wrong_to_right - first.right_to_wrong) / first.items
    )
    assert (first.few_shot, first.chat_template, first.metric) == (2, False, "acc")
    assert (second.right_to_wrong, second.wrong_to_right) == (0, 0)


def test_the_standard_error_is_that_of_a_mean() -> None:
    values = [1, 1, 1, 0, 0]
    mean = sum(values) / 5
    assert standard_error(mean, 5) == pytest.approx(
        math.sqrt(sum((value - mean) ** 2 for value in values) / 4 / 5)
    )
    assert standard_error(1.0, 5) == 0
    assert standard_error(1.0, 1) == math.inf


def test_answers_to_other_questions_are_not_compared() -> None:
    other = Answered("a", 2, False, ["a-0", *["?"] * 7], [True] * 8)
    with pytest.raises(IntegrityError, match="asked other items of a than its baseline"):
        compare_answers(BASELINE, [other, BASELINE[1]])


def test_files_hold_a_row_an_item(tmp_path: Path) -> None:
    write_answers(BASELINE, tmp_path)
    scores = [each.score() for each in BASELINE]
    assert read_answers(tmp_path, scores) == BASELINE
    write_both(BASELINE, [answered("a", "x......."), answered("b", "xx")], tmp_path / "both")
    table = pq.read_table(tmp_path / "both" / ANSWERS_FILE)
    assert table.column_names == ["task", "item", "baseline", "candidate"]
    assert table.slice(8).to_pylist() == [
        {"task": "b", "item": 0, "baseline": True, "candidate": True},
        {"task": "b", "item": 1, "baseline": False, "candidate": True},
    ]


def test_answers_that_are_not_those_of_the_record_are_refused(tmp_path: Path) -> None:
    scores = [each.score() for each in BASELINE]
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_answers(tmp_path, scores)
    write_answers([answered("a", "xxx....."), BASELINE[1]], tmp_path)
    with pytest.raises(IntegrityError, match="does not hold the answers that its record counts"):
        read_answers(tmp_path, scores)
    write_answers(BASELINE[:1], tmp_path)
    with pytest.raises(IntegrityError):
        read_answers(tmp_path, scores)
