"""The reference, made from the code: commands, parameters, methods, files, records, metrics,
environment. A page each, as Markdown.
"""

import inspect
from collections.abc import Iterable
from enum import Enum
from typing import Any, get_args, get_origin

import click
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined


def pages() -> dict[str, str]:
    """By path below docs/."""
    made = {
        "commands": commands(),
        "parameters": parameters(),
        "methods": methods(),
        "gate-file": gate_file(),
        "workload-file": workload_file(),
        "records": records(),
        "metrics": metrics(),
        "environment": environment(),
    }
    return {f"reference/{name}.md": text for name, text in made.items()}


def commands() -> str:
    from greenlight.cli.main import app

    root = typer.main.get_command(app)
    text = [f"# Commands\n\n{_paragraphs(root.help)}\n"]
    for path, command in _commands(root, ["greenlight"]):
        options = [
            one
            for one in command.params
            if isinstance(one, click.Option) and not one.hidden and one.name != "help"
        ]
        arguments = [one for one in command.params if isinstance(one, click.Argument)]
        text.append(f"## {' '.join(path)}\n\n{_paragraphs(command.help)}\n")
        if arguments or options:
            rows = [
                (
                    f"`{one.human_readable_name}`",
                    _default(one.default),
                    _variable(one),
                    getattr(one, "help", "") or "",
                )
                for one in arguments
            ]
            rows += [
                (
                    f"`{' '.join([*one.opts, *one.secondary_opts])}`",
                    _default(one.default),
                    _variable(one),
                    one.help or "",
                )
                for one in options
            ]
            text.append(_table(("option", "default", "variable", "what"), rows))
    return "\n".join(text)


def _commands(command: Any, path: list[str]) -> Iterable[tuple[list[str], Any]]:
    if hasattr(command, "commands"):
        for name, inner in sorted(command.commands.items()):
            yield from _commands(inner, [*path, name])
    else:
        yield path, command


def parameters() -> str:
    from greenlight.resolve.parameters import Parameters

    said = (
        "The same names, defaults and descriptions on the command line (`--auto-promote`), in a"
        " compiled pipeline and in the Vertex console."
    )
    return f"# Parameters of a run\n\n{said}\n\n{_fields(Parameters)}"


def methods() -> str:
    from greenlight.quantize.methods import capabilities
    from greenlight.quantize.methods import methods as known

    rows = [
        (
            f"`{row.method}`",
            str(row.bits or "as they are"),
            row.library,
            row.format,
            ", ".join(row.engines),
            "text or chats" if row.calibrates else "nothing",
            f"{row.gpu}: {row.gpu.why}" if row.gpu else "no GPU needed",
        )
        for row in capabilities()
    ]
    table = _table(
        ("method", "bits", "library", "format", "served by", "calibrates on", "hardware"), rows
    )
    sections = [
        f"## {name}\n\n{_paragraphs(inspect.getmodule(type(one)).__doc__)}\n"
        for name, one in known().items()
    ]
    return "\n".join(
        [
            "# Methods of quantization",
            "",
            "How they are used: [Quantization](../quantization.md).",
            "",
            table,
            "",
            *sections,
        ]
    )


def gate_file() -> str:
    from greenlight.benchmark.plan import Plan
    from greenlight.gate.catalogue import METRICS
    from greenlight.gate.objectives import Bake, Gate, Objective

    rows = [
        (
            f"`{name}`",
            kind.description,
            kind.unit,
            ", ".join(kind.scopes),
            kind.comparison if "vs_live" in kind.scopes else "",
            ", ".join(kind.statistics),
        )
        for name, kind in METRICS.items()
    ]
    metrics_table = _table(
        ("metric", "what", "unit", "scopes", "against live as", "statistics"), rows
    )
    parts: list[tuple[str, type[BaseModel]]] = [
        ("The file", Gate),
        ("An objective", Objective),
        ("`benchmark:`", Plan),
        ("`bake:`", Bake),
    ]
    sections = [f"## {title}\n\n{_fields(model)}" for title, model in parts]
    return "\n".join(
        [
            "# Gate file",
            "",
            "`greenlight gate explain FILE` says in sentences what one means.",
            "",
            *sections,
            "## Metrics",
            "",
            metrics_table,
        ]
    )


def workload_file() -> str:
    from greenlight.benchmark.workload import Lengths, Prices, Slo, Stage, Workload

    parts: list[tuple[str, type[BaseModel]]] = [
        ("The file", Workload),
        ("`input_tokens:`, `output_tokens:`", Lengths),
        ("A stage", Stage),
        ("`slo:`", Slo),
        ("`price_per_hour:`", Prices),
    ]
    return "\n".join(
        [
            "# Workload file",
            "",
            *(f"## {title}\n\n{_about(model)}\n\n{_fields(model)}" for title, model in parts),
        ]
    )


