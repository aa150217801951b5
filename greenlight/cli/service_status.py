"""A service in a terminal: both colors, what is live, and a move of traffic that is under way."""

import time
from collections.abc import Callable, Iterator

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from greenlight.core.errors import GreenlightError
from greenlight.core.records import utc_now
from greenlight.rollout.state import ColorStatus, ServiceStatus, Switch

WATCH_SECONDS = 1.0
WATCH_EVENTS = 5


def watch_status(console: Console, look: Callable[[], ServiceStatus]) -> None:
    """Show the status again and again, in place at a terminal, until interrupted. When it cannot
    be read, the reason is shown, and it is read again.
    """
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
    """Print both colors, what they run and whether it answers, and what is under way.

    Args:
        console: where to print.
        status: the service.
        details: also print each instance, and the latest events.
    """
    closed = "" if status.endpoint_open else " (closed)"
    endpoint = status.endpoint or "never opened"
    console.print(f"{status.service} on {status.target}: {endpoint}{closed}", markup=False)
    if status.asleep_since:
        since = f"{status.asleep_since:%m-%d %H:%M:%S} UTC"
        line = f"asleep since {since}: `greenlight wake` brings it up"
        console.print(line, style="yellow", markup=False)
    console.print(_colors_table(status.colors))
    lines = [
        *(_instance_lines(status.colors) if details else ()),
        *_live_lines(status),
        *(_event_lines(status) if details else ()),
        *([_switch_line(status.switch, bool(status.holder))] if status.switch else ()),
    ]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _colors_table(colors: list[ColorStatus]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("color", "", "release", "model", "engine", "ready", "deployed"):
        # the name of the model may be long: where there is no room, that column is folded
        table.add_column(
            heading, no_wrap=heading != "model", overflow="fold", min_width=len(heading)
        )
    for color in colors:
        release = color.release
        ready = sum(instance.ready for instance in color.instances)
        table.add_row(
            color.color,
            "live" if color.live else "",
            release.release_id if release else "empty",
            release.source if release else "",
            release.engine if release else "",
            f"{ready}/{release.replicas if release else 0}",
            f"{release.deployed_at:%m-%d %H:%M}" if release else "",
            style="green" if color.live else "",
        )
    return table


def _instance_lines(colors: list[ColorStatus]) -> Iterator[str]:
    for color in colors:
        for each in color.instances:
            url = each.instance.url or "(no address)"
            ready = "ready" if each.ready else "not ready"
            unknown = "" if each.recorded else ", of no recorded release"
            yield f"  {color.color}: {each.instance.name} {url} {ready}{unknown}"


def _live_lines(status: ServiceStatus) -> Iterator[str]:
    live = next((color.release for color in status.colors if color.live), None)
    if live:
        since = (
            f"since {status.live_since:%Y-%m-%d %H:%M:%S} UTC"
            if status.live_since
            else "for longer than the recorded events go back"
        )
        run = f", from run {live.run_id}" if live.run_id else ""
        decision = f"by decision {status.live_decision}" if status.live_decision else ""
        yield f"{live.release_id} is live {since}{run}, {decision or 'without a decision'}"
    if status.previous:
        yield f"rollback goes to {status.previous.release_id}"
    if status.holder:
        yield f"working on it: {status.holder}"


def _event_lines(status: ServiceStatus) -> Iterator[str]:
    for event in status.events[:WATCH_EVENTS]:
        line = f"  {event.at:%H:%M:%S} {event.what} {event.release_id} by {event.who}"
        yield f"{line} {event.reason}".rstrip()


def _switch_line(switch: Switch, held: bool) -> str:
    if not held or switch.switched_at is None:
        return (
            "a move of the traffic is under way, or was interrupted: the next run or promote"
            " finishes it"
        )
    baked = (utc_now() - switch.switched_at).total_seconds()
    slower = switch.bake_test.max_slower
    limit = f"; rolled back beyond {slower:g}x the old color's latency" if slower else ""
    return (
        f"bake: {switch.release.release_id} has the traffic for {baked:.0f} of"
        f" {switch.bake_seconds:g} s{limit}"
    )
