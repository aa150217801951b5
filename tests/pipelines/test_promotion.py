"""The compiled pipeline: what a person may choose, and what a backend demands beyond kfp.local."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from components.code import code_version
from components.resolve.parameters import Parameters
from pipelines.compiler import compile_promotion

CACHED = {"download", "quantize", "evaluate"}
RUN_PLACEHOLDER = "{{$.pipeline_job_uuid}}"


@pytest.fixture(scope="module")
def text() -> str:
    return compile_promotion()


@pytest.fixture(scope="module")
def spec(text: str) -> dict[str, Any]:
    return yaml.safe_load(text)


def tasks(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every task of the DAG and of the groups in it."""
    for dag in [spec["root"]["dag"], *(component["dag"] for component in spec["components"].values() if "dag" in component)]:
        yield from dag["tasks"].items()


def test_compiles_to_the_same_bytes(text: str) -> None:
    assert compile_promotion() == text


def test_parameters_are_those_of_the_command_line(spec: dict[str, Any]) -> None:
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    assert inputs.pop("code_version")["defaultValue"] == code_version()
    assert set(inputs) == set(Parameters.model_fields)
    for name, field in Parameters.model_fields.items():
        assert inputs[name]["defaultValue"] == field.default, name
        assert inputs[name]["description"] == field.description, name


def test_no_parameter_is_nullable(spec: dict[str, Any]) -> None:
    """A null default inside a group fails on the real backend."""
    for component in [spec["root"], *spec["components"].values()]:
        for name, parameter in component.get("inputDefinitions", {}).get("parameters", {}).items():
            assert parameter.get("defaultValue", "") is not None, name


def test_branches_compare_strings(spec: dict[str, Any]) -> None:
    conditions = [task["triggerPolicy"]["condition"] for _, task in tasks(spec) if "condition" in task.get("triggerPolicy", {})]
    assert len(conditions) == 3
    for condition in conditions:
        left, right = condition.split(" == ")
        assert left.startswith("inputs.parameter_values[") and right.startswith("'"), condition


def test_only_pure_steps_are_cached(spec: dict[str, Any]) -> None:
    cached = {name for name, task in tasks(spec) if task.get("cachingOptions", {}).get("enableCache") and not name.startswith(("condition", "exit"))}
    assert cached == CACHED


def test_cached_steps_do_not_know_the_run(spec: dict[str, Any]) -> None:
    """An argument that differs between runs would make every cache key new."""
    for name, task in tasks(spec):
        if name in CACHED:
            assert RUN_PLACEHOLDER not in str(task)
            assert "code_version" in task["inputs"]["parameters"]


def test_steps_install_nothing(spec: dict[str, Any]) -> None:
    executors = spec["deploymentSpec"]["executors"]
    assert executors
    for executor in executors.values():
        assert "pip install" not in str(executor)


def test_the_report_is_the_exit_handler(spec: dict[str, Any]) -> None:
    report = spec["root"]["dag"]["tasks"]["report"]
    assert report["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
