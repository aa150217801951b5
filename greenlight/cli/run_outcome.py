"""What the command line says of a run that ended, of a service, and of moved traffic."""

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from greenlight.cli.run_progress import STYLES, objectives_table
from greenlight.core import storage
from greenlight.core.errors import GreenlightError, InputError, RejectedError
from greenlight.core.history import RunRecords, load_run, runs
from greenlight.core.records import Decision, Promotion, utc_now
from greenlight.report.overview import line_of
from greenlight.rollout.state import ServiceStatus

WATCH_SECONDS = 1.0
EXIT_CODES = {
    "promoted": 0,
    "already_live": 0,
    "up_to_date": 0,
    "held": 0,
    "retired": 3,
    "rolled_back": 3,
}


def show_outcome(
    console: Console, history: str, run_id: str, log: Path | str, as_json: bool = False
) -> int:
    """Print the objectives, the verdict and where everything is; on stdout also the JSON, when
    asked for. Returns the exit code of the run.
    """
    run = load_run(history, run_id)
    if run.decision is not None:
        console.print()
        console.print(objectives_table(run.decision))
        for result in run.decision.objectives:
            if result.status != "pass":
                console.print(
                    f"  {result.name}: {result.reason}",
                    style=STYLES[result.status],
                    markup=False,
                    soft_wrap=True,
                )
    console.print()
    for line in _verdict(run):
        console.print(line, markup=False, soft_wrap=True)
    report = storage.join(history, run_id, "report.html")
    console.print(f"report     {report}", soft_wrap=True)
    console.print(f"artifacts  {storage.join(history, run_id)}", soft_wrap=True)
    console.print(f"log        {log}", soft_wrap=True)
    if as_json:
        print(line_of(run).model_dump_json(indent=2))
    # Releases before the package called the second one Rejected; histories keep that.
    for kind, names in (
        (InputError, ("InputError",)),
        (RejectedError, ("RejectedError", "Rejected")),
    ):
        if run.outcome == "failed" and any(error.error in names for error in run.errors):
            return kind.exit_code
    return EXIT_CODES.get(run.outcome, 1)


def _verdict(run: RunRecords) -> list[str]:
    lines = []
    if run.outcome == "up_to_date" and run.resolution:
        lines.append(f"verdict    up_to_date: {run.resolution.reason}")
    elif run.decision is not None:
        lines.append(f"verdict    {run.decision.verdict}: {run.decision.reason}")
    if run.promotion is not None:
        lines.append(f"traffic    {promotion_line(run.promotion)}")
    elif run.outcome == "held":
        lines.append("traffic    not moved, green stays up: `greenlight promote` moves it")
    lines += [f"error      {error.step}: {error.message}" for error in run.errors]
    lines += [f"unreadable {broken.name}: {broken.reason}" for broken in run.unreadable]
    if run.outcome == "unfinished" or (run.outcome == "failed" and not run.errors):
        lines.append("error      the run did not come to an end; the log says how far it came")
    return lines


def promotion_line(promotion: Promotion) -> str:
    live = f"{promotion.live.release_id} on {promotion.live.color}"
    if promotion.outcome == "retired":
        return f"not moved: {promotion.reason}"
    what = {
        "promoted": f"moved to {live}",
        "already_live": f"already on {live}",
        "rolled_back": f"rolled back to {live}",
    }[promotion.outcome]
    said = promotion.reason or (promotion.bake.sentence if promotion.bake else "")
    return what + (f" ({said})" if said else "")


def show_promotion(console: Console, promotion: Promotion) -> None:
    console.print(f"traffic    {promotion_line(promotion)}", markup=False, soft_wrap=True)


def held_run(history: str, run_id: str, service: str) -> tuple[str, Decision]:
    """The run whose decision is to be carried out by hand: the named one, or the newest one that
    was held for this service.

    Raises:
        InputError: there is none.
    """
    for candidate in [run_id] if run_id else runs(history):
        decision = load_run(history, candidate).decision
        if (
            decision is not None
            and decision.deployment.candidate.service == service
            and (run_id or decision.action == "hold")
        ):
            return candidate, decision
    raise InputError(
        "run",
        run_id,
        f"name a run of service {service} that came to a decision; `greenlight run"
        " --no-auto-promote` makes one to promote by hand",
    )


