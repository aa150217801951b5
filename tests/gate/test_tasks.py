"""The drop in task accuracy as an objective: judged from the items that changed, which must be
those that the record counts.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import optimize, stats

from greenlight.core.records import Evaluation, ObjectiveResult
from greenlight.evaluate.answers import Answered, compare_answers, write_both
from greenlight.gate.calibration import keep_calibratable
from greenlight.gate.judge import judge, judge_quality
from greenlight.gate.measurements import Samples
from greenlight.gate.objectives import Gate, load_gate
from greenlight.gate.power import can_be_planned
from greenlight.gate.sentences import explain
from greenlight.gate.verdict import judge_samples
from tests.gate.artifacts import DEPLOYMENT, World, lenient_gate, make_artifacts

ITEMS = 400


def gate(limit: float) -> Gate:
    return load_gate(
        "{name: exam, confidence: 0.95, objectives: [{metric: task_accuracy_drop, max:"
        f" {limit}}}]}}"
    )


def ask(folder: Path, to_wrong: int, to_right: int, items: int = ITEMS) -> None:
    """Give an evaluation two tasks, of which the candidate changed so many answers."""
    before = np.arange(items) % 2 == 0
    after = before.copy()
    after[np.flatnonzero(before)[:to_wrong]] = False
    after[np.flatnonzero(~before)[:to_right]] = True
    baseline, candidate = (
        [
            Answered(name, 0, False, [""] * len(part), part.tolist())
            for name, part in zip("ab", np.split(each, [items // 4]), strict=True)
        ]
        for each in (before, after)
    )
    write_both(baseline, candidate, folder)
    record = Evaluation.load(folder)
    record.model_copy(update={"tasks": compare_answers(baseline, candidate)}).save(folder)


def judged(folder: Path, limit: float) -> ObjectiveResult:
    (result,) = judge_quality(folder, gate(limit))
    return result


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    return make_artifacts(tmp_path, World())[0]


def score_bound(more: int, less: int, items: int, reach: float) -> float:
    """The difference that lies `reach` standard errors above the one seen, with the variance of the
    most likely shares that have this difference.
    """
    shares = np.linspace(1e-6, 0.4, 40_001)

    def distance(difference: float) -> float:
        with np.errstate(invalid="ignore", divide="ignore"):
            likelihood = (
                more * np.log(shares + difference)
                + less * np.log(shares)
                + (items - more - less) * np.log(1 - 2 * shares - difference)
            )
        back = shares[np.nanargmax(likelihood)]
        return (items * difference - more + less) / np.sqrt(
            items * (2 * back + difference - difference**2)
        ) - reach

    return float(optimize.brentq(distance, (more - less) / items, 0.3, xtol=1e-6))


def test_its_bound_is_judged(evaluation: Path) -> None:
    ask(evaluation, 12, 4)
    passed, failed, close = (
        judged(evaluation, 0.05),
        judged(evaluation, 0.001),
        judged(evaluation, 0.03),
    )
    assert (passed.status, failed.status, close.status) == ("pass", "fail", "inconclusive")
    assert passed.estimate == pytest.approx(8 / ITEMS)
    assert passed.bound == pytest.approx(
        score_bound(12, 4, ITEMS, float(stats.t.ppf(0.95, ITEMS - 1))), abs=1e-4
    )
    assert passed.reason.startswith("drop in task accuracy is 2.00%; at 95% confidence at most 3.")
    assert passed.comparison == "<= 5.00%" and passed.unit == ""


def test_no_flip_still_leaves_room_for_some(evaluation: Path) -> None:
    ask(evaluation, 0, 0)
    result = judged(evaluation, 0.01)
    assert (
        result.status == "pass"
        and result.estimate == 0
        and result.bound == pytest.approx(2.7 / ITEMS, abs=0.0005)
    )
    ask(evaluation, 0, 0, 100)
    assert judged(evaluation, 0.01).status == "inconclusive"


def test_more_right_than_before_passes(evaluation: Path) -> None:
    ask(evaluation, 3, 30)
    assert judged(evaluation, 0.0).status == "pass"


def test_the_bound_covers_the_truth() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(1000):
        flips = random.choice([1.0, -1.0, 0.0], size=200, p=[0.06, 0.03, 0.91])
        (result,) = judge_samples(Samples(flips=flips), gate(0.05)).objectives
        covered += result.bound is not None and result.bound >= 0.03
    assert 0.935 <= covered / 1000 <= 0.975


def test_without_tasks_there_is_no_evidence_and_no_flaw(tmp_path: Path) -> None:
    evaluation, benchmark = make_artifacts(tmp_path, World())
    result = judged(evaluation, 0.05)
    assert (
        result.status == "inconclusive"
        and "was asked no tasks; name some by the parameter tasks" in result.reason
    )
    # a gate that asks for none does not miss them
    assert judge(evaluation, benchmark, DEPLOYMENT, lenient_gate()).verdict == "promote"
    ask(evaluation, 1, 0, 12)
    assert "12 items are too few" in judged(evaluation, 0.5).reason


def test_answers_that_are_not_those_of_the_record_are_no_evidence(tmp_path: Path) -> None:
    evaluation, benchmark = make_artifacts(tmp_path, World())
    ask(evaluation, 12, 4)
    table = pq.read_table(evaluation / "tasks.parquet").to_pydict()
    more = {
        name: [*values, {"task": "c", "item": 0}.get(name, True)] for name, values in table.items()
    }
    for changed, why in (
        (
            table | {"candidate": table["baseline"]},
            "holds 100 items of a with 0 and 0 flips, its record says",
        ),
        ({name: values[1:] for name, values in table.items()}, "holds 99 items of a"),
        (more, "items of tasks that its record does not name"),
        (table | {"candidate": [0.5] * ITEMS}, "neither right nor wrong"),
        (
            {name: table[name] for name in ("task", "item", "baseline")},
            "the column candidate is missing",
        ),
    ):
        pq.write_table(pa.table(changed), evaluation / "tasks.parquet")
        result = judged(evaluation, 0.05)
        assert result.status == "inconclusive" and why in result.reason
    (evaluation / "tasks.parquet").unlink()
    assert "tasks.parquet is missing" in judged(evaluation, 0.05).reason
    # something of the evaluation is wrong
    assert judge(evaluation, benchmark, DEPLOYMENT, lenient_gate()).verdict == "inconclusive"


def test_it_is_a_matter_of_quality() -> None:
    (objective,) = gate(0.01).objectives
    assert not can_be_planned(objective)
    both = load_gate(
        "{name: both, confidence: 0.95, objectives: [{metric: task_accuracy_drop, max: 0.01},"
        " {metric: error_rate, scope: vs_live, max: 0.01}]}"
    )
    assert [each.metric for each in keep_calibratable(both).objectives] == ["error_rate"]
    (line,) = [line for line in explain(gate(0.01)) if line.startswith("drop in task accuracy:")]
    assert (
        "passes when, with 95% confidence, the candidate's drop in task accuracy is at most 1.00%"
        in line
    )
    assert line.endswith("Measured on the items of the evaluation's tasks.")
