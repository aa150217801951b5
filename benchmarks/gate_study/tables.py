"""What a study found: tables as Markdown, a plot, and the line that is read by machines."""

import json
from pathlib import Path

from benchmarks.gate_study.worlds import MODELS, NOISES, Model

Counts = dict[str, dict[str, int]]


def _share(
    found: Counts, noise: str, model: Model, key: str = "promote", of: str = "runs"
) -> float:
    cell = found[f"{noise} | {model.name}"]
    return cell[key] / cell[of]


def resolvable(found: Counts, noise: str) -> bool:
    """Whether most calibrations said beforehand that the gate can promote an equal model in this
    noise.
    """
    cell = found[f"{noise} | calibration"]
    return 2 * cell["resolvable"] > cell["runs"]


def _calibrated(found: Counts, noise: str) -> str:
    cell = found[f"{noise} | calibration"]
    verdict = "resolvable" if resolvable(found, noise) else "flagged"
    return (
        f"{verdict} ({cell['resolvable']} of {cell['runs']}),"
        f" {100 * cell['promote'] / cell['judged']:.0f}%"
    )


def write_tables(found: Counts, path: Path | None) -> None:
    """Share of runs promoted by ours in every cell; then all three judges, over all kinds of
    noise.
    """
    lines = [
        "| noise | "
        + " | ".join(model.name for model in MODELS)
        + " | pairs used by equal | calibrated |",
        "|---|" + "---|" * (len(MODELS) + 2),
    ]
    for noise in NOISES:
        equal = found[f"{noise.name} | {MODELS[0].name}"]
        shares = [f"{100 * _share(found, noise.name, model):.1f}%" for model in MODELS]
        lines.append(
            f"| {noise.name} | {' | '.join(shares)} | {equal['pairs'] / equal['runs']:.0f} |"
            f" {_calibrated(found, noise.name)} |"
        )
    lines += [
        "",
        (
            "| promoted, over all noise (smallest to largest) | ours | threshold | Mann-Whitney |"
            " ours rejects |"
        ),
        "|---|---|---|---|---|",
    ]
    for model in MODELS:
        spans = []
        for key, of in (
            ("promote", "runs"),
            ("threshold", "compared"),
            ("mann_whitney", "compared"),
            ("reject", "runs"),
        ):
            shares_of = [_share(found, noise.name, model, key, of) for noise in NOISES]
            spans.append(f"{100 * min(shares_of):.1f}% to {100 * max(shares_of):.1f}%")
        lines.append(f"| {model.name} | {' | '.join(spans)} |")
    text = "\n".join(lines) + "\n"
    if path:
        path.write_text(text)
    else:
        print(text)


def bench_line(found: Counts, planned: int) -> str:
    """See the docstring of `benchmarks.gate_study.__main__`."""
    equal = {noise.name: _share(found, noise.name, MODELS[0]) for noise in NOISES}
    sound = [noise.name for noise in NOISES if resolvable(found, noise.name)]
    shares = {
        kind: [
            _share(found, noise.name, model)
            for noise in NOISES
            for model in MODELS
            if model.kind == kind
        ]
        for kind in ("margin", "beyond")
    }
    cells = [found[f"{noise.name} | {model.name}"] for noise in NOISES for model in MODELS]
    judged = [
        cell
        for noise in NOISES
        for model in MODELS
        if model.kind != "margin"
        for cell in [found[f"{noise.name} | {model.name}"]]
    ]
    flagged = [share for name, share in equal.items() if name not in sound]
    resolved = [found[f"{name} | {MODELS[0].name}"] for name in sound]
    numbers = {
        "equal_promoted_min": round(min((equal[name] for name in sound), default=0.0), 4),
        "flagged": len(flagged),
        "equal_promoted_flagged_max": round(max(flagged, default=0.0), 4),
        "beyond_promoted_max": round(max(shares["beyond"]), 4),
        "margin_promoted_max": round(max(shares["margin"]), 4),
        "pairs_used_mean": round(
            sum(cell["pairs"] for cell in judged) / sum(cell["runs"] for cell in judged) / planned,
            4,
        ),
        "pairs_used_equal": round(
            sum(cell["pairs"] for cell in cells[:: len(MODELS)])
            / sum(cell["runs"] for cell in cells[:: len(MODELS)])
            / planned,
            4,
        ),
        "pairs_used_resolvable": round(
            sum(cell["pairs"] for cell in resolved)
            / max(1, sum(cell["runs"] for cell in resolved))
            / planned,
            4,
        ),
        "cells": len(cells),
        "runs_per_cell": min(cell["runs"] for cell in cells),
    }
    return f"BENCH {json.dumps(numbers)}"


def plot(found: Counts, path: Path) -> None:
    """One row per kind of noise, one mark per model: the share promoted."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "gate-study"
    figure, axes = plt.subplots(figsize=(9, 6.5), layout="constrained")
    for model, marker in zip(MODELS, "o|x|x+^", strict=True):
        color = {"equal": "tab:green", "margin": "tab:gray", "beyond": "tab:red"}[model.kind]
        values = [100 * _share(found, noise.name, model) for noise in NOISES]
        axes.scatter(
            values,
            range(len(NOISES)),
            marker=marker,
            color=color,
            label=f"{model.name} ({model.kind})",
        )
    axes.axvline(5, color="tab:red", linewidth=0.8)
    axes.axvline(95, color="tab:green", linewidth=0.8)
    axes.set_yticks(
        range(len(NOISES)),
        [noise.name + ("" if resolvable(found, noise.name) else "  (flagged)") for noise in NOISES],
    )
    axes.set_xlabel("runs promoted, %")
    axes.invert_yaxis()
    axes.legend(loc="center")
    figure.savefig(path, metadata={"Date": None})
