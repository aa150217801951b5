"""What the page shows, section by section, as text that the template only has to place. A section
without records is empty.
"""

import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from greenlight.benchmark.workload import Workload
from greenlight.core import formats
from greenlight.core.history import STEPS, RunRecords
from greenlight.core.records import (
    ColorSummary,
    LatencySummary,
    Look,
    Model,
    ObjectiveResult,
    Release,
    TaskResult,
)
from greenlight.report.changes import Change
from greenlight.report.chart_data import ThroughputBlock
from greenlight.report.charts import role_name
from greenlight.report.headline import method

STATUS_MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "~"}
HOURS_A_MONTH = 730
TIMES = re.compile(r"(?<=\d)x\b")  # as in 1.05x
METRIC_NAMES = {
    "ttft": ("TTFT", "time from sending a request to its first token"),
    "itl": ("ITL", "mean gap between the tokens of a request"),
    "e2e": ("E2E", "time from sending a request to its last byte"),
}
QUALITY = {  # metric of the evaluation: label, unit, what it is
    "perplexity": ("Perplexity", "", "of the candidate on the held-out text; lower is better"),
    "baseline_perplexity": ("Perplexity of the baseline", "", "on the same text"),
    "perplexity_ratio": ("Perplexity ratio", "x", "candidate to baseline; 1 is no damage"),
    "kl_mean": (
        "Mean KL divergence",
        "nats",
        "from the baseline's distribution of the next token; 0 is no damage",
    ),
    "kl_p99": ("99th percentile of KL divergence", "nats", "that 99 of 100 tokens do not exceed"),
    "top1_agreement": (
        "Top-1 agreement",
        "%",
        "share of tokens at which both would choose the same",
    ),
    "baseline_bits_per_byte": ("Bits per byte of the baseline", "bits", "for the same text"),
    "bits_per_byte": ("Bits per byte", "bits", "that the candidate needs for a byte of the text"),
}


@dataclass(frozen=True)
class Card:
    """A key figure: what, how much, compared with what."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class StepMark:
    name: str
    state: Literal["finished", "failed", "not run"]
    mark: str


@dataclass(frozen=True)
class Cell:
    """A cell that is more than its text: a sign before it, small print under it, a class of the
    style sheet.
    """

    text: str
    mark: str = ""
    note: str = ""
    look: str = ""


@dataclass(frozen=True)
class Row:
    """A line of a table: its header cell with small print, and the other cells."""

    head: str
    cells: Sequence[str | Cell]
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Facts under one heading."""

    title: str
    facts: list[tuple[str, str]]