def watch_status(console: Console, look: Callable[[], ServiceStatus]) -> None:
    """Show the status again and again, in place at a terminal, until interrupted. A look that fails
    is said, and the next is taken.
    """
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        while True:
            try:
                with console.capture() as captured:
                    show_status(console, look(), details=True)
                shown = Text.from_ansi(captured.get())
            except GreenlightError as error:
                shown = Text(f"{error}", style="yellow")
            live.update(Group(shown, Text(f"{utc_now():%H:%M:%S} UTC", style="dim")), refresh=True)
            time.sleep(WATCH_SECONDS)


def show_status(console: Console, status: ServiceStatus, details: bool = False) -> None:
    """Both colors, what they run and whether it answers, and what is under way."""
    console.print(
        f"{status.service} on {status.target}:"
        f" {status.endpoint or 'never opened'}{'' if status.endpoint_open else ' (closed)'}",
        markup=False,
    )
    if status.asleep_since:
        console.print(
            f"asleep since {status.asleep_since:%m-%d %H:%M:%S} UTC: `greenlight wake` brings"
            " it up",
            style="yellow",
            markup=False,
        )
    table = Table(box=None, pad_edge=False)
    for heading in ("color", "", "release", "model", "engine", "ready", "deployed"):
        # the one that may be long gives way
        table.add_column(
            heading, no_wrap=heading != "model", overflow="fold", min_width=len(heading)
        )
    for color in status.colors:
        release = color.release
        ready = f"{sum(instance.ready for instance in color.instances)}/{release.replicas if release else 0}"
        cells = (
            [release.release_id, release.source, release.engine] if release else ["empty", "", ""]
        )
        deployed = f"{release.deployed_at:%m-%d %H:%M}" if release else ""
        table.add_row(
            color.color,
            "live" if color.live else "",
            *cells,
            ready,
            deployed,
            style="green" if color.live else "",
        )
    console.print(table)
    if details:
        for color in status.colors:
            for one in color.instances:
                doubt = "" if one.recorded else ", of no recorded release"
                console.print(
                    f"  {color.color}: {one.instance.name} {one.instance.url or '(no address)'}"
                    f" {'ready' if one.ready else 'not ready'}{doubt}",
                    markup=False,
                )
    live = next((color.release for color in status.colors if color.live), None)
    if live:
        since = (
            f"since {status.live_since:%Y-%m-%d %H:%M:%S} UTC"
            if status.live_since
            else "for longer than is remembered"
        )
        told = [
            f", from run {live.run_id}" if live.run_id else "",
            (
                f", by decision {status.live_decision}"
                if status.live_decision
                else ", without a decision"
            ),
        ]
        console.print(
            f"{live.release_id} is live {since}{''.join(told)}", markup=False, soft_wrap=True
        )
    if status.previous:
        console.print(f"rollback goes to {status.previous.release_id}", markup=False)
    if status.holder:
        console.print(f"working on it: {status.holder}", markup=False)
    if details:
        for event in status.events[:5]:
            console.print(
                f"  {event.at:%H:%M:%S} {event.what} {event.release_id} by {event.who}"
                f" {event.reason}".rstrip(),
                markup=False,
            )
    if status.switch and status.holder and status.switch.switched_at:
        baked = (utc_now() - status.switch.switched_at).total_seconds()
        limit = (
            f"; rolled back beyond {status.switch.bake_test.max_slower:g}x the old color's latency"
            if status.switch.bake_test.max_slower
            else ""
        )
        console.print(
            f"bake: {status.switch.release.release_id} has the traffic for {baked:.0f} of"
            f" {status.switch.bake_seconds:g} s{limit}",
            soft_wrap=True,
        )
    elif status.switch:
        console.print(
            "a move of the traffic is under way, or was interrupted: the next run or promote"
            " finishes it"
        )
