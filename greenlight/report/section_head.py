"""The head of the page: the steps, the key figures, and the objectives of the gate."""

import re
from collections.abc import Sequence

from greenlight.core import formats
from greenlight.core.history import STEPS, RunRecords
from greenlight.core.records import Look, ObjectiveResult
from greenlight.report.metric_labels import LATENCIES
from greenlight.report.page_parts import Card, Cell, Row, StepMark

STATUS_MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "~"}
TIMES = re.compile(r"(?<=\d)x\b")  # as in 1.05x


def steps_of(run: RunRecords) -> list[StepMark]:
    """Every step of the DAG with how it went; of promote and retire the one that was, or would be,
    on the way.
    """
    failed = {error.step for error in run.errors}
    skipped = (
        "promote"
        if "retire" in run.finished
        or "retire" in failed
        or (run.decision and run.decision.action == "retire")
        else "retire"
    )
    marks = []
    for name in STEPS:
        if name in failed:
            marks.append(StepMark(name, "failed", "!"))
        elif name in run.finished:
            marks.append(StepMark(name, "finished", "✓"))
        elif name != skipped:
            marks.append(StepMark(name, "not run", "–"))
    return marks


def cards_of(run: RunRecords) -> list[Card]:
    """The few figures that a reader looks for first."""
    cards = []
    if run.benchmark is not None:
        candidate, live = run.benchmark.candidate, run.benchmark.live
        if candidate.output_tokens_per_second:
            rate, other = (
                candidate.output_tokens_per_second,
                live.output_tokens_per_second if live else 0.0,
            )
            note = (
                f"{formats.number(rate / other, 3)} × live ({formats.number(other, 3)})"
                if other
                else "alone, no live to compare with"
            )
            cards.append(Card("Output tokens/s", formats.number(rate, 3), note))
        for label, ours, theirs in (
            (
                f"{LATENCIES['ttft'].label}, median",
                candidate.ttft and candidate.ttft.p50,
                live and live.ttft and live.ttft.p50,
            ),
            (
                f"{LATENCIES['e2e'].label}, 95th percentile",
                candidate.e2e and candidate.e2e.p95,
                live and live.e2e and live.e2e.p95,
            ),
        ):
            if ours:
                note = (
                    f"live {formats.duration(theirs)}, {formats.change(ours, theirs)}"
                    if theirs
                    else "alone, no live to compare with"
                )
                cards.append(Card(label, formats.duration(ours), note))
    if run.evaluation is not None and (divergence := run.evaluation.metrics.get("kl_mean")):
        agreement = run.evaluation.metrics.get("top1_agreement")
        note = f"top-1 agreement {formats.percent(agreement.value)}" if agreement else ""
        cards.append(Card("Mean KL divergence, nats", formats.number(divergence.value, 3), note))
    if run.candidate is not None:
        note = (
            f"{formats.percent(run.candidate.bytes / run.baseline.bytes, 0)} of the baseline's"
            f" {formats.size(run.baseline.bytes)}"
            if run.baseline and run.baseline.bytes
            else ""
        )
        cards.append(Card("Size", formats.size(run.candidate.bytes), note))
    return cards


def objective_rows(objectives: list[ObjectiveResult]) -> list[Row]:
    """Result, estimate, bound and limit of each objective, with the reason under its name."""
    rows = []
    for objective in objectives:
        result = Cell(
            objective.status, mark=STATUS_MARKS[objective.status], look=f"status {objective.status}"
        )
        bound = Cell(
            formats.measured(objective, objective.bound),
            note=f"at {100 * objective.confidence:.4g}%",
        )
        limit = (
            TIMES.sub(f"{formats.NBSP}×", objective.comparison)
            .replace("<=", "≤")
            .replace(">=", "≥")
            .replace(" ", formats.NBSP, 1)
        )
        rows.append(
            Row(
                objective.name,
                [result, formats.measured(objective, objective.estimate), bound, limit],
                objective.reason,
            )
        )
    return rows


def looks_words(run: RunRecords) -> str:
    """At which look the gate decided, and what that saved. Empty where there was one look."""
    if run.decision is None or len(run.decision.looks) < 2:
        return ""
    last, planned = run.decision.looks[-1], run.decision.planned_pairs
    if last.verdict == "inconclusive" or last.pairs >= planned:
        return f"All {last.pairs:,} pairs were needed."
    return (
        f"{last.pairs:,} of at most {planned:,} pairs decided, which saved"
        f" {formats.percent(1 - last.pairs / planned, 0)} of them."
    )


def bounds_of(objective: ObjectiveResult, number: int, looks: Sequence[Look]) -> list[str]:
    """The bound of an objective at each look, for people."""
    return [
        formats.measured(objective, look.bounds[number])
        for look in looks
        if number < len(look.bounds)
    ]
