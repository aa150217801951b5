"""What a person may choose is declared once, in Parameters: the compiled pipeline, the step
resolve, the commands and the reference page say the same. What backends demand of the pipeline is
in test_ir.py.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
import yaml

from docs.site.reference import parameters as reference_page
from greenlight.cli.main import app
from greenlight.components.resolve.component import resolve
from greenlight.pipelines.compiler import compile_promotion
from greenlight.resolve.parameters import FROM_ENVIRONMENT, Parameters

FILTER = ("greenlight runs", "service")
"""Shows the runs of one service: it says what to show, not where a service is."""
KFP_TYPES = {str: "STRING", int: "NUMBER_INTEGER", bool: "BOOLEAN"}
DECLARED: dict[str, tuple[Any, Any, str | None]] = {
    name: (field.annotation, field.default, field.description)
    for name, field in Parameters.model_fields.items()
}


@pytest.fixture(scope="module")
def text() -> str:
    return compile_promotion()


@pytest.fixture(scope="module")
def spec(text: str) -> dict[str, Any]:
    return yaml.safe_load(text)


def test_compiles_to_the_same_bytes(text: str) -> None:
    assert compile_promotion() == text


def test_the_pipeline_declares_the_parameters(spec: dict[str, Any]) -> None:
    compiled = {
        name: (found["parameterType"], found["defaultValue"], found["description"])
        for name, found in spec["root"]["inputDefinitions"]["parameters"].items()
    }
    assert compiled == {
        name: (KFP_TYPES[kind], default, description)
        for name, (kind, default, description) in DECLARED.items()
    }


def test_each_parameter_reaches_the_step_that_checks_it(spec: dict[str, Any]) -> None:
    """A component has a signature of its own, as KFP takes its source: names and types."""
    declared = {name: kind for name, (kind, _, _) in DECLARED.items()}
    signature = inspect.get_annotations(resolve.python_func)
    outputs = {"commit", "fingerprint", "source_build", "reference_build", "candidates", "return"}
    assert {
        name: kind for name, kind in signature.items() if name not in outputs | {"run_id"}
    } == declared
    given = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]["resolve"]["inputs"]
    channels = {
        name: value.get("componentInputParameter", "").removeprefix("pipelinechannel--")
        for name, value in given["parameters"].items()
    }
    assert channels.pop("run_id") == ""
    assert channels == {name: name for name in declared}


@pytest.mark.parametrize("command", [("run",), ("compile",), ("schedule", "create")], ids=" ".join)
def test_a_command_has_an_option_for_each_parameter(command: tuple[str, ...]) -> None:
    found: Any = typer.main.get_command(app)
    for name in command:
        found = found.commands[name]
    options = {each.name: each for each in found.params}
    drifted = [
        name
        for name, declared in DECLARED.items()
        if (options[name].type_descriptor.annotation, options[name].default, options[name].help)
        != declared
    ]
    assert not drifted


def test_every_command_finds_a_service_by_the_same_options() -> None:
    """Help text, default and environment variable of --target and the like. The history of a
    command that needs none stays empty; it lies in the home folder then.
    """
    drifted = []
    for path, command in _commands(typer.main.get_command(app), "greenlight"):
        for option in command.params:
            if option.name in FROM_ENVIRONMENT and (path, option.name) != FILTER:
                _, default, description = DECLARED[option.name]
                allowed = {default, ""} if option.name == "history" else {default}
                if (
                    not option.help.startswith(description)
                    or str(option.default) not in allowed
                    or option.envvar != f"GREENLIGHT_{option.name.upper()}"
                ):
                    drifted.append(f"{path} --{option.name}")
    assert not drifted


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _commands(inner, f"{path} {name}")
    else:
        yield path, command


def test_the_reference_page_has_a_row_for_each_parameter() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", reference_page(), flags=re.MULTILINE))
    shown = {
        name: f"{kind.__name__} | {f'`{default}`' if default != '' else ''} | {description}"
        for name, (kind, default, description) in DECLARED.items()
    }
    assert rows == shown
