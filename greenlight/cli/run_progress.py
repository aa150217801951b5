"""What a person sees of a run while it goes on: one line per step, live in a terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from greenlight.core.step import StepEvent

STATE_STYLES = {
    "running": "cyan",
    "done": "green",
    "reused": "green",
    "failed": "red",
    "left out": "yellow",
}

STEP_WIDTH, CANDIDATE_WIDTH = 13, 19
"""Columns of a step's name, and of a step's name with the candidate of a sweep."""


@dataclass
class StepLine:
    state: str = "running"
    started: float = field(default_factory=time.monotonic)
    seconds: float | None = None
    text: str = ""


class RunProgress:
    """Draws one line per step from its events: state, seconds so far, and the one figure that
    matters.

    In a terminal the lines are live. Elsewhere (a pipe, CI) a step prints its line when it has
    ended.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lines: dict[str, StepLine] = {}
        self._live: Live | None = None
        self._spinner = Spinner("dots")

    @contextmanager
    def show(self) -> Iterator["RunProgress"]:
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
                width = CANDIDATE_WIDTH if event.candidate else STEP_WIDTH
                printed = f"{name:<{width}} {line.state:<8} {line.seconds:6.1f} s  {line.text}"
                self.console.print(printed, highlight=False, markup=False, soft_wrap=True)

    def __rich__(self) -> RenderableType:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(width=2)
        table.add_column(width=max([STEP_WIDTH, *map(len, self.lines)]))
        table.add_column(width=8)
        table.add_column(width=8, justify="right")
        table.add_column(overflow="ellipsis", no_wrap=True)
        for name, line in self.lines.items():
            elapsed = time.monotonic() - line.started if line.seconds is None else line.seconds
            style, running = STATE_STYLES[line.state], line.state == "running"
            mark = Text("x" if line.state in ("failed", "left out") else "✓", style=style)
            # the reason of a failure is shown whole
            text = Text(line.text, "dim" if running else "", no_wrap=line.state != "failed")
            table.add_row(
                self._spinner if running else mark,
                name,
                Text(line.state, style=style),
                f"{elapsed:.1f} s",
                text,
            )
        return Group(table)
