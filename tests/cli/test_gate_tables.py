"""The gate's tables in a terminal."""

import io

from rich.console import Console

from greenlight.cli.gate_tables import objectives_table
from greenlight.core.records import Decision, Deployment, ObjectiveResult, Release


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
