"""`make bake-study`: how often the watch after a switch is wrong, and how soon it is right, on
simulated probes whose truth is known.

At the rate of the gate `default`, pairs of probes to two colors are judged by the code that the
step calls, after every pair. A *day* is 24 hours of an equal
model: a rollback in it is a false alarm. A *run* is a model that turns 1.3 times slower at the
    switch: how long until it is rolled back? Before each, the
reference of the gate is measured.

Latencies are those of the gate study. What disturbs hits both colors, yet not the two probes of a
pair at the same moment: its edges fall between them.

The last line is `BENCH {…}`. `bake_false_alarms_a_day_max`: the largest share of days with a false
alarm, over the cells; `bake_caught_median_s` and `bake_caught_p95_s`: the largest of the cells'
medians and 95th percentiles of the time to a rollback, null when so many were not caught in ten
minutes. These two leave out the cells with heavy waits, where a bake sees little:
`bake_caught_heavy_p95_s`.
"""

import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from benchmarks.gate_study.worlds import (
    FAILING,
    NOISES,
    SHAPES,
    Floats,
    Noise,
    common,
    disturbance,
    own,
)
from greenlight.gate.objectives import Bake, load_gate
from greenlight.rollout.probes import STABLE_EVERY
from greenlight.stats.confidence_sequence import Comparison, reference, too_many_errors

SEED = 20_261_126
DAY_S, RUN_S = 86_400, 600
SLOWER = 1.3


@dataclass(frozen=True)
class Cell:
    """A kind of noise. `waits`: mean wait of a request to the color that has the traffic, in
    typical latencies. `failing`: share of probes, of both colors.
    """

    noise: Noise
    waits: float = 0.0
    failing: float = FAILING

    @property
    def name(self) -> str:
        more = [f"waits of {100 * self.waits:g}%"] * (self.waits > 0) + [
            f"{100 * self.failing:g}% errors"
        ] * (self.failing != FAILING)
        return ", ".join([self.noise.name, *more])

    @property
    def heavy(self) -> bool:
        """Do requests of the traffic hold each other up so much that a bake can hardly tell colors
        apart?
        """
        return self.waits > 0.2


CELLS = [Cell(noise) for noise in NOISES]
CELLS += [Cell(Noise(shape, 0.01, "AR(1)"), waits) for waits in (0.2, 0.5) for shape in SHAPES]
CELLS += [Cell(Noise("log-normal", 0.01, "none"), failing=0.01)]


@dataclass(frozen=True)
class Found:
    """What a cell showed. `caught`: seconds until each slower model was rolled back, infinite when
    it was not.
    """

    cell: Cell
    days: int
    alarms: int
    caught: Floats

    @property
    def row(self) -> str:
        median, p95 = (
            f"{self.seconds(share):.0f} s" if np.isfinite(self.seconds(share)) else "later"
            for share in (0.5, 0.95)
        )
        return (
            f"| {self.cell.name} | {self.alarms} of {self.days} | {median} | {p95} |"
            f" {100 * np.isfinite(self.caught).mean():.1f}% |"
        )

    def seconds(self, share: float) -> float:
        return float(np.quantile(self.caught, share, method="higher"))


def log_ratios(
    random: np.random.Generator,
    cell: Cell,
    pairs: int,
    *,
    traffic_on_new: bool,
    slower: float = 1.0,
) -> Floats:
    """ln(new / old) of pairs; infinite where one probe alone failed, NaN where both did."""
    noise = cell.noise
    prompts = common(random, noise.shape, pairs)
    moments = disturbance(random, noise.disturbance, 2 * pairs).reshape(pairs, 2)
    new_first = random.random(pairs) < 0.5
    latencies, failed = [], []
    for number, has_traffic in enumerate((traffic_on_new, not traffic_on_new)):
        latency = own(random, noise.shape, prompts) * np.where(
            new_first, moments[:, number], moments[:, 1 - number]
        )
        latency[random.random(pairs) < noise.tail] *= 5
        latencies.append(
            latency * (1 + random.exponential(cell.waits, pairs))
            if has_traffic and cell.waits
            else latency
        )
        failed.append(random.random(pairs) < cell.failing)
    ratios = np.log(slower * latencies[0] / latencies[1])
    ratios[failed[0]], ratios[failed[1]], ratios[failed[0] & failed[1]] = np.inf, -np.inf, np.nan
    return ratios


