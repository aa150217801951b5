"""What a run looks like in a terminal and in a pipe."""

import io
from datetime import UTC, datetime

from rich.console import Console

from greenlight.cli.run_progress import RunView, objectives_table
from greenlight.core.records import Decision, Deployment, ObjectiveResult, Release
from greenlight.core.step import StepEvent


def event(step: str, kind: str, **words: str) -> StepEvent:
    return StepEvent(time=datetime.now(UTC).isoformat(), run="r", step=step, event=kind, **words)


def printed(*events: StepEvent) -> str:
    console = Console(file=io.StringIO(), width=80)
    view = RunView(console)
    with view.live():
        for each in events:
            view(each)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_pipe_gets_one_line_a_step() -> None:
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


def test_a_terminal_shows_a_running_step_with_its_last_words() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    view = RunView(console)
    view(event("benchmark", "started"))
    view(event("benchmark", "log", message="pairs 40/100"))
    console.print(view)
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "benchmark" in output and "running" in output and "pairs 40/100" in output


def test_the_objectives_fit_eighty_columns() -> None:
    objectives = [
        ObjectiveResult(
            name=name,
            metric="m",
            scope="vs_live",
            comparison=comparison,
            estimate=7.798e-05,
            bound=None,
            limit=1.0,
            confidence=0.95,
            status="inconclusive",
            reason="",
        )
        for name, comparison in (
            ("output tokens/s vs live", ">= 0.95x live"),
            ("error rate vs live", "<= +3.00 points against live"),
        )
    ]
    release = Release(
        release_id="r",
        color="green",
        service="s",
        model_uri="",
        digest="d",
        source="s",
        commit="c",
        method="bnb",
        bits=4,
        engine="transformers",
    )
    decision = Decision(
        verdict="inconclusive",
        action="retire",
        reason="",
        objectives=objectives,
        deployment=Deployment(candidate=release, live=release),
        gate_name="default",
        gate_digest="",
        evaluation_digest="",
        benchmark_digest="",
    )
    console = Console(file=io.StringIO(), width=80)
    console.print(objectives_table(decision))
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in output
    assert "7.798e-05" in output and "none" in output and "inconclusive" in output
