"""`greenlight runs` and `greenlight compare`: what they print, as text and as JSON, and what they
refuse.
"""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from greenlight.cli.main import app
from greenlight.core.errors import GreenlightError, InputError
from tests.report.made_samples import objective, passing
from tests.report.run_factory import START, RunFactory


@pytest.fixture
def history(tmp_path: Path) -> Path:
    RunFactory(tmp_path, "int8").through("gate").moved()
    error_rate = objective(
        "error rate vs live",
        "error_rate",
        0.1,
        0.15,
        0.03,
        "fail",
        comparison="<= +3.00 points against live",
        unit="points",
    )
    failing = [*passing()[:-1], error_rate]
    other = RunFactory(
        tmp_path, "nf4", began=START + timedelta(days=1), method="bnb", bits=4, objectives=failing
    )
    other.through("benchmark").gate("reject").moved("retired")
    RunFactory(tmp_path, "broken", began=START + timedelta(days=2)).resolve().failed(
        "download", "no such model"
    )
    return tmp_path


def greenlight(history: Path, *args: str) -> Result:
    return CliRunner().invoke(app, [*args, "--history", str(history)])


def test_runs_are_lines_newest_first(history: Path) -> None:
    done = greenlight(history, "runs")
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines() if "2026-11" in line]
    assert [line[0] for line in lines] == ["broken", "nf4", "int8"]
    assert lines[1][3:9] == ["retired", "reject", "8/9", "builtin:tiny", "bnb", "4"]
    assert "promoted" in lines[2] and "9/9" in lines[2] and "5.72\u00a0ms" not in lines[0]


def test_runs_as_json_holds_every_figure(history: Path) -> None:
    shown = json.loads(greenlight(history, "runs", "--json", "--limit", "2").stdout)
    assert [run["run_id"] for run in shown] == ["broken", "nf4"]
    assert shown[1]["figures"]["objective_error_rate_vs_live_bound"] == 0.15
    assert shown[0]["reason"] == "download: no such model"


def test_no_runs(history: Path) -> None:
    done = greenlight(history, "runs", "--service", "other")
    assert isinstance(done.exception, GreenlightError) and "no run of other in" in str(
        done.exception
    )
    assert json.loads(greenlight(history, "runs", "--service", "other", "--json").stdout) == []


def test_compare(history: Path) -> None:
    done = greenlight(history, "compare", "int8", "nf4")
    assert done.exit_code == 0
    text = done.stdout
    assert "B nf4: retired, reject by the gate default" in text
    changed = text[text.index("Changed") : text.index("Metrics")]
    assert [
        line.split() for line in changed.splitlines() if line.split()[:1] in (["method"], ["bits"])
    ] == [["method", "optimum", "bnb"], ["bits", "8", "4"]]
    (error_rate,) = [line for line in text.splitlines() if "error rate vs live" in line]
    assert "+13.20\u00a0points" in error_rate and "fail" in error_rate


def test_compare_as_json(history: Path) -> None:
    shown = json.loads(greenlight(history, "compare", "int8", "nf4", "--json").stdout)
    assert {change["name"] for change in shown["changes"]} == {"method", "bits"}
    assert shown["a"]["run_id"] == "int8" and shown["objectives"][-1]["b"]["status"] == "fail"


def test_a_run_compared_with_itself(history: Path) -> None:
    assert (
        "Nothing that went into them changed."
        in greenlight(history, "compare", "int8", "int8").stdout
    )


def test_compare_with_an_unknown_run(history: Path) -> None:
    done = greenlight(history, "compare", "int8", "nf3")
    assert (
        isinstance(done.exception, InputError)
        and str(done.exception).startswith("B: 'nf3': there is no such run in")
        and "nf4" in str(done.exception)
    )
