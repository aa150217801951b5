"""The price table and what a month costs by it."""

from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from greenlight.benchmark.workload import load_workload
from greenlight.cli.main import app
from greenlight.core.errors import InputError
from greenlight.core.prices import HOURS_PER_MONTH, Setup, estimate, load_prices
from tests.report.run_factory import RunFactory

PAGE = (Path(__file__).parents[2] / "docs" / "cloud.md").read_text()


def test_the_table_is_dated_and_spot_is_cheaper() -> None:
    prices = load_prices()
    assert prices.date <= date.today()
    for name, machine in prices.machines.items():
        assert machine.spot < machine.hour, name
        assert bool(machine.gpu) == name.startswith(("g2", "a2", "a3"))


def test_a_month_is_the_sum_of_its_parts() -> None:
    setup = Setup(machine="n2-standard-8 spot", node_machine="e2-standard-4", rollouts=0)
    found = estimate(setup, load_prices())
    assert found.total == pytest.approx(sum(found.parts.values()))
    rounded = {part: round(usd) for part, usd in found.parts.items()}
    assert rounded == {
        "cluster": 73,
        "nodes": 108,
        "network": 5,
        "images and models": 3,
        "servers": 123,
        "rollouts": 0,
    }, "docs/cloud.md has these for dev"
    for number in ("73", "98", "10", "5", "3", "123"):
        assert f"| {number}" in PAGE or f": {number}" in PAGE


def test_servers_cost_by_the_hour_and_rollouts_by_the_second_color() -> None:
    prices = load_prices()
    full, half = (
        estimate(Setup(replicas=2, hours_a_week=hours, tokens_per_second=500), prices)
        for hours in (168, 84)
    )
    assert half.parts["servers"] == pytest.approx(full.parts["servers"] / 2)
    assert half.per_million_tokens == pytest.approx(full.per_million_tokens)
    assert (
        half.all_per_million_tokens
        and full.all_per_million_tokens
        and half.all_per_million_tokens > full.all_per_million_tokens
    )
    server = HOURS_PER_MONTH * prices.machine_hour("g2-standard-8") + 10
    assert full.per_million_tokens == pytest.approx(server / (500 * HOURS_PER_MONTH * 3600 / 1e6))
    assert full.parts["rollouts"] == pytest.approx(
        4 * 1.5 * 2 * prices.machine_hour("g2-standard-8")
    )
    assert estimate(Setup(replicas=0, tokens_per_second=500), prices).per_million_tokens is None


def test_a_workload_names_a_machine() -> None:
    prices = load_prices()
    load = load_workload("{name: x, price_per_hour: {candidate: g2-standard-8 spot, live: 2.5}}")
    assert load.price_per_hour and (load.price_per_hour.candidate, load.price_per_hour.live) == (
        prices.machine_hour("g2-standard-8 spot"),
        2.5,
    )
    both = load_workload("{name: x, price_per_hour: g2-standard-8}").price_per_hour
    assert both and both.candidate == both.live == 0.854
    with pytest.raises(InputError, match=r"g2-standard-9.*did you mean g2-standard-8\?"):
        load_workload("{name: x, price_per_hour: g2-standard-9}")


def test_the_command(tmp_path: Path) -> None:
    shown = CliRunner().invoke(
        app, ["cost", "--machine", "g2-standard-8", "--replicas", "2", "--tokens-per-second", "500"]
    )
    assert shown.exit_code == 0, shown.output
    assert (
        "prices of 2026" in shown.output
        and "2 g2-standard-8 at 0.854 per hour" in shown.output
        and "per million tokens" in shown.output
    )
    factory = RunFactory(tmp_path).through("gate")
    measured = CliRunner().invoke(
        app, ["cost", "--run", factory.run_id, "--history", str(tmp_path), "--json"]
    )
    assert measured.exit_code == 0 and '"per_million_tokens": 0.' in measured.output
    for arguments, words in (
        (["--machine", "h100"], "its price is not known"),
        (["--hours-a-week", "200"], "--hours-a-week"),
        (["--run", "none", "--history", str(tmp_path)], "no measured throughput"),
    ):
        refused = CliRunner().invoke(app, ["cost", *arguments])
        assert isinstance(refused.exception, InputError) and words in str(refused.exception), (
            refused.output
        )
