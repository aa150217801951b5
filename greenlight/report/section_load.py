"""The sections on latency and throughput: what was sent, how long it took, and what it costs."""

from greenlight.benchmark.workload import Workload
from greenlight.core import formats
from greenlight.core.history import RunRecords
from greenlight.core.records import ColorSummary, LatencySummary
from greenlight.report.chart_data import ThroughputBlock
from greenlight.report.charts import role_name
from greenlight.report.metric_labels import LATENCIES
from greenlight.report.page_parts import Row

HOURS_PER_MONTH = 730


def colors_of(run: RunRecords) -> dict[str, str]:
    """Which slot the candidate and live are in."""
    deployment = run.deployment or (run.decision.deployment if run.decision else None)
    return (
        {"candidate": deployment.candidate.color, "live": deployment.live.color}
        if deployment
        else {}
    )


def workload_words(run: RunRecords) -> str:
    """What was sent, and whether the generator kept up."""
    if run.benchmark is None or not run.benchmark.workload:
        return ""
    workload, health = Workload.model_validate_json(run.benchmark.workload), run.benchmark.generator
    text = f"Workload {workload.name}"
    if health.asked_rate and health.achieved_rate:
        text += (
            f": {formats.number(health.achieved_rate, 3)} of {formats.number(health.asked_rate, 3)}"
            " requests per second were sent"
        )
        text += (
            f", 99% of them within {formats.duration(health.send_lag_p99)} of when they were due"
        )
    limits = ", ".join(
        f"{LATENCIES[name].label} within {formats.duration(limit)}"
        for name, limit in workload.slo.limits.items()
    )
    return (
        f"{text}. Goodput counts requests with {limits}."
        if limits
        else f"{text}. It names no SLO, so every answered request counts for goodput."
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
            for value in (price, price and price * HOURS_PER_MONTH, side.cost_per_million_tokens)
        ]
        rows.append(Row(role_name(role, colors_of(run)), [*figures, *costs]))
    return rows


def latency_rows(run: RunRecords) -> list[Row]:
    """Percentiles of each metric, a row per metric and color."""
    colors = colors_of(run)
    return [
        Row(
            f"{LATENCIES[metric].label}, {role_name(role, colors)}",
            [formats.duration(value) for value in (one.p50, one.p90, one.p95, one.p99)],
        )
        for metric in LATENCIES
        for role, side in _sides(run)
        if (one := _latency(side, metric))
    ]


def latency_words(run: RunRecords, metric: str) -> str:
    """A chart of latencies in words, for readers who do not see it."""
    parts = [
        f"{role_name(role, colors_of(run))}: half within {formats.duration(one.p50)}, 95% within"
        f" {formats.duration(one.p95)}"
        for role, side in _sides(run)
        if (one := _latency(side, metric))
    ]
    return f"Cumulative distribution of {LATENCIES[metric].label}. " + "; ".join(parts)


def failures_of(run: RunRecords) -> str:
    """How many requests failed, in a sentence."""

    def kinds(side: ColorSummary) -> str:
        counts = [f"{kind} {count:,}" for kind, count in sorted(side.errors_by_kind.items())]
        return f" ({', '.join(counts)})" if counts else ""

    parts = [
        f"{side.errors:,} of {side.requests:,} to {role_name(role, colors_of(run))}{kinds(side)}"
        for role, side in _sides(run)
    ]
    infinite = (
        " They count as infinitely slow, so a curve may end below 100%."
        if any(side.errors for _, side in _sides(run))
        else ""
    )
    return (
        f"Of all requests, those of the throughput windows included, {' and '.join(parts)}"
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
    """Tokens per second of both colors in each pair of blocks, their ratio, and the errors of
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
