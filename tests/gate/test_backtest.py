"""The runs of a history, judged by another gate: which change, which cannot be judged, and what the
command says of it.
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from greenlight.cli.main import app
from greenlight.core.errors import GreenlightError
from greenlight.core.records import Resolution
from greenlight.gate.backtest import backtest
from greenlight.gate.judge import judge
from greenlight.gate.objectives import Gate, load_gate
from tests.gate.artifacts import DEPLOYMENT, World, make_artifacts

LENIENT = """
name: lenient
confidence: 0.95
objectives:
  - {metric: e2e, statistic: p50, scope: vs_live, max: 2}
benchmark: {pairs: 200}
"""
STRICT = LENIENT.replace("lenient", "strict").replace("max: 2", "better_by: 0.5")


def recorded(folder: Path, run_id: str, world: World, gate: Gate, minute: int) -> None:
    """A run as its steps leave it: artifacts, and the records in the history."""
    evaluation, benchmark = make_artifacts(folder / "runs" / run_id, world)
    decision = judge(evaluation, benchmark, DEPLOYMENT, gate).model_copy(
        update={"evaluation_uri": str(evaluation), "benchmark_uri": str(benchmark)}
    )
    resolved(folder, run_id, minute)
    for name, record in (("gate", decision), ("deploy_green", DEPLOYMENT)):
        (folder / "history" / run_id / f"{name}.json").write_text(record.model_dump_json())


def resolved(folder: Path, run_id: str, minute: int) -> None:
    place = folder / "history" / run_id
    place.mkdir(parents=True)
    record = Resolution(
        verdict="new", reason="", source="s", commit="c", fingerprint="f"
    ).model_dump(mode="json") | {"resolved_at": f"2026-11-25T04:{minute:02}:00Z"}
    (place / "resolve.json").write_text(json.dumps(record))
    (place / "parameters.json").write_text(json.dumps({"service": "s"}))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, gate = tmp_path_factory.mktemp("backtest"), load_gate(LENIENT)
    recorded(folder, "much-faster", World(slower=0.3, pairs=200), gate, 1)
    recorded(folder, "little-faster", World(slower=0.8, pairs=200), gate, 2)
    recorded(folder, "gone", World(pairs=200), gate, 3)
    (folder / "runs" / "gone" / "benchmark" / "requests.parquet").unlink()
    (folder / "runs" / "gone" / "benchmark" / "record.json").unlink()
    resolved(folder, "undecided", 4)
    (folder / "history" / "calibrations").mkdir()
    return folder / "history"


def test_every_run_is_judged_again(history: Path) -> None:
    tried = {each.run_id: each for each in backtest(str(history), load_gate(STRICT), "s")}
    assert list(tried) == ["undecided", "gone", "little-faster", "much-faster"], "newest first"
    assert [(each.outcome, each.recorded, each.verdict) for each in tried.values()] == [
        ("skipped", None, None),
        ("skipped", "promote", None),
        ("changed", "promote", "reject"),
        ("same", "promote", "promote"),
    ]
    assert tried["gone"].reason.startswith("the benchmark that was judged is not in")
    assert tried["undecided"].reason == "it came to no decision: unfinished"
    assert "beyond the limit 0.50x live" in tried["little-faster"].reason


def test_only_the_runs_of_the_service(history: Path) -> None:
    assert [each.run_id for each in backtest(str(history), load_gate(STRICT), "another")] == []
    assert len(backtest(str(history), load_gate(STRICT), "")) == 4


@pytest.mark.parametrize(
    ("text", "code", "counts"),
    [
        (STRICT, 3, "1 with the same verdict, 1 changed, 2 skipped"),
        (LENIENT, 0, "2 with the same verdict, 0 changed, 2 skipped"),
    ],
)
def test_the_command(history: Path, tmp_path: Path, text: str, code: int, counts: str) -> None:
    gate = tmp_path / "gate.yaml"
    gate.write_text(text)
    place = ["gate", "backtest", "--gate", str(gate), "--history", str(history), "--service", "s"]
    done = CliRunner().invoke(app, place)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (code, counts)
    told = json.loads(CliRunner().invoke(app, [*place, "--json"]).stdout)
    assert told["counts"] == {"same": 2 - (code == 3), "changed": int(code == 3), "skipped": 2}
    assert told["runs"][-1]["verdict"] == "promote" and told["runs"][-1]["outcome"] == "same"


def test_nothing_to_judge_is_an_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["gate", "backtest", "--gate", "quick", "--history", str(tmp_path)]
    )
    assert isinstance(done.exception, GreenlightError) and "could be judged" in str(done.exception)
