"""`greenlight cost`: what a configuration would cost, before it is deployed."""

from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from greenlight.cli.options import HistoryOptions, takes
from greenlight.core.errors import InputError
from greenlight.core.prices import Cost, Setup, estimate, load_prices


def register(app: typer.Typer) -> None:
    app.command()(cost)


@takes(Setup, HistoryOptions)
def cost(
    setup: Setup,
    history: HistoryOptions,
    run: Annotated[
        str,
        typer.Option(
            help=(
                "Run of the history whose measured throughput is used for --tokens-per-second: that"
                " of its candidate's servers at full load."
            )
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Estimate what a service costs per month, by part, and per million tokens.

    The prices are those of a dated table, so this is an estimate, not an invoice.
    """
    if run:
        rate = _measured_rate(history.place, run)
        setup = setup.model_copy(update={"tokens_per_second": rate})
    found = estimate(setup, load_prices())
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        Console(highlight=False).print(cost_table(found, setup))


def _measured_rate(history: str, run: str) -> float:
    """Output tokens per second of one server in a recorded run. Raises InputError."""
    from greenlight.core.history import load_run

    found = load_run(history, run)
    if found.benchmark is None or not found.benchmark.candidate.output_tokens_per_second:
        raise InputError(
            "--run",
            run,
            f"no measured throughput of it is in {history}; `greenlight runs` lists the runs",
        )
    servers = found.deployment.candidate.replicas if found.deployment else 1
    return found.benchmark.candidate.output_tokens_per_second / servers


def cost_table(found: Cost, setup: Setup) -> Table:
    table = Table(
        title=f"USD per month in {found.region}, prices of {found.prices_of}",
        title_justify="left",
        box=box.SIMPLE,
    )
    for name, justify in (("part", "left"), ("USD", "right"), ("what", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    what = {
        "nodes": f"{setup.nodes} {setup.node_machine}",
        "servers": (
            f"{setup.replicas} {setup.machine} at {found.server_hour:g} per hour,"
            f" {setup.hours_a_week:g} of 168 hours per week"
        ),
        "rollouts": (
            f"{setup.rollouts:g}, each with a second color for"
            f" {setup.rollout_hours + setup.warm_hours:g} hours"
        ),
    }
    for part, usd in found.parts.items():
        table.add_row(part, f"{usd:,.0f}", what.get(part, ""))
    table.add_section()
    table.add_row("total", f"{found.total:,.0f}", style="bold")
    if found.per_million_tokens is not None:
        table.add_row(
            "per million tokens",
            f"{found.per_million_tokens:,.3f}",
            "servers alone, fully loaded",
        )
        table.add_row("", f"{found.all_per_million_tokens:,.3f}", "all parts")
    return table