def records() -> str:
    from greenlight.core import records as module

    kinds = [
        one
        for _, one in inspect.getmembers(module, inspect.isclass)
        if issubclass(one, module.Part) and one.__module__.startswith(module.__name__)
    ]
    payloads = sorted(
        (one for one in kinds if issubclass(one, module.Record) and one is not module.Record),
        key=lambda one: one.__name__,
    )
    parts = sorted(
        (one for one in kinds if not issubclass(one, module.Record) and one is not module.Part),
        key=lambda one: one.__name__,
    )
    said = (
        "What steps leave: `record.json` of an artifact, and the same by step in the history."
        " `schema_version` is 1."
    )
    sections = [
        f"## {one.__name__}\n\n{_about(one)}\n\n{_fields(one)}" for one in [*payloads, *parts]
    ]
    return "\n".join(["# Records", "", said, "", *sections])


def metrics() -> str:
    from greenlight.serving.admission import GAUGES
    from greenlight.serving.metrics import Metrics

    metrics = Metrics(
        "", "", {name: (text, lambda: 0.0) for name, text in GAUGES.items()}, lambda: 0
    )
    rows = []
    for family in metrics.registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        rows.append((f"`{name}`", family.type, ", ".join(labels), family.documentation))
    return (
        "# Metrics\n\nWhat a server shows at"
        f" `/metrics`.\n\n{_table(('series', 'type', 'labels', 'what'), sorted(rows))}"
    )


def environment() -> str:
    from greenlight.pipelines.runners.settings import CloudOptions
    from greenlight.serving.settings import Settings

    server = [
        (
            f"`{name.upper()}`",
            _default(info.get_default(call_default_factory=True)),
            info.description,
        )
        for name, info in Settings.model_fields.items()
    ]
    cloud = [
        (f"`GREENLIGHT_{name.upper()}`", _default(info.default), info.description)
        for name, info in CloudOptions.model_fields.items()
    ]
    secrets = [
        ("`HF_TOKEN`", "", "Reads private and gated models of the hub."),
        ("`GREENLIGHT_API_KEY`", "", "Sent to servers that want a key."),
        ("`GREENLIGHT_KFP_TOKEN`", "", "Bearer token for Kubeflow Pipelines."),
    ]
    head = ("variable", "default", "what")
    said = "Options of other commands name their variables among the [commands](commands.md)."
    sections = (
        ("Of the server", server, ""),
        ("Of commands that talk to a cloud", cloud, said),
        ("Secrets", secrets, ""),
    )
    return "\n".join(
        [
            "# Environment",
            "",
            *(f"## {title}\n\n{_table(head, rows)}\n{after}\n" for title, rows, after in sections),
        ]
    )


def _fields(model: type[BaseModel]) -> str:
    rows = [
        (f"`{name}`", _type(info), _given(info), info.description or "")
        for name, info in model.model_fields.items()
        if name != "schema_version"
    ]
    return _table(("key", "type", "default", "what"), rows)


def _given(info: FieldInfo) -> str:
    return (
        "required" if info.is_required() else _default(info.get_default(call_default_factory=True))
    )


def _default(value: Any) -> str:
    if (
        value is None
        or value is PydanticUndefined
        or callable(value)
        or value in ("", [], (), {})
        or str(value) == ""
    ):
        return ""
    if isinstance(value, BaseModel):
        return "see below"
    return (
        f"`{value.value if isinstance(value, Enum) else value}`" if "**" not in str(value) else ""
    )


def _type(info: FieldInfo) -> str:
    return _name(info.annotation)


def _name(annotation: Any) -> str:
    if annotation is None or annotation is type(None):
        return "null"
    inner = get_args(annotation)
    if get_origin(annotation) is None:
        return getattr(annotation, "__name__", str(annotation))
    if isinstance(inner[0], str):
        return ", ".join(str(one) for one in inner)
    names = [
        _name(one)
        for one in inner
        if one is not Ellipsis
        and not isinstance(one, FieldInfo)
        and (isinstance(one, type) or get_origin(one))
    ]
    origin = getattr(get_origin(annotation), "__name__", "")
    return (
        f"{origin} of {', '.join(names)}"
        if origin in ("list", "dict", "tuple")
        else " or ".join(dict.fromkeys(names))
    )


def _about(model: type[BaseModel]) -> str:
    return _paragraphs(inspect.getdoc(model)) if model.__doc__ else ""


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(
        " ".join(part.split()) for part in inspect.cleandoc(text or "").split("\n\n")
    )


def _variable(parameter: click.Parameter) -> str:
    return f"`{parameter.envvar}`" if isinstance(parameter.envvar, str) else ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return (
        "\n".join(
            "| "
            + " | ".join(str(cell or "").replace("|", "\\|").replace("\n", " ") for cell in line)
            + " |"
            for line in lines
        )
        + "\n"
    )
