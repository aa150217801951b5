"""The wheel, installed in an empty environment and run far from the checkout, in a folder whose own
modules have the names of ours and of what we use.
"""

import json
import os
import socket
from pathlib import Path

import pytest

from tests.wheel import UV, attempt, build, install, run

HOSTILE = (
    "components/__init__.py",
    "components/component.py",
    "pipelines/__init__.py",
    "greenlight/__init__.py",
    "serving/__init__.py",
    "json.py",
    "kfp.py",
    "locust.py",
    "numpy.py",
    "optimum.py",
    "torch.py",
    "transformers.py",
    "yaml.py",
)
SETTINGS_OF_OTHERS = '[tool.locust]\nusers = 3\nlocustfile = "locust.py"\n[tool.uv]\noffline = 7\n'
ATTEMPTS = 3
"""Runs until a promotion: on a busy machine the gate may be unable to tell."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("build"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder of somebody's own Kubeflow project."""
    folder = tmp_path / "project"
    for name in HOSTILE:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"raise SystemExit('imported {name} of the current folder')\n")
    (folder / "pyproject.toml").write_text(SETTINGS_OF_OTHERS)
    return folder


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has no checkout: nothing of Python's or ours is set."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "GREENLIGHT_", "VIRTUAL_ENV"))
    }
    cache = run(*UV, "cache", "dir").strip()
    return kept | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "UV_CACHE_DIR": cache}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_beside_modules_of_the_same_names(
    wheel: Path, project: Path, variables: dict[str, str], tmp_path: Path
) -> None:
    programs = install(wheel, "[local]", tmp_path / "environment")
    command = (programs / "greenlight", "run", "--gate", "quick", "--port", _free_port(), "--json")
    try:
        for _ in range(ATTEMPTS):
            done = attempt(*command, cwd=project, env=variables)
            assert done.returncode in (0, 3), done.stdout + done.stderr
            first = json.loads(done.stdout)
            assert first["verdict"] in ("promote", "reject", "inconclusive"), first
            if first["outcome"] == "promoted":
                break
        assert first["outcome"] == "promoted", first
        assert "making the environment of the OpenVINO export" in _log(project)
        assert list((tmp_path / "cache/greenlight").glob("openvino-export-*/bin/python"))
        second = run(*command, cwd=project, env=variables)
        assert json.loads(second)["outcome"] == "up_to_date"
        code = "import greenlight; print(greenlight.__file__)"
        imported = run(programs / "python", "-P", "-c", code, cwd=project, env=variables)
        assert str(tmp_path / "environment") in imported
    finally:
        run(programs / "greenlight", "down", cwd=project, env=variables)


@pytest.mark.timeout(900)
def test_the_plain_install_names_the_extra(
    wheel: Path, project: Path, variables: dict[str, str], tmp_path: Path
) -> None:
    greenlight = install(wheel, "", tmp_path / "environment") / "greenlight"
    run(greenlight, "compile", "promotion.yaml", cwd=project, env=variables)
    assert "pipelineInfo" in (project / "promotion.yaml").read_text()
    assert "never opened" in run(greenlight, "status", cwd=project, env=variables)
    kubernetes = attempt(greenlight, "status", "--target", "kubernetes", cwd=project, env=variables)
    assert "Traceback" not in kubernetes.stderr
    vertex = (
        "--runner vertex --project my-project --region us-central1"
        " --service-account a@my-project.iam.gserviceaccount.com"
    )
    buckets = "--pipeline-root gs://my-bucket/runs --history gs://my-bucket/history"
    model = f"--input-model {tmp_path} --output-model {tmp_path / 'out'}"
    evaluation = f"--baseline {tmp_path} --candidate {tmp_path} --output-dir {tmp_path / 'out'}"
    for arguments, extra in (
        ("run --gate quick", "local"),
        ("run --method none", "local"),
        ("quantize --method none " + model, "local"),
        ("quantize --method gptq --bits 4 " + model, "local"),
        ("evaluate " + evaluation, "local"),
        (
            f"run {vertex} {buckets} --target projects/my-project/locations/us-central1/clusters/c",
            "vertex",
        ),
    ):
        done = attempt(greenlight, *arguments.split(), cwd=project, env=variables)
        (line,) = done.stderr.splitlines()
        assert done.returncode == 2, arguments
        assert line.startswith("error: "), line
        assert line.endswith(f"-py3-none-any.whl[{extra}]'."), line
    assert not (project / ".greenlight").exists()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _log(project: Path) -> str:
    return "".join(path.read_text() for path in (project / ".greenlight/logs").glob("*.log"))
