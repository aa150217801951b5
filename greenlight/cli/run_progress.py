"""What a person sees of a run in a terminal: a live line a step, then the objectives, the verdict
and the paths.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from greenlight.core.records import Calibration, Decision
from greenlight.core.step import StepEvent

if TYPE_CHECKING:
    from greenlight.gate.backtest import Tried

STYLES = {
    "running": "cyan",
    "done": "green",
    "reused": "green",
    "failed": "red",
    "left out": "yellow",
    "pass": "green",
    "fail": "red",
    "inconclusive": "yellow",
}


SHORT, WIDTH = 13, 19
"""Columns of a step's name, and of one with the candidate of a sweep."""


@dataclass
class StepLine:
    state: str = "running"
    started: float = field(default_factory=time.monotonic)
    seconds: float | None = None
    text: str = ""


class RunView:
    """Hears step events and draws a line a step: state, elapsed, the one figure that matters.

    In a terminal the lines are live; elsewhere (a pipe, CI) each step prints one line when it
    starts to count: when it ended.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lines: dict[str, StepLine] = {}
        self._live: Live | None = None
        self._spinner = Spinner("dots")

    @contextmanager
    def live(self) -> Iterator["RunView"]:
        if not self.console.is_terminal:
            yield self
            return
        with Live(
            self,
            console=self.console,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as self._live:
            yield self

    def __call__(self, event: StepEvent) -> None:
        name = f"{event.step} {event.candidate}".rstrip()
        line = self.lines.setdefault(name, StepLine())
        if event.event == "log":
            line.text = event.message + (f" ({event.figure})" if event.figure else "")
        elif event.event in ("finished", "reused", "failed", "left_out"):
            line.state = {"finished": "done", "left_out": "left out"}.get(event.event, event.event)
            line.seconds = time.monotonic() - line.started
            line.text = {"finished": event.figure, "reused": "from an earlier run"}.get(
                event.event, event.message
            )
            if self._live is None:
                self.console.print(
                    f"{name:<{WIDTH if event.candidate else SHORT}} {line.state:<8}"
                    f" {line.seconds:6.1f} s  {line.text}",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )

    def __rich__(self) -> RenderableType:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(width=2)
        table.add_column(width=max([SHORT, *map(len, self.lines)]))
        table.add_column(width=8)
        table.add_column(width=8, justify="right")
        table.add_column(overflow="ellipsis", no_wrap=True)
        for name, line in self.lines.items():
            elapsed = time.monotonic() - line.started if line.seconds is None else line.seconds
            mark: RenderableType = (
                self._spinner
                if line.state == "running"
                else Text(
                    "x" if line.state in ("failed", "left out") else "✓", style=STYLES[line.state]
                )
            )
            text = Text(
                line.text,
                style="dim" if line.state == "running" else "",
                no_wrap=line.state != "failed",
            )
            table.add_row(
                mark, name, Text(line.state, style=STYLES[line.state]), f"{elapsed:.1f} s", text
            )
        return Group(table)


def objectives_table(decision: Decision) -> Table:
    """The gate's objectives: measured, bound, limit, pass or fail. Measured and bound are in the
    limit's unit.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"Objectives of gate {decision.gate_name}",
        title_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for heading in ("objective", "measured", "bound", "limit", "result"):
        table.add_column(
            heading,
            justify="right" if heading in ("measured", "bound", "limit") else "left",
            no_wrap=True,
        )
    for result in decision.objectives:
        cells = (
            result.name.removesuffix(" vs live"),
            _number(result.estimate),
            _number(result.bound),
            result.comparison.replace(" against live", ""),
        )
        table.add_row(*map(Text, cells), Text(result.status, style=STYLES[result.status]))
    return table


def calibration_table(record: Calibration) -> Table:
    """What the service's noise means for each objective. Limit and resolvable are a ratio to live,
    or a difference of shares.
    """
    title = f"Gate {record.gate_name} on {record.service}, {record.release_id} against itself"
    table = Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", padding=(0, 1, 0, 0), pad_edge=False
    )
    for heading in ("objective", "noise", "needs", "budget", "limit", "resolvable", ""):
        table.add_column(
            heading, justify="left" if heading in ("objective", "") else "right", no_wrap=True
        )
    for each in record.objectives:
        numbers = (
            _number(each.noise),
            _count(each.needed),
            _count(each.budget),
            _number(each.limit),
            _number(each.resolvable),
        )
        mark = "" if each.needed is None and each.enough else "ok" if each.enough else "short"
        table.add_row(
            Text(each.name.removesuffix(" vs live")),
            *map(Text, numbers),
            Text(mark, style="green" if each.enough else "yellow"),
        )
    return table


def backtest_table(tried: "list[Tried]", gate: str) -> Table:
    """A line a run: what was decided then, and by another gate."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"Runs by the gate {gate}",
        title_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for heading in ("run", "when", "recorded", "verdict", "reason"):
        table.add_column(heading, no_wrap=heading != "reason", overflow="fold")
    for each in tried:
        when = f"{each.time:%Y-%m-%d %H:%M}" if each.time else ""
        style = {"same": "", "changed": "bold", "skipped": "dim"}[each.outcome]
        table.add_row(
            *map(
                Text,
                (
                    each.run_id,
                    when,
                    each.recorded or "none",
                    each.verdict or "skipped",
                    each.reason,
                ),
            ),
            style=style,
        )
    return table


def _count(value: int | None) -> str:
    return "none" if value is None else f"{value:,}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
