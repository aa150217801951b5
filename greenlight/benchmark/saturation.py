"""Saturation: the highest rate of requests at which a server keeps the service level objective
(SLO) of a workload.
"""

import logging
import math
import tempfile
from collections.abc import Sequence

from pydantic import BaseModel
from rich.table import Table

from greenlight.benchmark.plan import Plan
from greenlight.benchmark.run import run_benchmark
from greenlight.benchmark.workload import Slo, Workload
from greenlight.core.errors import InputError
from greenlight.core.records import BenchmarkResult

log = logging.getLogger("greenlight.benchmark")

SHARE = 0.95
"""Share of the requests that must keep the SLO at a rate. Failed requests do not keep it."""
CLOSE_ENOUGH = 1.1
"""Ratio of the lowest rate that broke the SLO to the highest that kept it, at which the search
ends.
"""
TRIES = 3
"""Measurements of a rate at which the generator does not keep up, before the search ends."""
LEAST_REQUESTS = 40
"""Minimum number of requests that a rate is judged by, however long they take."""


class Probe(BaseModel):
    """One rate, measured. Seconds and requests per second."""

    rate: float
    achieved_rate: float
    goodput: float
    ttft_p95: float | None
    itl_p95: float | None
    e2e_p95: float | None
    errors: int
    kept: bool
    limited: str = ""


class Saturation(BaseModel):
    """The probes in the order in which they were made. `rate` 0: not even the lowest kept the SLO.

    Attributes:
        bounded: a higher rate was seen to break the SLO. Else the search ended at its highest rate,
            or where the generator could not go on: see `limited`.
    """

    rate: float
    bounded: bool
    limited: str = ""
    probes: list[Probe]


def find_saturation(
    endpoints: Sequence[str], workload: Workload, *, start: float, most: float, seconds: float
) -> Saturation:
    """Double the rate until fewer than SHARE of the requests keep the SLO, then halve the interval
    (on a log scale) until it is CLOSE_ENOUGH.

    Args:
        start, most: requests per second.
        seconds: length of a measurement, at least; longer where LEAST_REQUESTS need it.

    Raises:
        InputError: the workload names no SLO, or replays a trace, or an endpoint does not answer.
    """
    if not workload.slo.limits:
        raise InputError(
            "workload",
            workload.name,
            "has no slo:, so every rate would pass; add slo: {ttft: 0.5, itl: 0.05}",
        )
    if workload.trace:
        raise InputError(
            "workload",
            workload.name,
            "replays a trace, whose rate is given; use one with arrivals: poisson",
        )
    probes: list[Probe] = []
    kept, broken, rate = 0.0, math.inf, min(start, most)
    while broken / max(kept, start / 64) > CLOSE_ENOUGH:
        # retry: other work on the generator's machine may have slowed it for a moment
        for _ in range(TRIES):
            probes.append(probe := _probe(endpoints, workload, rate, seconds))
            if not probe.limited:
                break
        if probe.limited:
            return Saturation(rate=kept, bounded=False, limited=probe.limited, probes=probes)
        if probe.kept:
            kept = rate
            if rate >= most:
                return Saturation(
                    rate=kept,
                    bounded=False,
                    limited=f"the highest rate asked for is {most:g}",
                    probes=probes,
                )
        else:
            broken = rate
        rate = (
            min(2 * kept, most)
            if math.isinf(broken)
            else math.sqrt(kept * broken)
            if kept
            else broken / 2
        )
    return Saturation(rate=kept, bounded=True, probes=probes)


def _probe(endpoints: Sequence[str], workload: Workload, rate: float, seconds: float) -> Probe:
    pairs = max(LEAST_REQUESTS, math.ceil(rate * seconds))
    plan = Plan(pairs=pairs, throughput_blocks=0, time_limit=max(60.0, 4 * pairs / rate + 120))
    with tempfile.TemporaryDirectory() as folder:
        result = run_benchmark(None, list(endpoints), [], folder, plan, workload.having(rate=rate))
    probe = _summarize_probe(result, rate)
    found = ", ".join(
        f"p95 of {name} {1000 * value:.0f} ms"
        for name in workload.slo.limits
        if (value := getattr(probe, f"{name}_p95")) is not None
    )
    more = "".join([f", {found}" if found else "", f"; {probe.limited}" if probe.limited else ""])
    log.info("%.3g requests/s: %.1f%% keep the SLO%s", rate, 100 * probe.goodput, more)
    return probe


def _summarize_probe(result: BenchmarkResult, rate: float) -> Probe:
    side = result.candidate
    p95 = {
        f"{name}_p95": latency.p95 if (latency := getattr(side, name)) else None
        for name in ("ttft", "itl", "e2e")
    }
    return Probe(
        rate=rate,
        achieved_rate=result.generator.achieved_rate or 0.0,
        goodput=side.goodput,
        errors=side.errors,
        kept=result.complete and side.goodput >= SHARE,
        limited=result.reason,
        **p95,
    )


def saturation_table(found: dict[str, Saturation], slo: Slo) -> Table:
    """For people: one line per probe, and below each color what was found."""
    limits = ", ".join(f"{name} {1000 * limit:g} ms" for name, limit in slo.limits.items())
    shown = Table(title=f"{100 * SHARE:.0f}% of requests within {limits}")
    for column in (
        "",
        "requests/s",
        "keep the SLO",
        "TTFT p95 ms",
        "ITL p95 ms",
        "E2E p95 ms",
        "errors",
    ):
        shown.add_column(column, justify="left" if not column else "right")
    for name, saturation in found.items():
        for probe in sorted(saturation.probes, key=lambda each: each.rate):
            figures = [
                f"{1000 * value:.1f}" if value is not None else ""
                for value in (probe.ttft_p95, probe.itl_p95, probe.e2e_p95)
            ]
            share = f"{100 * probe.goodput:.1f}%"
            shown.add_row(
                name,
                f"{probe.rate:.3g}",
                share if probe.kept else f"[red]{share}[/red]",
                *figures,
                str(probe.errors),
            )
        end = "" if saturation.bounded else f" at least ({saturation.limited})"
        shown.add_row(name, f"[bold]{saturation.rate:.3g}[/bold]{end}", "highest", end_section=True)
    return shown
