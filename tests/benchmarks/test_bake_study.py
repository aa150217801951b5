"""The study of the bake on a few simulated switches: that it ends with its line, judges as the step
does, and that its worlds are what they say.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bake_study import __main__ as study
from benchmarks.gate_study.worlds import Noise
from greenlight.gate.objectives import Bake, load_gate
from greenlight.rollout.probes import STABLE_EVERY
from greenlight.stats.confidence_sequence import Comparison, too_many_errors

QUIET = study.Cell(Noise("log-normal", 0.0, "none"), failing=0.0)


def test_it_ends_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "DAY_S", 300)
    study.main(days=1, runs=2, table=tmp_path / "table.md")
    numbers = json.loads(capsys.readouterr().out.splitlines()[-1].removeprefix("BENCH "))
    assert (numbers["cells"], numbers["days_per_cell"], numbers["runs_per_cell"]) == (
        len(study.CELLS),
        1,
        2,
    )
    assert 0 <= numbers["bake_false_alarms_a_day_max"] <= 1 and numbers["bake_caught_p95_s"] > 0
    assert all(f"| {cell.name} |" in (tmp_path / "table.md").read_text() for cell in study.CELLS)


def test_the_line_has_the_worst_of_the_cells() -> None:
    slow = study.Found(QUIET, 10, 0, np.array([20.0, 30.0, 40.0]))
    never = study.Found(replace(QUIET, waits=0.5), 10, 1, np.array([20.0, math.inf, math.inf]))
    numbers = json.loads(study.bench_line([slow, never]).removeprefix("BENCH "))
    assert (
        numbers["bake_false_alarms_a_day_max"],
        numbers["bake_caught_median_s"],
        numbers["bake_caught_p95_s"],
    ) == (0.1, 30.0, 40.0)
    assert numbers["bake_caught_heavy_p95_s"] is None and "later" in never.row


@pytest.mark.parametrize("failing", [0.0, 0.1])
def test_it_judges_pair_by_pair_as_the_step_does(failing: float) -> None:
    bake, cell = Bake(max_errors=3, max_slower=1.08), replace(QUIET, failing=failing)
    ratios = study.log_ratios(np.random.default_rng(1), cell, 200, traffic_on_new=True, slower=1.2)
    comparison = Comparison(1.08, bake.confidence, bake.largest_ratio)
    pairs = total = squares = failed = control = 0.0
    expected = []
    for number, ratio in enumerate(ratios):
        failed, control = failed + (ratio == math.inf), control + (ratio == -math.inf)
        if math.isinf(ratio) or (number % STABLE_EVERY and not math.isnan(ratio)):
            score = float(comparison.score(ratio))
            pairs, total, squares = pairs + 1, total + score, squares + score**2
        slower = bool(pairs) and comparison.bound(pairs, total, squares) > 1.08
        expected.append(slower or too_many_errors(failed, control, 3))
    assert expected == study.rolled_back(comparison, bake, ratios).tolist()
    assert any(expected) and not expected[0]


def test_a_slower_model_is_and_errors_fail_as_often_as_they_say() -> None:
    ratios = study.log_ratios(
        np.random.default_rng(2),
        replace(QUIET, failing=0.02),
        20_000,
        traffic_on_new=True,
        slower=1.3,
    )
    assert np.median(ratios[np.isfinite(ratios)]) == pytest.approx(math.log(1.3), abs=0.01)
    assert np.isposinf(ratios).mean() == pytest.approx(0.02 * 0.98, abs=0.004)
    assert np.isneginf(ratios).mean() == pytest.approx(0.02 * 0.98, abs=0.004)


def test_the_color_that_has_the_traffic_waits() -> None:
    waiting = replace(QUIET, waits=0.5)
    after, before = (
        np.median(study.log_ratios(np.random.default_rng(3), waiting, 20_000, traffic_on_new=new))
        for new in (True, False)
    )
    assert after == pytest.approx(-before, abs=0.01) and after > 0.2


@pytest.mark.parametrize("disturbed", ["none", "AR(1)", "step", "bursts"])
def test_what_disturbs_hits_both_colors(disturbed: str) -> None:
    """An hour of an equal model is not rolled back, one that turns 1.3 times slower is within two
    minutes.
    """
    cell, bake = study.Cell(Noise("gamma", 0.01, disturbed)), load_gate("default").bake
    assert study.seconds_until(np.random.default_rng(4), cell, bake, 3600) == math.inf
    assert study.seconds_until(np.random.default_rng(5), cell, bake, 600, slower=1.3) < 120
