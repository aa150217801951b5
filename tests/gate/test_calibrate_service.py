"""`greenlight gate calibrate` on real servers: what it measures, keeps and refuses, and that it
moves nothing.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from greenlight.benchmark.workload import Workload
from greenlight.cli.main import app
from greenlight.core.errors import ConflictError, GreenlightError, InputError
from greenlight.core.history import load_calibration, runs
from greenlight.gate.calibrate_service import calibrate_service
from greenlight.gate.objectives import load_gate
from greenlight.rollout.state import Switch
from tests.rollout.stage import Stage

GATE = """
name: own
confidence: 0.95
objectives:
  - {metric: e2e, statistic: p50, scope: vs_live, max: LIMIT}
  - {metric: error_rate, scope: vs_live, max: 0.5}
  - {metric: output_tokens_per_second, scope: vs_live, min: 0.1}
benchmark:
  {pairs: 40, users: 4, concurrency: 2, throughput_blocks: 3, block_seconds: 0.2,
   settle_seconds: 0.1, max_tokens: 2, block_tokens: 4}
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("stage"))
    made.deploy()
    yield made
    made.close()


def calibrated(stage: Stage, limit: float, *options: str) -> Result:
    gate = stage.folder / "gate.yaml"
    gate.write_text(GATE.replace("LIMIT", str(limit)))
    place = ["--service", "llm", "--home", str(stage.home), "--gate", str(gate)]
    return CliRunner().invoke(app, ["gate", "calibrate", *place, *options])


def test_a_wide_margin_is_resolvable(stage: Stage) -> None:
    before = stage.target.read()
    done = calibrated(stage, 5, "--runs", "2")
    assert done.exit_code == 0, done.output + str(done.exception)
    assert "resolvable: an equal model is promoted in about 100% of runs" in done.output
    assert "Of 400 equal models, resampled from 80 pairs, the gate promoted 100.0%" in done.output
    kept = load_calibration(str(stage.home / "history"), "llm")
    live = before.live_release
    assert kept and live and kept.resolvable and (kept.pairs, kept.runs, kept.budget) == (80, 2, 40)
    assert (kept.release_id, kept.digest, kept.gate_name) == (live.release_id, live.digest, "own")
    assert stage.target.read() == before, "it changed the service"
    assert runs(str(stage.home / "history")) == [], "a calibration is no run"


def test_a_margin_that_is_too_small_is_said(stage: Stage) -> None:
    done = calibrated(stage, 1.00001, "--json")
    assert done.exit_code == 3, done.output + str(done.exception)
    record = json.loads(done.stdout[done.stdout.index("{") :])
    assert (
        not record["resolvable"]
        and record["objectives"][0]["noise"] > 0
        and record["objectives"][0]["needed"] > 40
    )
    assert (
        "not resolvable: with 40 pairs this gate promotes an equal model in only"
        in record["reason"]
    )


def test_it_disturbs_no_rollout(stage: Stage) -> None:
    gate, history = load_gate(GATE.replace("LIMIT", "2")), str(stage.folder / "refused")
    with (
        stage.target.lease("run-9", "promote"),
        pytest.raises(ConflictError, match=r"run run-9 .* works on service llm"),
    ):
        calibrate_service(stage.target, gate, Workload(), 0, 1, history)
    state = stage.target.read()
    assert state.live_release
    moving = stage.target.commit(
        state.having(switch=Switch(action="promote", release=state.live_release, back=None))
    )
    with pytest.raises(ConflictError, match="a switch of the traffic of llm is under way"):
        calibrate_service(stage.target, gate, Workload(), 0, 1, history)
    stage.target.commit(moving.having(switch=None))
    assert not Path(history).exists()


def test_what_cannot_be_calibrated_is_refused(stage: Stage, tmp_path: Path) -> None:
    place = ["gate", "calibrate", "--home", str(tmp_path)]
    nothing = CliRunner().invoke(app, place)
    assert isinstance(
        nothing.exception, GreenlightError
    ) and "has no live release to measure" in str(nothing.exception)
    prompts = CliRunner().invoke(app, [*place, "--prompts", "/no/such/prompts.jsonl"])
    assert isinstance(prompts.exception, InputError)
    quality = load_gate("name: q\nconfidence: 0.95\nobjectives: [{metric: kl_mean, max: 1}]\n")
    with pytest.raises(GreenlightError, match="has no objective that compares with live"):
        calibrate_service(stage.target, quality, Workload(), 0, 1, str(tmp_path))


def test_a_server_that_ends_meanwhile_leaves_no_calibration(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    try:
        stage.deploy()
        live = stage.target.read().live_release
        assert live
        stage.target.processes.end(live.color)
        with pytest.raises(GreenlightError, match="has 0 of 1 servers ready"):
            calibrate_service(
                stage.target,
                load_gate(GATE.replace("LIMIT", "2")),
                Workload(),
                0,
                1,
                str(tmp_path / "history"),
            )
    finally:
        stage.close()
    assert load_calibration(str(tmp_path / "history"), "llm") is None
