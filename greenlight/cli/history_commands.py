"""The commands about the runs of a history: `greenlight runs`, and `greenlight compare A B`."""

import json
import math
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from greenlight.cli.gate_tables import STATUS_STYLES
from greenlight.cli.options import HistoryOptions, takes
from greenlight.core import formats
from greenlight.core.errors import GreenlightError
from greenlight.core.records import ObjectiveResult
from greenlight.report.overview import (
    Comparison,
    Difference,
    ObjectiveDifference,
    RunLine,
    compare,
    find_run,
    line_of,
    read_runs,
)

OUTCOME_STYLES = {
    "promoted": "green",
    "already_live": "green",
    "held": "yellow",
    "retired": "red",
    "rolled_back": "red",
    "failed": "red",
    "unreadable": "red",
}
PIPE_WIDTH = 200  # columns of a table that goes to a pipe
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def register(app: typer.Typer) -> None:
    app.command("runs")(list_runs)
    app.command("compare")(compare_runs)


@takes(HistoryOptions)
def list_runs(
    history: HistoryOptions,
    service: Annotated[
        str,
        typer.Option(
            envvar="GREENLIGHT_SERVICE",
            help="List only the runs of this service. Default: all runs.",
        ),
    ] = "",
    limit: Annotated[
        int,
        typer.Option("--limit", "-n", min=1, help="Maximum number of runs to list, newest first."),
    ] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the runs, newest first: how each ended, its verdict, and its main figures. --json prints
    all figures.
    """
    place = history.place
    lines = [line_of(run) for run in read_runs(place, service, limit)]
    if as_json:
        print(json.dumps([line.model_dump(mode="json") for line in lines], indent=2))
        return
    if not lines:
        raise GreenlightError(
            f"there is no run {f'of {service} ' if service else ''}in {place}. `greenlight run`"
            " makes one; --history names another place."
        )
    _console().print(runs_table(lines))


@takes(HistoryOptions)
def compare_runs(
    history: HistoryOptions,
    a: Annotated[
        str, typer.Argument(metavar="A", help="First run. `greenlight runs` lists the ids.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Second run, compared with the first.")],
    as_json: JsonOption = False,
) -> None:
    """Compare two runs: the inputs that changed, each metric, and the bound of each objective."""
    place = history.place
    found = compare(find_run(place, a, "A"), find_run(place, b, "B"))
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    console = _console()
    for line in comparison_tables(found):
        console.print(line)


def runs_table(lines: list[RunLine]) -> Table:
    """One row per run. Tokens/s, TTFT and KL divergence are the candidate's; `vs live` is the ratio
    of its tokens/s to live's.
    """
    table = _table(
        "",
        ("run", "began", "outcome", "verdict", "pass", "model", "method"),
        ("tokens/s", "vs live", "TTFT p95", "KL mean", "size"),
    )
    for line in lines:
        figure = line.figures.get
        ratio = formats.quantity(figure("output_tokens_per_second_ratio"), "x live")
        size = figure("candidate_bytes")
        table.add_row(
            Text(line.run_id),
            f"{line.time:%Y-%m-%d %H:%M}" if line.time else formats.MISSING,
            Text(line.outcome, style=OUTCOME_STYLES.get(line.outcome, "")),
            line.verdict or formats.MISSING,
            f"{line.passed}/{line.objectives}" if line.objectives else formats.MISSING,
            Text(line.source),
            f"{line.method} {line.bits}" if line.bits else line.method,
            formats.number(figure("candidate_output_tokens_per_second")),
            ratio.removesuffix(f"{formats.NBSP}live"),
            formats.duration(figure("candidate_ttft_p95")),
            formats.number(figure("kl_mean"), 2),
            formats.size(size) if size else formats.MISSING,
        )
    return table


def comparison_tables(found: Comparison) -> list[Table | Text]:
    """What changed, the metrics, the objectives."""
    tables: list[Table | Text] = [Text(f"A {_head(found.a)}\nB {_head(found.b)}\n")]
    if found.changes:
        changed = _table("Changed", ("", "A", "B"), ())
        for change in found.changes:
            changed.add_row(*(Text(_short(text)) for text in (change.name, change.a, change.b)))
        tables.append(changed)
    else:
        tables.append(Text("Nothing that went into them changed.\n"))
    if found.metrics:
        metrics = _table("Metrics", ("metric",), ("A", "B", "difference", ""))
        for each in found.metrics:
            metrics.add_row(each.name, *map(Text, _cells(each)))
        tables.append(metrics)
    if found.objectives:
        objectives = _table(
            "Objectives",
            ("objective",),
            ("A: bound", "limit", "", "B: bound", "limit", "", "difference of bounds"),
        )
        for objective in found.objectives:
            objectives.add_row(
                Text(objective.name),
                *_result_cells(objective.a),
                *_result_cells(objective.b),
                Text(_change_text(objective)),
            )
        tables.append(objectives)
    return tables


def _head(line: RunLine) -> str:
    verdict = f", {line.verdict} by the gate {line.gate}" if line.verdict else ""
    return f"{line.run_id}: {line.outcome}{verdict}"


def _cells(each: Difference) -> tuple[str, str, str, str]:
    formatters: dict[str, Callable[[float], str]] = {
        "s": formats.duration,
        "bytes": formats.size,
        "share": lambda value: formats.percent(value, 2),
    }
    show = formatters.get(each.unit, formats.number)
    shown = [formats.MISSING if value is None else show(value) for value in (each.a, each.b)]
    if each.difference is None:
        return shown[0], shown[1], formats.MISSING, ""
    if each.difference == 0:
        return shown[0], shown[1], "same", ""
    if each.unit == "share":
        return shown[0], shown[1], formats.quantity(each.difference, "points"), ""
    sign = "+" if each.difference > 0 else "-"
    relative = (
        "" if each.relative is None or not math.isfinite(each.relative) else f"{each.relative:+.1%}"
    )
    return shown[0], shown[1], sign + show(abs(each.difference)), relative


def _result_cells(result: ObjectiveResult | None) -> tuple[Text, Text, Text]:
    if result is None:
        return Text(formats.MISSING), Text(""), Text("not judged", style="dim")
    limit = result.comparison.replace(" against live", "")
    return (
        Text(formats.measured(result, result.bound)),
        Text(limit),
        Text(result.status, style=STATUS_STYLES[result.status]),
    )


def _change_text(each: ObjectiveDifference) -> str:
    result = each.b or each.a
    if each.bound is None or result is None:
        return formats.MISSING
    if each.bound == 0:
        return "same"
    sign = "+" if each.bound > 0 else "-"
    shown = formats.measured(result, abs(each.bound))
    return sign + shown.lstrip("+")


def _short(text: str) -> str:
    """The first 12 digits of a digest, and at most 60 characters of any other text, which may be a
    whole file.
    """
    first = text.strip().splitlines()[0] if text.strip() else formats.MISSING
    if len(first) in (40, 64) and " " not in first:
        return first[:12]
    return first if len(first) <= 60 else f"{first[:57]}..."


def _table(title: str, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        title=title or None,
        title_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for heading in left:
        table.add_column(heading, overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _console() -> Console:
    """A console that is wide enough in a pipe, so that a row stays one line there."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
