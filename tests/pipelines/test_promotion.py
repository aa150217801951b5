"""The compiled pipeline: what a person may choose. What backends demand of it is in test_ir.py."""

from typing import Any

import pytest
import yaml

from greenlight.core.code import code_version
from greenlight.pipelines.compiler import compile_promotion
from greenlight.resolve.parameters import Parameters


@pytest.fixture(scope="module")
def text() -> str:
    return compile_promotion()


@pytest.fixture(scope="module")
def spec(text: str) -> dict[str, Any]:
    return yaml.safe_load(text)


def test_compiles_to_the_same_bytes(text: str) -> None:
    assert compile_promotion() == text


def test_parameters_are_those_of_the_command_line(spec: dict[str, Any]) -> None:
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    assert inputs.pop("code_version")["defaultValue"] == code_version()
    assert set(inputs) == set(Parameters.model_fields)
    for name, field in Parameters.model_fields.items():
        assert inputs[name]["defaultValue"] == field.default, name
        assert inputs[name]["description"] == field.description, name
