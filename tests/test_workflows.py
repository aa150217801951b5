"""The workflows: what actionlint says, that nothing runs whose bytes may change, and that each job
may do only what it needs.
"""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

FOLDER = Path(__file__).parents[1] / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
ACTIONLINT = "1.7.12"
SECRETS = {
    "GCP_PROJECT_ID",
    "GCP_REGISTRY",
    "GCP_SA_KEY",
    "GCS_BUCKET",
    "GKE_CLUSTER_NAME",
    "GKE_ZONE",
    "GREENLIGHT_API_KEY",
    "HF_TOKEN",
}

Document = dict[Any, Any]  # YAML reads the key `on` as true


def load(name: str) -> Document:
    document: Document = yaml.safe_load((FOLDER / name).read_text())
    return document


def test_there_are_these_workflows() -> None:
    assert [path.name for path in WORKFLOWS] == [
        "ci.yml",
        "deploy-model.yml",
        "images.yml",
        "models.yml",
        "terraform.yml",
    ]


@pytest.fixture(scope="module")
def actionlint() -> Path:
    """Built once per machine, from Go's module proxy, whose sums Go checks."""
    folder = Path.home() / ".cache" / "greenlight" / f"actionlint-{ACTIONLINT}"
    if not (folder / "actionlint").is_file():
        if not shutil.which("go"):
            pytest.skip("neither actionlint nor Go, which builds it, is here")
        command = ["go", "install", f"github.com/rhysd/actionlint/cmd/actionlint@v{ACTIONLINT}"]
        built = subprocess.run(
            command,
            env={**os.environ, "GOBIN": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            pytest.skip(f"actionlint cannot be built: {built.stderr.strip()[-200:]}")
    return folder / "actionlint"


def test_actionlint_finds_nothing(actionlint: Path) -> None:
    result = subprocess.run(
        [str(actionlint), *map(str, WORKFLOWS)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned(path: Path) -> None:
    """By the commit, with the release it is beside it: a tag can be moved to other code, and has
    been.
    """
    uses = re.findall(r"uses: (.+)", path.read_text())
    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_an_action_has_one_version() -> None:
    uses = {
        match
        for path in WORKFLOWS
        for match in re.findall(r"uses: ([\w./-]+)@(\w+)", path.read_text())
    }
    assert len(uses) == len({name for name, _ in uses})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_permissions_are_few(path: Path) -> None:
    document = load(path.name)
    assert document["permissions"] == {}
    for job in document["jobs"].values():
        assert job["permissions"] in (
            {"contents": "read"},
            {"contents": "read", "id-token": "write"},
        )
        assert job["timeout-minutes"] <= 240
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_pull_requests_get_no_identity_that_writes() -> None:
    assert all(
        job["permissions"] == {"contents": "read"} for job in load("ci.yml")["jobs"].values()
    )
    for name in ("deploy-model.yml", "images.yml"):
        assert not {"pull_request", "pull_request_target"} & load(name)[True].keys()
    terraform = load("terraform.yml")["jobs"]
    assert "PLAN_SERVICE_ACCOUNT" in str(terraform["plan"]) and "APPLY_SERVICE_ACCOUNT" not in str(
        terraform["plan"]
    )
    assert "github.event_name == 'push'" in terraform["apply"]["if"] and terraform["apply"][
        "environment"
    ].startswith("infrastructure-")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_scripts_take_nothing_into_their_text(path: Path) -> None:
    """What a person types reaches a script through its environment; in its text it would run."""
    for job in load(path.name)["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), step


@pytest.mark.parametrize("job", ["unit", "packaging"])
def test_every_python_that_is_supported_is_tested(job: str) -> None:
    setup = configparser.ConfigParser()
    setup.read(FOLDER.parents[1] / "setup.cfg")
    supported = SpecifierSet(setup["options"]["python_requires"])
    expected = [f"3.{minor}" for minor in range(9, 20) if supported.contains(f"3.{minor}.1")]
    found = load("ci.yml")["jobs"][job]
    assert found["strategy"]["matrix"]["python"] == expected
    assert found["env"]["PYTHON"] == "python${{ matrix.python }}", "make takes it from there"


def test_secrets_are_those_that_are_documented() -> None:
    for path in WORKFLOWS:
        assert set(re.findall(r"secrets\.(\w+)", path.read_text())) <= SECRETS
    assert not re.findall(r"secrets\.", (FOLDER / "terraform.yml").read_text())


def test_a_model_is_deployed_by_hand_and_on_main() -> None:
    document = load("deploy-model.yml")
    assert document[True]["push"]["branches"] == ["main"]
    inputs = document[True]["workflow_dispatch"]["inputs"]
    assert inputs["method"]["options"] == ["optimum", "gptq", "bnb", "none"] and inputs["bits"][
        "options"
    ] == ["8", "4"]
    assert inputs["model"]["required"]
    assert document["concurrency"]["cancel-in-progress"] is False


@pytest.mark.parametrize(("code", "promoted"), [(0, True), (3, False)])
def test_a_run_that_the_gate_stops_ends_the_job_red(
    code: int, promoted: bool, tmp_path: Path
) -> None:
    """The step's own script, as GitHub runs it, with a command that ends as the pipeline does."""
    (step,) = (
        step
        for step in load("deploy-model.yml")["jobs"]["deploy"]["steps"]
        if step.get("id") == "run"
    )
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    command = tmp_path / ".venv" / "bin" / "greenlight"
    command.write_text(f'#!/bin/sh\nprintf "%s " "$@"\nexit {code}\n')
    command.chmod(0o755)
    given = {
        "MODEL": "org/name; exit 0",
        "METHOD": "gptq",
        "BITS": "4",
        "GREENLIGHT_TARGET": "projects/P/locations/L/clusters/C",
        "GREENLIGHT_NAMESPACE": "llm-serving",
    }
    script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    result = subprocess.run(
        script,
        cwd=tmp_path,
        env={**os.environ, **given, "GCS_BUCKET": "B"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode == 0) is promoted, result.stderr
    expected = (
        "run --model org/name; exit 0 --method gptq --bits 4 --target"
        " projects/P/locations/L/clusters/C --namespace llm-serving --history gs://B/greenlight "
    )
    assert result.stdout == expected == (tmp_path / "run.txt").read_text()
    assert load("deploy-model.yml")["defaults"]["run"]["shell"] == "bash", (
        "only by its name GitHub runs it with pipefail"
    )
