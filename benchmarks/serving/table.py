"""What is printed: what was seen of each contender, the ratios, and the BENCH line."""

import json
from collections.abc import Callable
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.serving.rounds import BLOCKS, INPROCESS, Measurement

Figure = Callable[[Measurement], float]


def rate(measurement: Measurement) -> float:
    return measurement.tokens_per_second


def first_token(measurement: Measurement) -> float:
    assert measurement.load
    return measurement.load.ttft_p50


# name in the BENCH line: (what is compared, numerator, denominator, concurrency)
RATIOS: dict[str, tuple[Figure, str, str, int]] = {
    "openvino_vs_transformers_serve_c32": (rate, "openvino", "transformers-serve", 32),
    "openvino_vs_vllm_c32": (rate, "openvino", "vllm", 32),
    "openvino_vs_inprocess_c1": (rate, "openvino", INPROCESS, 1),
    "openvino_vs_inprocess_c8": (rate, "openvino", INPROCESS, 8),
    "openvino_vs_inprocess_c32": (rate, "openvino", INPROCESS, 32),
    "openvino_vs_inprocess_c64": (rate, "openvino", INPROCESS, 64),
    "nonstream_vs_inprocess_c32": (rate, "openvino-whole", INPROCESS, 32),
    "transformers_vs_transformers_serve_c32": (rate, "transformers", "transformers-serve", 32),
    "ttft_c1_vs_transformers_serve": (first_token, "openvino", "transformers-serve", 1),
    "ttft_c1_vs_vllm": (first_token, "openvino", "vllm", 1),
}


def ratios(found: list[Measurement], name: str) -> list[float]:
    """One ratio per round. Empty when a side was not measured."""
    figure, over, under, concurrency = RATIOS[name]
    sides = [
        {
            each.round: figure(each)
            for each in found
            if (each.contender, each.concurrency) == (side, concurrency)
        }
        for side in (over, under)
    ]
    return [sides[0][number] / sides[1][number] for number in sides[0] if number in sides[1]]


def print_tables(console: Console, found: list[Measurement]) -> None:
    console.print(_contenders(found))
    console.print(_ratios(found))


def print_bench(found: list[Measurement], **more: float) -> None:
    values = {
        name: round(median(each), 3) if (each := ratios(found, name)) else None for name in RATIOS
    }
    print("BENCH " + json.dumps(values | {name: round(value, 3) for name, value in more.items()}))


def client_us(found: list[Measurement]) -> float:
    """What the load client costs per event, where it costs the measured server most."""
    return median(
        each.load.client_us_per_event
        for each in found
        if each.load and (each.contender, each.concurrency) == ("openvino", 32)
    )


def _contenders(found: list[Measurement]) -> Table:
    table = Table(
        "at a time",
        "contender",
        title=(
            "Medians of the rounds (CPU: µs per token in the server's first process + in its"
            " others; client: µs per event)"
        ),
    )
    for column in (
        "tokens/s",
        "from",
        "to",
        "TTFT p50 ms",
        "ITL p50 ms",
        "ITL p95 ms",
        "events/token",
        "server CPU",
        "client CPU",
    ):
        table.add_column(column, justify="right")
    for concurrency, names in BLOCKS.items():
        for name in names:
            rows = [
                each for each in found if (each.contender, each.concurrency) == (name, concurrency)
            ]
            if not rows:
                continue
            rates = [row.tokens_per_second for row in rows]
            cells = [f"{value:.0f}" for value in (median(rates), min(rates), max(rates))]
            loads = [row.load for row in rows if row.load]
            shown: list[tuple[str, str]] = [
                ("ttft_p50", ".1f"),
                ("itl_p50", ".2f"),
                ("itl_p95", ".2f"),
                ("events_per_token", ".2f"),
            ]
            cells += [
                _cell(median(getattr(load, field) for load in loads), form) if loads else ""
                for field, form in shown
            ]
            cells.append(
                f"{median(row.parent_us for row in rows):.0f} +"
                f" {median(row.children_us for row in rows):.0f}"
            )
            cells.append(
                f"{median(load.client_us_per_event for load in loads):.1f}" if loads else ""
            )
            table.add_row(str(concurrency), name, *cells)
        table.add_section()
    return table


def _cell(value: float, form: str) -> str:
    return format(value, form) if value else ""


def _ratios(found: list[Measurement]) -> Table:
    table = Table("ratio", "of", title="Ratios (median of the rounds; TTFT: less is better)")
    table.add_column("median", justify="right", style="bold")
    table.add_column("each round")
    for name, (figure, over, under, concurrency) in RATIOS.items():
        each = ratios(found, name)
        what = (
            f"{over} / {under}, {concurrency} at a time,"
            f" {'TTFT p50' if figure is first_token else 'tokens/s'}"
        )
        table.add_row(
            name,
            what,
            f"{median(each):.2f}" if each else "not here",
            " ".join(f"{value:.2f}" for value in each),
        )
    return table
