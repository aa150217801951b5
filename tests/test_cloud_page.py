"""docs/cloud.md names only options, outputs and variables that exist, and its sums are right."""

import itertools
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "cloud.md").read_text()
TERRAFORM = ROOT / "terraform"


def test_outputs_and_variables_exist() -> None:
    outputs = set(re.findall(r'^output "(\w+)"', (TERRAFORM / "outputs.tf").read_text(), re.M))
    named = set(re.findall(r"output (?:-raw )?(\w+)\)", PAGE)) | set(
        re.findall(r"`terraform output (\w+)`", PAGE)
    )
    assert {"target", "docker_registry", "model_storage_bucket"} <= named <= outputs
    variables = set(
        re.findall(r'^variable "(\w+)"', (TERRAFORM / "variables.tf").read_text(), re.M)
    )
    assert set(re.findall(r"-var (\w+)=", PAGE)) <= variables
    assert {path.name for path in (TERRAFORM / "modules").iterdir()} <= set(
        re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    )


@pytest.mark.parametrize(
    "line", [line for line in PAGE.splitlines() if line.startswith(".venv/bin/greenlight ")]
)
def test_commands_take_these_options(line: str) -> None:
    from greenlight.cli.main import app

    words = line.split(" #")[0].split()[1:]
    command = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert shown.exit_code == 0, shown.output
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"{option}\b", shown.output), (command, option)


def test_variables_are_read() -> None:
    from greenlight.pipelines.runners.kubeflow_api import TOKEN
    from greenlight.pipelines.runners.settings import CloudOptions
    from greenlight.resolve.parameters import Parameters

    known = {
        f"GREENLIGHT_{name.upper()}"
        for name in [*CloudOptions.model_fields, *Parameters.model_fields]
    } | {TOKEN, "GREENLIGHT_API_KEY", "GREENLIGHT_"}
    assert set(re.findall(r"GREENLIGHT_[A-Z_]*", PAGE)) <= known


def test_the_workflows_variables_are_explained() -> None:
    texts = [path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    used = {name for text in texts for name in re.findall(r"(?:vars|secrets)\.(\w+)", text)}
    for name in used - {"DEPLOY_RUNNER", "BILLING_ACCOUNT"}:
        assert f"`{name}`" in PAGE, name


def test_the_sums_add_up() -> None:
    rows = [
        [cell.strip(" *") for cell in line.split("|")[1:-1]]
        for line in PAGE.split("leave it running")[1].splitlines()
        if line.startswith("| ")
    ][1:]

    def amount(cell: str) -> int:
        return int(cell.split(":")[-1].strip(" *").replace(",", ""))

    for column in (2, 3):
        *parts, idle, server, live = [amount(row[column]) for row in rows]
        assert sum(parts) == idle and idle + server == live
    hours = 730
    dev = {row[0]: amount(row[2]) for row in rows}
    prod = {row[0]: amount(row[3]) for row in rows}
    assert (dev["cluster"], dev["CPU pool"], prod["CPU pool"]) == (
        round(hours * 0.10),
        round(hours * 0.134),
        round(3 * hours * 0.3885),
    )
    assert (dev["NAT"], prod["NAT"]) == (round(hours * 0.0064), round(hours * 0.0092))
    assert (dev["one live server"], prod["one live server"]) == (
        round(hours * 0.155) + 10,
        round(hours * 0.854) + 20,
    )
