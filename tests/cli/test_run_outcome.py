"""What is printed of a run that ended, and the exit code that scripts see."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from greenlight.cli.run_outcome import show_outcome
from tests.report.run_factory import RunFactory


def shown(factory: RunFactory) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=200)
    code = show_outcome(console, str(factory.history), factory.run_id, "the.log")
    return code, console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("step", "error", "code"),
    [
        ("select", "RejectedError", 3),
        ("select", "GreenlightError", 1),
        ("resolve", "InputError", 2),
        ("resolve", "MissingExtraError", 2),
        ("benchmark", "Timeout", 1),
    ],
)
def test_a_failed_step_has_the_exit_code_of_its_error(
    tmp_path: Path, step: str, error: str, code: int
) -> None:
    found, output = shown(
        RunFactory(tmp_path).failed(step, "no candidate of the sweep is good enough", error)
    )
    assert found == code
    assert f"error      {step}: no candidate of the sweep is good enough" in output


@pytest.mark.parametrize(("outcome", "code"), [("promoted", 0), ("retired", 3), ("rolled_back", 3)])
def test_a_run_that_moved_or_did_not_move_the_traffic(
    tmp_path: Path, outcome: str, code: int
) -> None:
    found, output = shown(RunFactory(tmp_path).through("gate").moved(outcome))
    assert (
        found == code
        and "verdict    promote: all 9 objectives pass" in output
        and "report.html" in output
    )
