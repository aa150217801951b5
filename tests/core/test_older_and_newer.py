"""Records of other versions: those of the release before the package `greenlight`, as a real run
left them in old_home, and those that a later version may write.
"""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from greenlight.benchmark.workload import Workload
from greenlight.cli.main import app
from greenlight.core.errors import InputError, IntegrityError
from greenlight.core.history import STEPS, load_run, runs
from greenlight.core.records import BenchmarkResult, Decision, Failure, Look, Model
from greenlight.core.records.base import _warn_of_newer
from greenlight.gate.cluster_benchmark import JobOrder
from greenlight.gate.objectives import load_gate, read_recorded
from greenlight.gate.replay import load_decision, replay
from greenlight.rollout.local.store import Store

OLD_HOME = Path(__file__).parent / "old_home"
OLD = OLD_HOME / "history"
PROMOTED, UP_TO_DATE = "20261130-235606-c464", "20261130-235741-14c6"


@pytest.fixture(autouse=True)
def warn_again() -> None:
    _warn_of_newer.cache_clear()


def test_a_history_of_the_release_before_is_read() -> None:
    assert runs(str(OLD)) == [UP_TO_DATE, PROMOTED]
    promoted, nothing_new = load_run(str(OLD), PROMOTED), load_run(str(OLD), UP_TO_DATE)
    assert (promoted.outcome, nothing_new.outcome) == ("promoted", "up_to_date")
    assert promoted.finished == tuple(step for step in STEPS if step != "retire")
    assert not (promoted.unreadable or promoted.errors or nothing_new.unreadable)
    assert promoted.decision and promoted.decision.verdict == "promote"
    assert promoted.benchmark and promoted.benchmark.pairs == 100


def test_a_run_that_was_killed_is_read_from_the_folders_that_its_steps_shared(
    tmp_path: Path,
) -> None:
    """quantize and evaluate left their records in one folder then."""
    shutil.copytree(OLD, tmp_path / "history")
    for path in (tmp_path / "history" / PROMOTED).iterdir():
        if path.name not in ("resolve.json", "resolve.event.json"):
            path.unlink()
    run = load_run(str(tmp_path / "history"), PROMOTED)
    assert run.finished == ("resolve", "download", "reference", "quantize", "evaluate")
    assert run.outcome == "unfinished" and not run.unreadable


def test_commands_show_what_the_release_before_left() -> None:
    shown = CliRunner().invoke(app, ["runs", "--history", str(OLD), "--json"])
    assert shown.exit_code == 0, shown.output
    assert {PROMOTED, UP_TO_DATE} == {run["run_id"] for run in json.loads(shown.stdout)}


def test_the_gate_of_an_old_decision_is_the_one_that_its_digest_is_of() -> None:
    """So that `gate replay` judges by it."""
    decision = load_decision(str(OLD / PROMOTED / "gate.json"))
    assert load_gate(decision.gate).digest == decision.gate_digest


def test_the_state_of_a_local_service_of_the_release_before_is_read() -> None:
    state = Store(OLD_HOME / "services" / "llm-inference", "llm-inference").read()
    assert (state.live, state.version) == ("green", "7")
    assert state.previous and state.previous.color == "blue" and len(state.history) >= 3


def test_old_records_are_written_as_they_were_read() -> None:
    text = (OLD / PROMOTED / "benchmark.json").read_text()
    assert BenchmarkResult.model_validate_json(text).model_dump_json(indent=2) == text
    assert '"inf"' in text or "Infinity" in text or "p99" in text


def newer(**changes: Any) -> str:
    decision = json.loads((OLD / PROMOTED / "gate.json").read_text())
    decision["deployment"]["live"]["zone"] = "eu"
    return json.dumps(decision | changes)


def test_a_field_more_is_left_out_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read = [Decision.model_validate_json(newer(approved_by="Ada")) for _ in range(3)]
    assert read[0] == Decision.model_validate_json((OLD / PROMOTED / "gate.json").read_bytes())
    assert [record.getMessage() for record in caplog.records] == [
        "Release: a newer version of Greenlight wrote fields that this one does not know and leaves"
        " out: zone",
        "Decision: a newer version of Greenlight wrote fields that this one does not know and"
        " leaves out: approved_by",
    ]


