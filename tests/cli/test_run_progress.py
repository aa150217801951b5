"""What a run looks like in a terminal and in a pipe."""

import io
from datetime import UTC, datetime

from rich.console import Console

from greenlight.cli.run_progress import RunProgress
from greenlight.core.step import StepEvent


def event(step: str, kind: str, **words: str) -> StepEvent:
    return StepEvent(time=datetime.now(UTC).isoformat(), run="r", step=step, event=kind, **words)


def printed(*events: StepEvent) -> str:
    console = Console(file=io.StringIO(), width=80)
    view = RunProgress(console)
    with view.show():
        for each in events:
            view(each)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_pipe_gets_one_line_per_step() -> None:
    output = printed(
        event("quantize", "started"),
        event("quantize", "log", message="layer 1"),
        event("quantize", "finished", figure="4.9 MB"),
    )
    (line,) = output.splitlines()
    assert line.split() == ["quantize", "done", "0.0", "s", "4.9", "MB"]


def test_a_failed_step_says_why_and_markup_in_it_is_text() -> None:
    assert "[bold]no[/bold]" in printed(event("gate", "failed", message="[bold]no[/bold]"))


def test_candidates_of_a_sweep_have_a_line_each() -> None:
    events = [event("quantize", "started", candidate=name) for name in ("optimum:8", "gptq:4")]
    done = event("quantize", "finished", candidate="optimum:8", figure="4.9 MB")
    output = printed(
        *events, event("quantize", "left_out", candidate="gptq:4", message="it was killed"), done
    )
    assert [line.split() for line in output.splitlines()] == [
        ["quantize", "gptq:4", "left", "out", "0.0", "s", "it", "was", "killed"],
        ["quantize", "optimum:8", "done", "0.0", "s", "4.9", "MB"],
    ]


def test_a_terminal_shows_a_running_step_with_its_latest_message() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    view = RunProgress(console)
    view(event("benchmark", "started"))
    view(event("benchmark", "log", message="pairs 40/100"))
    console.print(view)
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "benchmark" in output and "running" in output and "pairs 40/100" in output
