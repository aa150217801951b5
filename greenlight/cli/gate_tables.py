"""Tables of the gate for a terminal: the objectives of a decision, what a calibration found, and
past runs judged by another gate.
"""

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from greenlight.core.records import Calibration, Decision

if TYPE_CHECKING:
    from greenlight.gate.backtest import BacktestedRun

STATUS_STYLES = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
RUN_STYLES = {"same": "", "changed": "bold", "skipped": "dim"}


def objectives_table(decision: Decision) -> Table:
    """One row per objective: measured, bound, limit, pass or fail. Measured and bound are in the
    limit's unit.
    """
    table = _table(f"Objectives of gate {decision.gate_name}")
    for heading in ("objective", "measured", "bound", "limit", "result"):
        number = heading in ("measured", "bound", "limit")
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for result in decision.objectives:
        cells = (
            result.name.removesuffix(" vs live"),
            _number(result.estimate),
            _number(result.bound),
            result.comparison.replace(" against live", ""),
        )
        table.add_row(*map(Text, cells), Text(result.status, style=STATUS_STYLES[result.status]))
    return table


def calibration_table(record: Calibration) -> Table:
    """What the service's noise means, one row per objective. Limit and resolvable are a ratio to
    live, or a difference of shares.
    """
    table = _table(
        f"Gate {record.gate_name} on {record.service}, {record.release_id} against itself"
    )
    for heading in ("objective", "noise", "needs", "budget", "limit", "resolvable", ""):
        number = heading not in ("objective", "")
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for each in record.objectives:
        cells = (
            each.name.removesuffix(" vs live"),
            _number(each.noise),
            _count(each.needed),
            _count(each.budget),
            _number(each.limit),
            _number(each.resolvable),
        )
        mark = "" if each.needed is None and each.enough else "ok" if each.enough else "short"
        table.add_row(*map(Text, cells), Text(mark, style="green" if each.enough else "yellow"))
    return table


def backtest_table(tried: "list[BacktestedRun]", gate: str) -> Table:
    """One row per run: the verdict that was recorded, and that of another gate."""
    table = _table(f"Runs by the gate {gate}")
    for heading in ("run", "when", "recorded", "verdict", "reason"):
        table.add_column(heading, no_wrap=heading != "reason", overflow="fold")
    for each in tried:
        cells = (
            each.run_id,
            f"{each.time:%Y-%m-%d %H:%M}" if each.time else "",
            each.recorded or "none",
            each.verdict or "skipped",
            each.reason,
        )
        table.add_row(*map(Text, cells), style=RUN_STYLES[each.outcome])
    return table


def _table(title: str) -> Table:
    return Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", padding=(0, 1, 0, 0), pad_edge=False
    )


def _count(value: int | None) -> str:
    return "none" if value is None else f"{value:,}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
