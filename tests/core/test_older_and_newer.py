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

from greenlight.cli.main import app
from greenlight.core.errors import IntegrityError
from greenlight.core.history import STEPS, load_run, runs
from greenlight.core.records import BenchmarkResult, Decision, Failure, Look, Model
from greenlight.core.records.base import _warn_of_newer
from greenlight.gate.objectives import load_gate
from greenlight.gate.replay import load_decision
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
