"""Runs as they lie in a history: order, outcomes, and what is missing or broken."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from greenlight.core.history import STEPS, load_moves, load_run, runs, save_move
from greenlight.core.records import PlannedCandidate, Promotion
from tests.report.run_factory import START, RunFactory

ORDER = (
    "resolve",
    "download",
    "reference",
    "quantize",
    "evaluate",
    "select",
    "deploy_green",
    "benchmark",
    "gate",
    "promote",
)


def test_a_promoted_run_is_loaded_whole(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path).through("gate").moved()
    run = load_run(str(tmp_path), factory.run_id)
    assert run.outcome == "promoted"
    assert run.finished == ORDER
    assert run.baseline and run.baseline.role == "baseline"
    assert run.candidate and run.candidate.role == "candidate"
    assert run.parameters["service"] == run.service == "llm-inference"
    assert run.time == START
    assert not run.errors and not run.unreadable


@pytest.mark.parametrize("outcome", ["promoted", "already_live", "rolled_back", "retired"])
def test_the_promotion_says_the_outcome(tmp_path: Path, outcome: str) -> None:
    factory = RunFactory(tmp_path).through("gate").moved(outcome)
    assert load_run(str(tmp_path), factory.run_id).outcome == outcome


def test_outcomes_before_the_traffic(tmp_path: Path) -> None:
    RunFactory(tmp_path, "held").through("benchmark").gate("promote", "hold")
    RunFactory(tmp_path, "same").resolve("up_to_date")
    RunFactory(tmp_path, "killed").through("quantize")
    RunFactory(tmp_path, "decided").through("gate")
    outcomes = {
        run_id: load_run(str(tmp_path), run_id).outcome
        for run_id in ("held", "same", "killed", "decided", "unknown")
    }
    assert outcomes == {
        "held": "held",
        "same": "up_to_date",
        "killed": "unfinished",
        "decided": "unfinished",
        "unknown": "unfinished",
    }
    assert not load_run(str(tmp_path), "unknown").exists


@pytest.mark.parametrize("step", STEPS)
def test_a_failed_step_is_named_wherever_it_left_its_error(tmp_path: Path, step: str) -> None:
    factory = RunFactory(tmp_path)
    for name in ORDER[: ORDER.index("promote" if step == "retire" else step)]:  # type: ignore[arg-type]
        getattr(factory, name)()
    factory.failed(step, "no room left")
    run = load_run(str(tmp_path), factory.run_id)
    assert run.outcome == "failed"
    assert [(error.step, error.message) for error in run.errors] == [(step, "no room left")]


def test_an_error_of_an_earlier_attempt_is_over_once_the_step_finished(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path).through("gate").failed("quantize").failed("benchmark").moved()
    run = load_run(str(tmp_path), factory.run_id)
    assert run.outcome == "promoted" and not run.errors


def test_an_up_to_date_run_does_not_claim_the_builds_of_others(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path).download().quantize().failed("evaluate").resolve("up_to_date")
    run = load_run(str(tmp_path), factory.run_id)
    assert run.outcome == "up_to_date" and run.finished == ("resolve",)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema_version": 2}', '{"verdict": 3}'])
def test_a_broken_record_is_named_and_the_rest_is_loaded(tmp_path: Path, text: str) -> None:
    factory = (
        RunFactory(tmp_path).through("benchmark").broken("gate", text).broken("parameters", "[1]")
    )
    run = load_run(str(tmp_path), factory.run_id)
    assert run.outcome == "unreadable"
    assert run.benchmark is not None
    assert {item.name for item in run.unreadable} == {"gate.json", "parameters.json"}
    assert all(item.reason for item in run.unreadable)


def test_a_folder_where_a_record_should_be(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path).through("deploy_green")
    (factory.folder / "benchmark.json").mkdir()
    run = load_run(str(tmp_path), factory.run_id)
    assert [item.name for item in run.unreadable] == ["benchmark.json"]


def test_runs_are_ordered_by_their_records_and_not_by_their_names(tmp_path: Path) -> None:
    for days, run_id in enumerate(["zebra", "3f0c-uuid", "promotion-2020-01-01-00-00-00-000001"]):
        RunFactory(tmp_path, run_id, began=START + timedelta(days=days)).resolve()
    # one second after START; only its name knows
    RunFactory(tmp_path, "20261123-192002-beef").failed("resolve")
    RunFactory(tmp_path, "nobody-knows").failed("resolve")
    RunFactory(tmp_path, "zebra").download()  # makes the folder of builds, which is no run
    expected = [
        "promotion-2020-01-01-00-00-00-000001",
        "3f0c-uuid",
        "20261123-192002-beef",
        "zebra",
        "nobody-knows",
    ]
    assert runs(str(tmp_path)) == expected


def test_moves_by_hand_are_kept_in_order_and_are_no_run(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path).resolve()
    for outcome, minutes in (("rolled_back", 5), ("promoted", 3)):
        move = Promotion(
            outcome=outcome,
            live=factory.release("live"),
            switched_at=START + timedelta(minutes=minutes),
        )  # type: ignore[arg-type]
        save_move(str(tmp_path), move)
    save_move(str(tmp_path), Promotion(outcome="already_live", live=factory.release("live")))
    (tmp_path / "moves/llm-inference/20990101-000000-000000.json").write_text("{")
    assert [move.outcome for move in load_moves(str(tmp_path), "llm-inference")] == [
        "promoted",
        "rolled_back",
    ]
    assert load_moves(str(tmp_path), "another") == []
    assert runs(str(tmp_path)) == [factory.run_id]


def test_no_history_yet(tmp_path: Path) -> None:
    assert runs(str(tmp_path / "none")) == []


def test_importing_it_is_cheap() -> None:
    # google.cloud itself is in every interpreter where a package of Google's puts it there by a
    # .pth file.
    heavy = ("numpy", "pandas", "pyarrow", "kfp", "requests", "google.cloud.storage")
    code = (
        f"import sys, greenlight.core.history; print([name for name in {heavy} if name in"
        " sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_of_a_sweep_the_records_are_those_of_the_chosen_candidate(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path).through("select")
    other = PlannedCandidate(method="bnb", bits=4, build="builds/other")
    run = load_run(str(tmp_path), factory.run_id)
    assert run.resolution and run.selection
    sweep = run.resolution.model_copy(update={"candidates": [other, *run.resolution.candidates]})
    factory.write("resolve", sweep)
    (factory.folder / "select.json").unlink()
    assert load_run(str(tmp_path), factory.run_id).candidate is None  # nothing is chosen yet
    # whose index is 0: the loop's results may come in another order
    factory.write("select", run.selection)
    assert (found := load_run(str(tmp_path), factory.run_id)).candidate and found.evaluation
    # whose build left nothing
    factory.write("select", run.selection.model_copy(update={"chosen": "bnb:4"}))
    assert load_run(str(tmp_path), factory.run_id).candidate is None


def test_a_run_from_before_there_were_sweeps_is_loaded_as_ever(tmp_path: Path) -> None:
    factory = RunFactory(tmp_path).through("gate")
    (factory.folder / "select.json").unlink()
    run = load_run(str(tmp_path), factory.run_id)
    assert run.resolution
    factory.write(
        "resolve",
        run.resolution.model_copy(
            update={"candidates": [], "candidate_build": run.resolution.candidates[0].build}
        ),
    )
    run = load_run(str(tmp_path), factory.run_id)
    assert run.candidate and run.evaluation and run.selection is None
