"""The compiled DAG through kfp.local, on the built-in model and the local target, as a user sees
it. The tests run in order and share one home.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from greenlight.report.frames import load_frames
from tests.end_to_end.conftest import Home
from tests.evaluate.questions import write_questions
from tests.notebooks.executed import Executed

# Its runs are judged by their latencies, at the gate quick.
pytestmark = [pytest.mark.slow, pytest.mark.alone]


@contextmanager
def streaming_load(home: Home, tmp_path: Path) -> Iterator[dict[str, int]]:
    """Six users on the stable endpoint, half of them on connections that are kept alive. The counts
    are there when the block has ended.
    """
    stop, counts = tmp_path / "stop", dict[str, int]()
    command = [
        sys.executable,
        str(Path(__file__).parent / "load.py"),
        home.status().endpoint,
        "6",
        str(stop),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield counts
    finally:
        stop.touch()
        output, errors = process.communicate(timeout=120)
    counts |= json.loads(output)
    assert counts["failed"] == counts["cut"] == 0, f"{counts}\n{errors}"
    assert counts["whole"] == counts["sent"] > 0


def test_int8_openvino_is_promoted_over_full_precision(home: Home) -> None:
    code, output = home.run()
    assert code == 0, output
    assert "verdict    promote" in output and "report.html" in output
    assert output.index("will probably not pass, even for an equal model") < output.index(
        "resolve  "
    )
    run = home.newest()
    assert run.outcome == "promoted"
    assert run.decision and {result.status for result in run.decision.objectives} == {"pass"}
    assert run.deployment and (run.deployment.live.method, run.deployment.candidate.method) == (
        "none",
        "optimum",
    )
    status = home.status()
    assert status.live == run.deployment.candidate.color
    report = home.folder / "history" / run.run_id / "report.html"
    assert "promote" in report.read_text()


def test_nothing_new_is_up_to_date(home: Home) -> None:
    before = home.status()
    code, output = home.run()
    assert code == 0, output
    assert "up_to_date" in output
    assert home.newest().finished == ("resolve",)
    assert home.status().colors == before.colors


def test_slower_bnb4_is_not_promoted(home: Home, tmp_path: Path) -> None:
    live = home.status().live
    before = next(color for color in home.status().colors if color.live)
    code, output = home.run(
        "--method",
        "bnb",
        "--bits",
        "4",
        "--tasks",
        str(write_questions(tmp_path / "endings.jsonl")),
        "--few-shot",
        "1",
    )
    assert code == 3, output
    run = home.newest()
    assert run.evaluation and [
        (task.name, task.items, task.few_shot) for task in run.evaluation.tasks
    ] == [("endings", 12, 1)]
    assert run.outcome == "retired" and run.decision
    failed = [result for result in run.decision.objectives if result.status == "fail"]
    assert failed
    assert all(result.name in output for result in failed)
    status = home.status()
    assert status.live == live
    assert next(color for color in status.colors if color.live) == before, "live was touched"


def test_rollback_under_load_loses_nothing(home: Home, tmp_path: Path) -> None:
    before = home.status()
    with streaming_load(home, tmp_path) as counts:
        code, output = home("rollback")
        assert code == 0, output
    assert counts.get("blue") and counts.get("green"), counts
    assert home.status().live != before.live


def test_held_green_is_promoted_by_hand_under_load(
    home: Home, small_gate: str, tmp_path: Path
) -> None:
    live = home.status().live
    code, output = home.run("--no-auto-promote", "--gate", small_gate)
    assert code == 0, output
    assert home.newest().outcome == "held"
    assert home.status().live == live
    with streaming_load(home, tmp_path) as counts:
        code, output = home("promote")
        assert code == 0, output
    assert counts.get("blue") and counts.get("green"), counts
    assert home.status().live != live


def test_these_runs_are_compared_and_open_in_the_notebooks(home: Home) -> None:
    history = str(home.folder / "history")
    code, output = home("runs", "--json")
    assert code == 0, output
    outcomes = {run["run_id"]: run["outcome"] for run in json.loads(output)}
    assert list(outcomes.values()) == ["promoted", "retired", "up_to_date", "promoted"]
    held, bad, _, first = outcomes
    code, output = home("compare", first, bad)
    assert code == 0, output
    assert all(
        words in " ".join(output.split()) for words in ("method optimum bnb", "bits 8 4", "kl_mean")
    )
    assert f"Promoted: run {first}" in Executed("benchmarks", history=history, run=first).text
    assert f"Promoted: run {held}" in Executed("benchmarks", history=history).text
    shown = Executed("history", history=history, gate="quick")
    assert "By the gate **quick**: 2 same, 1 changed, 1 skipped" in shown.text
    assert "What had the traffic" in shown.figures
    moves = load_frames(history, "llm-inference").moves
    assert moves[["what", "by"]].values.tolist() == [
        ["promoted", "run"],
        ["rolled_back", "hand"],
        ["promoted", "run"],
    ]