def rolled_back(comparison: Comparison, bake: Bake, ratios: Floats) -> np.ndarray:
    """Whether the bake rolls back after each pair: what greenlight/rollout/bake.py does one pair at
    a time.
    """
    failed, control_failed = np.isposinf(ratios), np.isneginf(ratios)
    scored = (
        (np.arange(len(ratios)) % STABLE_EVERY != 0) & ~np.isnan(ratios) | failed | control_failed
    )
    scores = np.where(scored, comparison.score(ratios), 0.0)
    bounds = comparison.bound(
        np.maximum(np.cumsum(scored), 1), np.cumsum(scores), np.cumsum(scores**2)
    )
    return np.asarray(
        (bounds > comparison.max_slower)
        | too_many_errors(np.cumsum(failed), np.cumsum(control_failed), bake.max_errors)
    )


def seconds_until(
    random: np.random.Generator, cell: Cell, bake: Bake, seconds: float, slower: float = 1.0
) -> float:
    """One switch: the reference, then the watch for so many seconds. Infinite: not rolled back."""
    assert bake.max_slower is not None
    before = log_ratios(random, cell, bake.reference_pairs, traffic_on_new=False)
    comparison = Comparison(
        bake.max_slower,
        bake.confidence,
        bake.largest_ratio,
        reference(before[np.isfinite(before)], bake.confidence),
    )
    pairs = round(seconds * bake.probes_per_second)
    back = rolled_back(
        comparison, bake, log_ratios(random, cell, pairs, traffic_on_new=True, slower=slower)
    )
    return (int(back.argmax()) + 1) / bake.probes_per_second if back.any() else np.inf


def study(bake: Bake, number: int, days: int, runs: int) -> Found:
    """One cell."""
    cell = CELLS[number]
    alarms = sum(
        np.isfinite(seconds_until(np.random.default_rng([SEED, number, 0, day]), cell, bake, DAY_S))
        for day in range(days)
    )
    caught = [
        seconds_until(np.random.default_rng([SEED, number, 1, run]), cell, bake, RUN_S, SLOWER)
        for run in range(runs)
    ]
    return Found(cell, days, int(alarms), np.array(caught))


def bench_line(found: list[Found]) -> str:
    """See the docstring of this module."""
    slowest = {
        name: max(each.seconds(share) for each in found if each.cell.heavy is heavy)
        for name, share, heavy in (
            ("bake_caught_median_s", 0.5, False),
            ("bake_caught_p95_s", 0.95, False),
            ("bake_caught_heavy_p95_s", 0.95, True),
        )
    }
    numbers = {
        "bake_false_alarms_a_day_max": max(each.alarms / each.days for each in found),
        **{name: seconds if np.isfinite(seconds) else None for name, seconds in slowest.items()},
        "cells": len(found),
        "days_per_cell": min(each.days for each in found),
        "runs_per_cell": min(len(each.caught) for each in found),
    }
    return f"BENCH {json.dumps(numbers)}"


def main(
    days: Annotated[int, typer.Option(min=1, help="Simulated days a cell.")] = 1000,
    runs: Annotated[
        int, typer.Option(min=1, help="Simulated models per cell that turn 1.3 times slower.")
    ] = 1000,
    table: Annotated[
        Path | None,
        typer.Option(help="Where to write the table as Markdown. Default: to the terminal."),
    ] = None,
) -> None:
    """Simulate, judge, and print the figures."""
    bake, progress = load_gate("default").bake, Console(stderr=True)
    found: list[Found] = []
    began = time.monotonic()
    with ProcessPoolExecutor() as pool:  # as many as there are cores
        for each in pool.map(partial(study, bake, days=days, runs=runs), range(len(CELLS))):
            found.append(each)
            progress.print(
                f"{len(found)} of {len(CELLS)} cells after {time.monotonic() - began:.0f} s:"
                f" {each.row}",
                soft_wrap=True,
            )
    head = (
        "| noise | false alarms, days | caught, median | caught, p95 | caught in 10 minutes"
        " |\n|---|---|---|---|---|"
    )
    text = "\n".join([head, *(each.row for each in found)]) + "\n"
    if table:
        table.write_text(text)
    else:
        print(text)
    print(bench_line(found))


if __name__ == "__main__":
    typer.run(main)