def newer_gate() -> str:
    decision = Decision.model_validate_json((OLD / PROMOTED / "gate.json").read_bytes())
    gate = json.loads(decision.gate)
    gate["objectives"][0]["weight"] = 2
    gate["benchmark"]["shards"] = 3
    return json.dumps(gate | {"owner": "Ada"})


def test_the_recorded_gate_of_a_newer_version_is_read(caplog: pytest.LogCaptureFixture) -> None:
    decision = Decision.model_validate_json((OLD / PROMOTED / "gate.json").read_bytes())
    with caplog.at_level(logging.WARNING):
        assert read_recorded(newer_gate()) == load_gate(decision.gate)
    kinds = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert sorted(kinds) == ["Gate", "Objective", "Plan"]
    with pytest.raises(IntegrityError, match="does not hold a gate that this version can read"):
        read_recorded("{}")


def test_a_decision_by_a_newer_gate_is_not_replayed_by_what_is_left_of_it() -> None:
    decision = Decision.model_validate_json(newer(gate=newer_gate(), gate_digest="of all of it"))
    with pytest.raises(IntegrityError, match="another version of Greenlight made it"):
        replay(decision)


def test_a_gate_file_with_a_key_more_is_refused() -> None:
    with pytest.raises(InputError, match=r"objectives\.1\.weight .*: no such key"):
        load_gate(newer_gate())


def test_the_order_of_a_newer_runner_is_read(caplog: pytest.LogCaptureFixture) -> None:
    decision = Decision.model_validate_json((OLD / PROMOTED / "gate.json").read_bytes())
    order = JobOrder(
        deployment=decision.deployment,
        gate=load_gate(decision.gate),
        workload=Workload(),
        planned=[],
        evaluated=False,
    )
    sent = json.loads(order.model_dump_json()) | {"priority": "low"}
    sent["gate"] = json.loads(newer_gate())
    sent["workload"]["slo"]["queue"] = 1
    with caplog.at_level(logging.WARNING):
        assert JobOrder.model_validate_json(json.dumps(sent)) == order
    kinds = {record.getMessage().partition(":")[0] for record in caplog.records}
    assert kinds == {"JobOrder", "Gate", "Objective", "Plan", "Slo"}


def test_a_newer_state_of_a_service_is_read(tmp_path: Path) -> None:
    state = json.loads((OLD_HOME / "services/llm-inference/state.json").read_text())
    state |= {"canary": 0.1, "blue": state["blue"] | {"zone": "eu"}}
    (tmp_path / "state.json").write_text(json.dumps(state))
    assert Store(tmp_path, "llm-inference").read().live == "green"


def test_a_wrong_value_fails_all_the_same() -> None:
    with pytest.raises(ValidationError, match="verdict"):
        Decision.model_validate_json(newer(approved_by="Ada", verdict="maybe"))


def test_code_that_misspells_a_field_fails() -> None:
    with pytest.raises(ValidationError, match="pair"):
        Look(pair=1, pairs=1, fraction=1, passed=0, failed=0, verdict="reject")  # type: ignore[call-arg]


def test_a_newer_schema_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(newer(schema_version=2))
    with pytest.raises(IntegrityError) as refused:
        Decision.load(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path / 'record.json'}: schema_version is 2, and this version of Greenlight reads 1:"
        " use the version that wrote it, or a newer one."
    )
    history = tmp_path / "history" / "run"
    history.mkdir(parents=True)
    (history / "gate.json").write_text(newer(schema_version=2))
    (broken,) = load_run(str(tmp_path / "history"), "run").unreadable
    assert broken.name == "gate.json" and "schema_version is 2" in broken.reason


def test_a_record_is_not_taken_for_one_of_another_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure lies where a candidate would: what else lies there is no failure with more
    fields.
    """
    model = Model.model_validate_json((OLD / PROMOTED / "quantize.json").read_bytes())
    model.save(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert Failure.find(tmp_path) is None
    assert not caplog.records
