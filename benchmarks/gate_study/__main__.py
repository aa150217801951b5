"""`make gate-study`: how often the gate is right, on simulated benchmarks whose truth is known.

Every cell is a kind of noise and a model; in each, as many simulated runs as `RUNS` says (default
1,000) are judged by the code that the step calls, with the objectives of the gate `default` that
are measured in pairs. Every fourth run is also judged by the threshold on point estimates and by
Mann-Whitney.

For every hundred runs, live is also measured against itself once, and the code of `greenlight gate
calibrate` says beforehand whether that noise is
resolvable: a noise that most calibrations do not call so is flagged.

Runs are made in rounds over all cells. With `--counts FILE` they are counted there after each
round, and an interrupted study of the same code goes on.

The last line is `BENCH {…}`. `equal_promoted_min`: the smallest share of runs of equal models that
were promoted, over the noises that were called resolvable; `flagged`: the number of the others, and
`equal_promoted_flagged_max` the largest share there; `beyond_promoted_max`: the largest share of a
model beyond a margin, over all noises; `margin_promoted_max`: the same exactly at a margin, where
the error is meant to be 5%; `pairs_used_mean`: of the planned pairs, over all runs of equal models
and of models beyond a margin; `pairs_used_equal`: of equal ones alone, and `pairs_used_resolvable`
of those where it is resolvable.
"""

import json
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from benchmarks.gate_study import judges
from benchmarks.gate_study.tables import bench_line, plot, write_tables
from benchmarks.gate_study.worlds import MODELS, NOISES, Noise, simulate
from greenlight.gate.calibration import calibrate
from greenlight.gate.objectives import Bake, Gate, load_gate
from greenlight.gate.verdict import judge_samples

ROUND = 50
OTHERS_EVERY = 4
CALIBRATE_EVERY = 100
EQUAL_MODELS = 200
"""That one calibration makes and judges."""
SEED = 20_261_125
KEYS = ("runs", "promote", "reject", "pairs", "compared", "threshold", "mann_whitney")

Counts = dict[str, dict[str, int]]


def study_gate(looks: int = 0) -> Gate:
    """The gate `default`, with the objectives that a simulation of pairs has samples for. `looks`:
    as many, evenly spaced, instead of its own.
    """
    gate = load_gate("default")
    objectives = [each for each in gate.objectives if each.kind.source in ("requests", "errors")]
    size = gate.benchmark.model_copy(update={"looks": looks or gate.benchmark.looks})
    # what is not studied does not tell one study from another
    return gate.model_copy(update={"objectives": objectives, "benchmark": size, "bake": Bake()})


def main(
    runs: Annotated[int, typer.Option(min=1, help="Simulated runs a cell.")] = 1000,
    counts: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Where the counts are kept, for an interrupted study to go on. Delete it when the"
                " code changed."
            )
        ),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Where to draw the plot; needs matplotlib.")
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option(help="Where to write the tables as Markdown. Default: to the terminal."),
    ] = None,
    looks: Annotated[
        int,
        typer.Option(
            min=0,
            help="Evenly spaced looks instead of the gate's own: 1 shows what the looks cost.",
        ),
    ] = 0,
) -> None:
    """Simulate, judge, and print the figures."""
    gate, progress = study_gate(looks), Console(stderr=True)
    found: Counts = json.loads(counts.read_text()) if counts and counts.is_file() else {}
    if found.get("digest") != {gate.digest: 0}:
        found = {"digest": {gate.digest: 0}}
    for start in range(0, runs, ROUND):
        began = time.monotonic()
        if start % CALIBRATE_EVERY == 0:
            for number, noise in enumerate(NOISES):
                _calibrate(found, gate, number, noise, start // CALIBRATE_EVERY)
        for number in range(len(NOISES) * len(MODELS)):
            _round(found, gate, number, start, min(ROUND, runs - start))
        if counts:
            counts.parent.mkdir(parents=True, exist_ok=True)
            counts.write_text(json.dumps(found))
        if time.monotonic() - began > 1:
            progress.print(
                f"{min(start + ROUND, runs)} of {runs} runs per cell,"
                f" {time.monotonic() - began:.0f} s"
            )
    write_tables(found, tables)
    if figure:
        plot(found, figure)
    print(
        f"one run of {gate.benchmark.pairs} pairs, all looks, verdict and bounds:"
        f" {_seconds(gate):.3f} s of CPU"
    )
    print(bench_line(found, gate.benchmark.pairs))


def _calibrate(found: Counts, gate: Gate, number: int, noise: Noise, done: int) -> None:
    cell = found.setdefault(
        f"{noise.name} | calibration", {"runs": 0, "resolvable": 0, "judged": 0, "promote": 0}
    )
    if cell["runs"] > done:
        return
    random = np.random.default_rng([SEED, len(NOISES) * len(MODELS) + number, done])
    itself = simulate(
        random, noise, MODELS[0], gate.benchmark.pairs, gate.benchmark.pairs_per_block
    )
    record = calibrate([itself], gate, "", "", "", "", judged=EQUAL_MODELS)
    cell["runs"] += 1
    cell["resolvable"] += record.resolvable
    cell["judged"] += record.judged
    cell["promote"] += round(record.promoted * record.judged)


def _round(found: Counts, gate: Gate, number: int, start: int, runs: int) -> None:
    noise, model = NOISES[number // len(MODELS)], MODELS[number % len(MODELS)]
    cell = found.setdefault(f"{noise.name} | {model.name}", dict.fromkeys(KEYS, 0))
    if cell["runs"] > start:
        return
    for run in range(start, start + runs):
        samples = simulate(
            np.random.default_rng([SEED, number, run]),
            noise,
            model,
            gate.benchmark.pairs,
            gate.benchmark.pairs_per_block,
        )
        verdict, pairs = judges.ours(samples, gate)
        cell["runs"] += 1
        cell["pairs"] += pairs
        if verdict != "inconclusive":
            cell[verdict] += 1
        if run % OTHERS_EVERY == 0:
            cell["compared"] += 1
            cell["threshold"] += judges.threshold(samples)
            cell["mann_whitney"] += judges.mann_whitney(samples)


def _seconds(gate: Gate) -> float:
    """CPU of one judgement that needs every look: a model at a margin."""
    samples = simulate(
        np.random.default_rng(1),
        NOISES[1],
        MODELS[1],
        gate.benchmark.pairs,
        gate.benchmark.pairs_per_block,
    )
    judge_samples(samples, gate)
    began = time.process_time()
    judge_samples(samples, gate)
    return time.process_time() - began


if __name__ == "__main__":
    typer.run(main)
