"""`greenlight inspect`: what a model is and what can be made of it, before anything is
downloaded.
"""

from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from greenlight.core import formats
from greenlight.core.errors import InputError
from greenlight.resolve.inspection import Inspection
from greenlight.resolve.parameters import Parameters


def register(app: typer.Typer) -> None:
    app.command()(inspect)


def inspect(
    model: Annotated[str, typer.Argument(help=str(Parameters.model_fields["model"].description))],
    revision: Annotated[
        str, typer.Option(help=str(Parameters.model_fields["revision"].description))
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show what a model is, which methods take it and which engines serve the result.

    Reads the config, the tokenizer and the headers of the weights. No weights are downloaded. Exit
    code 2: the model cannot be taken, or no method takes it, and the message says why.
    """
    from greenlight.resolve.inspection import inspect as inspect_model

    found = inspect_model(model, revision)
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        _print_tables(found)
    if all(each.refused for each in found.methods):
        raise InputError("model", model, "no method takes it, for the reasons above")


def _print_tables(found: Inspection) -> None:
    console = Console(highlight=False)
    for label, value in _facts(found):
        console.print(f"{label:<15}{value}", markup=False)
    console.print(_methods_table(found))
    console.print(
        "Size of the candidate; memory, disk and time of the step quantize: estimates from the"
        " headers of the weights. Time is for two CPU cores and calibration on little text."
    )


def _facts(found: Inspection) -> list[tuple[str, str]]:
    return [
        ("model", f"{found.source}, commit {formats.short(found.commit)}"),
        ("architecture", f"{found.architecture} ({found.model_type})"),
        (
            "weights",
            f"{found.parameters / 1e6:,.1f} million parameters, mostly {found.dtype},"
            f" {formats.size(found.bytes)}",
        ),
        ("context", f"{found.context:,} tokens" if found.context else "not bounded"),
        ("vocabulary", f"{found.vocabulary:,} tokens, from {found.tokenizer}"),
        ("chat template", _chat(found)),
        ("licence", found.licence or "not said"),
        (
            "as it is",
            f"served by {', '.join(found.baseline_engines)}"
            if found.baseline_engines
            else "no engine here serves it",
        ),
        *[("note", note) for note in found.notes],
    ]


def _chat(found: Inspection) -> str:
    if not found.chat_template:
        return "no: only completions, no chats"
    reason = f"fails, so only completions, no chats: {found.chat_refused}"
    return reason if found.chat_refused else "yes"


def _methods_table(found: Inspection) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("method", "engines", "size", "memory", "disk", "time"):
        table.add_column(heading, no_wrap=heading != "engines")
    for each in found.methods:
        if each.refused:
            table.add_row(each.name, f"refused: {each.refused}", "", "", "", "", style="dim")
        else:
            table.add_row(
                each.name,
                ", ".join(each.engines) + (f" (needs {each.needs})" if each.needs else ""),
                formats.size(each.bytes),
                formats.size(each.memory_bytes),
                formats.size(each.disk_bytes),
                formats.duration(each.seconds),
            )
    return table