def colors_of(run: RunRecords) -> dict[str, str]:
    """Which slot the candidate and live are in."""
    deployment = run.deployment or (run.decision.deployment if run.decision else None)
    return (
        {"candidate": deployment.candidate.color, "live": deployment.live.color}
        if deployment
        else {}
    )


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
                "TTFT, median",
                candidate.ttft and candidate.ttft.p50,
                live and live.ttft and live.ttft.p50,
            ),
            (
                "E2E, 95th percentile",
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


def workload_words(run: RunRecords) -> str:
    """What was sent, and whether the generator kept up."""
    if run.benchmark is None or not run.benchmark.workload:
        return ""
    workload, health = Workload.model_validate_json(run.benchmark.workload), run.benchmark.generator
    told = f"Workload {workload.name}"
    if health.asked_rate and health.achieved_rate:
        told += (
            f": {formats.number(health.achieved_rate, 3)} of {formats.number(health.asked_rate, 3)}"
            " requests a second were sent"
        )
        told += (
            f", 99% of them within {formats.duration(health.send_lag_p99)} of when they were due"
        )
    limits = ", ".join(
        f"{METRIC_NAMES[name][0]} within {formats.duration(limit)}"
        for name, limit in workload.slo.limits.items()
    )
    return (
        f"{told}. Goodput counts requests with {limits}."
        if limits
        else f"{told}. It names no SLO, so every answered request counts for goodput."
    )


def load_rows(run: RunRecords) -> list[Row]:
    """What each color carried, and what that costs."""
    rows = []
    for role, side in _sides(run):
        price = side.price_per_hour
        figures = [
            formats.number(side.output_tokens_per_second),
            formats.number(side.requests_per_second, 3),
            formats.percent(side.goodput),
        ]
        costs = [
            formats.number(value, 3) if value is not None else formats.MISSING
            for value in (price, price and price * HOURS_A_MONTH, side.cost_per_million_tokens)
        ]
        rows.append(Row(role_name(role, colors_of(run)), [*figures, *costs]))
    return rows


def latency_rows(run: RunRecords) -> list[Row]:
    """Percentiles of each metric, a line a color."""
    colors = colors_of(run)
    return [
        Row(
            f"{METRIC_NAMES[metric][0]}, {role_name(role, colors)}",
            [formats.duration(value) for value in (one.p50, one.p90, one.p95, one.p99)],
        )
        for metric in METRIC_NAMES
        for role, side in _sides(run)
        if (one := _latency(side, metric))
    ]


def latency_words(run: RunRecords, metric: str) -> str:
    """A chart of latencies, told to somebody who does not see it."""
    told = [
        f"{role_name(role, colors_of(run))}: half within {formats.duration(one.p50)}, 95% within"
        f" {formats.duration(one.p95)}"
        for role, side in _sides(run)
        if (one := _latency(side, metric))
    ]
    return f"Cumulative distribution of {METRIC_NAMES[metric][0]}. " + "; ".join(told)


def failures_of(run: RunRecords) -> str:
    """How many requests failed, in a sentence."""

    def kinds(side: ColorSummary) -> str:
        return (
            f" ({', '.join(f'{kind} {count:,}' for kind, count in sorted(side.errors_by_kind.items()))})"
            if side.errors_by_kind
            else ""
        )

    told = [
        f"{side.errors:,} of {side.requests:,} to {role_name(role, colors_of(run))}{kinds(side)}"
        for role, side in _sides(run)
    ]
    infinite = (
        " They count as infinitely slow, so a curve may end below 100%."
        if any(side.errors for _, side in _sides(run))
        else ""
    )
    return (
        f"Of all requests, those of the throughput blocks included, {' and '.join(told)}"
        f" failed.{infinite}"
    )


def _sides(run: RunRecords) -> list[tuple[str, ColorSummary]]:
    sides = (
        [("candidate", run.benchmark.candidate), ("live", run.benchmark.live)]
        if run.benchmark
        else []
    )
    return [(role, side) for role, side in sides if side]


def _latency(side: ColorSummary, metric: str) -> LatencySummary | None:
    return {"ttft": side.ttft, "itl": side.itl, "e2e": side.e2e}[metric]


def block_rows(blocks: list[ThroughputBlock]) -> list[Row]:
    """Tokens a second of both colors in each pair of blocks, their ratio, and the errors of
    both.
    """
    rows = []
    for pair in sorted({block.pair for block in blocks}):
        rates = {block.role: block.tokens_per_second for block in blocks if block.pair == pair}
        ours, theirs = rates.get("candidate"), rates.get("live")
        ratio = formats.number(ours / theirs, 3) if ours is not None and theirs else formats.MISSING
        errors = sum(block.errors for block in blocks if block.pair == pair)
        rows.append(
            Row(str(pair + 1), [formats.number(ours), formats.number(theirs), ratio, str(errors)])
        )
    return rows


def quality_rows(run: RunRecords) -> list[Row]:
    """Each metric of the evaluation, with its two-sided interval."""
    rows = []
    for name, metric in (run.evaluation.metrics if run.evaluation else {}).items():
        label, unit, note = QUALITY.get(name, (name, "", ""))
        value, low, high = (
            formats.quantity(one, unit) for one in (metric.value, metric.low, metric.high)
        )
        rows.append(
            Row(label, [value, f"{low} to {high}", formats.percent(metric.confidence, 0)], note)
        )
    return rows


def task_rows(run: RunRecords) -> list[Row]:
    """Each task as both answered it, and the items whose answer the candidate changed."""
    rows = []
    for task in run.evaluation.tasks if run.evaluation else []:
        shares = [
            f"{formats.percent(share)} ± {formats.percent(error)}"
            for share, error in _accuracies(task)
        ]
        how = (
            f"{task.few_shot or 'no'}"
            f" example{'' if task.few_shot == 1 else 's'}{', through the chat template' if task.chat_template else ''}"
        )
        rows.append(
            Row(
                task.name,
                [*shares, f"{task.right_to_wrong:,}", f"{task.wrong_to_right:,}"],
                f"{task.items:,} items, {how}",
            )
        )
    return rows


def _accuracies(task: TaskResult) -> tuple[tuple[float, float], ...]:
    """Shares of right answers and their standard errors, of candidate and baseline."""
    return (task.accuracy, task.accuracy_stderr), (task.baseline_accuracy, task.baseline_stderr)


def change_rows(changes: list[Change]) -> list[Row]:
    """Then, now and the change; what stayed the same in a quiet color."""
    return [
        Row(
            line.name,
            [
                line.before,
                line.now,
                Cell(line.note, look="quiet" if line.note in ("same", "no change") else ""),
            ],
        )
        for line in changes
    ]


def cost_rows(run: RunRecords) -> list[Row]:
    """Bytes, seconds and memory of every step that says."""
    rows = []
    for name, model in (
        ("download: baseline", run.baseline),
        ("quantize: candidate", run.candidate),
    ):
        if model is not None:
            memory = (
                formats.size(model.peak_memory_bytes)
                if model.peak_memory_bytes
                else formats.MISSING
            )
            rows.append(
                Row(
                    name,
                    [formats.duration(model.seconds), formats.size(model.bytes), memory],
                    method(model.method, model.bits),
                )
            )
    if run.reference is not None:
        memory = formats.size(run.reference.peak_memory_bytes)
        told = f"what the baseline predicts for {run.reference.tokens:,} tokens, in 16 bits"
        rows.append(
            Row(
                "reference",
                [
                    formats.duration(run.reference.seconds),
                    formats.size(run.reference.bytes),
                    memory,
                ],
                told,
            )
        )
    if run.evaluation is not None:
        told = f"{run.evaluation.tokens:,} tokens of {run.evaluation.documents:,} documents"
        rows.append(
            Row(
                "evaluate",
                [formats.duration(run.evaluation.seconds), formats.MISSING, formats.MISSING],
                told,
            )
        )
    if run.benchmark is not None:
        told = (
            f"{run.benchmark.pairs:,} pairs of requests; throughput at concurrency"
            f" {run.benchmark.concurrency}"
        )
        rows.append(
            Row(
                "benchmark",
                [formats.duration(run.benchmark.seconds), formats.MISSING, formats.MISSING],
                told,
            )
        )
    return rows


def search_rows(run: RunRecords) -> list[Row]:
    """Each artifact that the method of the candidate has tried, in order, with what was measured on
    calibration text.
    """
    rows = []
    for number, trial in enumerate(run.candidate.search if run.candidate else [], start=1):
        look, mark = (
            ("status pass", "✓")
            if trial.passed
            else ("quiet", "")
            if trial.too_large
            else ("status fail", "✗")
        )
        result = Cell(
            "passed" if trial.passed else "too large" if trial.too_large else "refused",
            mark=mark,
            look=look,
        )
        measured = [
            f"{QUALITY[name][0]} {formats.quantity(metric.value, QUALITY[name][1])}"
            for name, metric in trial.metrics.items()
        ]
        rows.append(
            Row(
                f"{number}: {trial.scheme}",
                [result, formats.size(trial.bytes), "; ".join(measured) or formats.MISSING],
                trial.reason,
            )
        )
    return rows


def provenance_of(run: RunRecords) -> Iterator[Group]:
    """Everything needed to say what was judged, by what, and to do it again."""
    facts = [("Run", run.run_id)]
    if run.time:
        facts.append(("Began", f"{run.time:%Y-%m-%d %H:%M:%S} UTC"))
    if run.resolution:
        found = run.resolution
        facts += [
            (
                "Source",
                (
                    f"{found.source}, of which {found.checkpoint}"
                    if found.checkpoint
                    else found.source
                ),
            ),
            ("Source commit", found.commit),
            ("Fingerprint", found.fingerprint),
            ("Resolved as", f"{found.verdict}: {found.reason}"),
        ]
    if run.decision:
        facts += [
            ("Decided", f"{run.decision.decided_at:%Y-%m-%d %H:%M:%S} UTC"),
            ("Gate", run.decision.gate_name),
            ("Gate digest", run.decision.gate_digest),
        ]
        facts += [
            ("Evaluation digest", run.decision.evaluation_digest),
            ("Benchmark digest", run.decision.benchmark_digest),
        ]
        facts += [("Code version", run.decision.code_version or formats.MISSING)]
    yield Group("Run", facts)
    if deployment := run.deployment or (run.decision.deployment if run.decision else None):
        for title, release in (
            ("Candidate", deployment.candidate),
            ("Live, as measured against", deployment.live),
        ):
            yield Group(title, _release_facts(release))
    for title, model in (
        ("Baseline artifact", run.baseline),
        ("Candidate artifact", run.candidate),
    ):
        if model is not None:
            yield Group(title, _model_facts(model))
    if run.benchmark is not None:
        told = run.benchmark
        facts = [
            ("Seed", str(told.seed)),
            (
                "Output tokens a request",
                f"{told.max_tokens} in pairs, {told.block_tokens} in throughput blocks",
            ),
            ("Samples", told.samples_uri or formats.MISSING),
        ]
        yield Group(
            "Benchmark",
            [
                *facts,
                ("requests.parquet", told.requests_digest or formats.MISSING),
                ("blocks.parquet", told.blocks_digest or formats.MISSING),
            ],
        )
    if run.parameters:
        yield Group("Parameters", [(name, str(value)) for name, value in run.parameters.items()])
    yield Group(
        "Report",
        [
            (
                "Written by",
                (
                    f"greenlight {_version('greenlight-llm')}, plotly {_version('plotly')}, Python"
                    f" {platform.python_version()}"
                ),
            )
        ],
    )


def _release_facts(release: Release) -> list[tuple[str, str]]:
    return [
        ("Release", f"{release.release_id} on {release.color}"),
        ("Model", f"{release.source}, {method(release.method, release.bits)}"),
        ("Commit", release.commit),
        ("Content digest", release.digest),
        (
            "Engine",
            f"{release.engine}, {release.replicas} replica{'s' if release.replicas != 1 else ''}",
        ),
        (
            "Deployed",
            f"{release.deployed_at:%Y-%m-%d %H:%M:%S} UTC"
            + (f" by run {release.run_id}" if release.run_id else ""),
        ),
        ("Model artifact", release.model_uri),
    ]


def _model_facts(model: Model) -> list[tuple[str, str]]:
    facts = [
        ("Format", model.format),
        ("Files", f"{len(model.files)}, {model.bytes:,} bytes"),
        ("Content digest", model.digest),
    ]
    if model.libraries:
        facts.append(
            (
                "Made with",
                ", ".join(f"{name} {version}" for name, version in sorted(model.libraries.items())),
            )
        )
    return facts


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:  # run from a source tree that was not installed
        return "(not installed)"
